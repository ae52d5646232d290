"""A bank whose accounts are states, and tellers who are killed while they move money.

A teller is a forked process with subscriptions of its own. It says how many transfers it has made,
by one byte for each, so that no death in the middle of anything loses a count that matters.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import state
from holdfast.errors import Busy, Conflict
from holdfast.state import Namespace, State, Transaction

ACCOUNTS = 50
OPENING = 1000  # in each account
SIZE = 16  # an amount, and how often the account was moved to or from
LATEST_S = 60.0  # for a first transfer of each new teller: a bound for liveness


def pack(amount: int, moves: int) -> bytes:
    return amount.to_bytes(8, "little", signed=True) + moves.to_bytes(8, "little")


def unpack(data: bytes | memoryview) -> tuple[int, int]:
    return int.from_bytes(data[:8], "little", signed=True), int.from_bytes(data[8:], "little")


def subscribe_all(namespace: Namespace, permissions: str) -> list[State]:
    return [
        namespace.subscribe(f"account.{i}", permissions, size=SIZE if "w" in permissions else None)
        for i in range(ACCOUNTS)
    ]


def move(accounts: list[State], chance: random.Random) -> None:
    """Move a random amount from the first to the others, and commit."""
    with state.transaction(*accounts) as txn:
        parts = [txn[account] for account in accounts]
        for payee in parts[1:]:
            amount = chance.randrange(1, 10)
            change(parts[0], -amount)
            change(payee, amount)


def change(part: Transaction, by: int) -> None:
    amount, moves = unpack(part.data)
    part.write(0, pack(amount + by, moves + 1))


def move_for_ever(directory: Path, seed: int, told: int) -> None:
    """Be a teller, until killed."""
    chance = random.Random(seed)
    accounts = subscribe_all(Namespace(directory), "rw")
    while True:
        # Mostly two; sometimes five, for longer commits. Few accounts are the favourites, so that
        # tellers meet.
        count = 5 if chance.random() < 0.3 else 2
        among = accounts[:6] if chance.random() < 0.5 else accounts
        try:
            move(chance.sample(among, count), chance)
        except (Conflict, Busy):
            continue
        os.write(told, b".")


@dataclass(eq=False)
class Teller:
    """One process that moves money."""

    pid: int
    told: int  # where it says what it has moved
    moved: int = 0

    @classmethod
    def hired(cls, directory: Path, seed: int) -> Teller:
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(told)
                move_for_ever(directory, seed, tell)
            finally:
                os._exit(1)
        os.close(tell)
        os.set_blocking(told, False)
        return cls(pid, told)

    def listen(self) -> bool:
        """Whether it has moved anything yet; what it has said is counted."""
        while True:
            try:
                said = os.read(self.told, 65536)
            except BlockingIOError:
                break
            if not said:
                break
            self.moved += len(said)
        return self.moved > 0

    def kill(self) -> int:
        """SIGKILL; what `waitpid` says."""
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.listen()
        os.close(self.told)
        return status


@dataclass
class Bank:
    """Tellers, and the auditor who looks at all accounts at once."""

    directory: Path
    kills: int = 0
    transfers: int = 0
    snapshots: int = 0
    blurred: int = 0  # sums that were wrong because the accounts were looked at one by one
    moments: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        namespace = Namespace(self.directory)
        self._accounts = subscribe_all(namespace, "rw")
        self._readers = subscribe_all(namespace, "r")
        for account in self._accounts:
            account.transact(lambda txn: txn.write(0, pack(OPENING, 0)))
        self._tellers: list[Teller] = []

    def hire(self, seed: int) -> None:
        self._tellers.append(Teller.hired(self.directory, seed))

    def audit(self) -> int:
        """Look at all accounts at one moment; the number of moves so far."""
        found = state.snapshot(*self._readers)
        self.snapshots += 1
        accounts = [unpack(snapshot.data) for snapshot in found]
        assert sum(amount for amount, _ in accounts) == ACCOUNTS * OPENING, "money was lost or made"
        self.moments.add(sum(snapshot.version for snapshot in found))
        return sum(moves for _, moves in accounts)

    def audit_one_by_one(self) -> None:
        """Look at each account by itself: each is sound, and their sum is nobody's promise."""
        total = 0
        for reader in self._readers:
            before = reader.version
            amount, moves = unpack(reader.read())
            assert reader.version >= before
            assert moves >= 0
            total += amount
        self.blurred += total != ACCOUNTS * OPENING

    def wait_for_work(self, teller: Teller) -> None:
        """Until a new teller has moved money: the dead have left nothing that holds it up."""
        until = time.monotonic() + LATEST_S
        while not teller.listen():
            assert time.monotonic() < until, "a teller is held up by the dead, or has died itself"
            self.audit()

    def dismiss(self, teller: Teller) -> None:
        self._tellers.remove(teller)
        status = teller.kill()
        self.transfers += teller.moved
        assert os.WIFSIGNALED(status), "a teller has died by itself"
        self.kills += 1

    def run(self, seconds: float, tellers: int, chance: random.Random) -> None:
        """Kill one teller after another at random moments, and hire another in its place.

        For so long at least; on a slow machine until there was enough to be seen, or for ten times
        as long.
        """
        for _ in range(tellers):
            self.hire(chance.getrandbits(32))
        began = time.monotonic()
        while (spent := time.monotonic() - began) < seconds or (
            not self.has_seen_enough and spent < 10 * seconds
        ):
            victim = chance.choice(self._tellers)
            self.wait_for_work(victim)
            fatal = time.monotonic() + chance.uniform(0, 0.02)
            while time.monotonic() < fatal:
                self.audit()
                self.audit_one_by_one()
            for teller in self._tellers:
                teller.listen()  # or its pipe fills up
            self.dismiss(victim)
            self.audit()
            self.hire(chance.getrandbits(32))

    @property
    def has_seen_enough(self) -> bool:
        """Whether there were deaths, transfers and changes between two looks, many of each."""
        return (
            self.kills >= 50
            and self.transfers >= 1000
            and len(self.moments) >= 100
            and self.blurred > 0
        )

    def close(self) -> None:
        """Dismiss everybody; then every account can be written, and the sum still holds."""
        self.dismiss_all()
        self.audit()
        for account in self._accounts:
            account.transact(lambda txn: txn.commit(force=True), attempts=1)
        # Each transfer counts at its payer once for each payee, and at each payee. What a teller
        # had no time to say has been moved as well.
        assert self.audit() >= 2 * self.transfers

    def dismiss_all(self) -> None:
        for teller in list(self._tellers):
            self.dismiss(teller)
