"""Leases between real processes: stopped, killed, and cut off from their store."""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import lease
from holdfast.clock import SystemClock
from holdfast.lease.keeper import deadline_of
from tests.fixtures_lease import PATIENCE_S, Open, place_of, until
from tests.peer import python_path

# What all of them begin with: a counter beside the lease, written with the gate or without it.
COMMON = """
    import json, os, sys, time
    from holdfast import lease
    from holdfast.errors import Conflict, LeaseLost, HoldfastError, Unavailable
    url, place = sys.argv[1:3]

    def say(**facts):
        os.write(1, json.dumps(facts).encode() + b"\\n")

    def now():
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    leases = lease.open(url)
    if url.startswith("local:"):
        from holdfast import state
        counter = state.Namespace(place, retain=True).subscribe("counter", "rw", size=8)
        def read():
            return int.from_bytes(counter.read(), "little")
        def write(held, value, gated):
            with counter.transaction() as txn:
                if gated:
                    held.gate(txn)
                txn.data[:] = value.to_bytes(8, "little")
    else:
        import sqlalchemy as sa
        engine = sa.create_engine(url)
        def write(held, value, gated):
            with engine.begin() as conn:
                if gated:
                    held.gate(conn)
                conn.exec_driver_sql(f"UPDATE counter SET value = {value:d}")
        def read():
            with engine.connect() as conn:
                return conn.exec_driver_sql("SELECT value FROM counter").scalar()
"""


class Actor:
    """A process that says what it does, a line of JSON each."""

    def __init__(self, source: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(COMMON) + textwrap.dedent(source), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": python_path()},
        )
        self.rest = b""

    def hear(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout
        while b"\n" not in self.rest:
            ready = select.select([self.process.stdout], [], [], PATIENCE_S)[0]
            assert ready, "it says nothing"
            more = os.read(self.process.stdout.fileno(), 65536)
            assert more, f"it has ended: {self.process.wait()}"
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        facts: dict[str, Any] = json.loads(line)
        return facts

    def so_far(self) -> list[dict[str, Any]]:
        """What it has said and nobody has heard yet: its pipe must not fill up."""
        assert self.process.stdout
        while select.select([self.process.stdout], [], [], 0)[0]:
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                break
            self.rest += more
        lines = self.rest.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def everything(self) -> list[dict[str, Any]]:
        """The same, up to its end."""
        self.process.wait()
        return self.so_far()

    def tell(self) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe and not pipe.closed:
                pipe.close()


Act = Callable[..., Actor]


@pytest.fixture
def act() -> Iterator[Act]:
    started: list[Actor] = []

    def start(source: str, *arguments: str) -> Actor:
        started.append(Actor(source, *arguments))
        return started[-1]

    yield start
    for actor in started:
        actor.close()


def with_counter(url: str, directory: Path) -> None:
    """Make what the actors count in."""
    if url.startswith("local:"):
        from holdfast.state import Namespace

        with Namespace(directory, retain=True) as states:
            states.subscribe("counter", "rw", size=8).transact(lambda txn: txn.write(0, bytes(8)))
        return
    import sqlalchemy as sa

    lease.open(url).close()  # the journal's mode is switched by whoever comes first
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE counter (value BIGINT)")
        conn.exec_driver_sql("INSERT INTO counter VALUES (0)")
    engine.dispose()


def counted(url: str, directory: Path) -> int:
    """What stands there."""
    if url.startswith("local:"):
        from holdfast.state import Namespace

        with Namespace(directory, retain=True) as states:
            return int.from_bytes(states.subscribe("counter", "r").read(), "little")
    import sqlalchemy as sa

    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as conn:
        value = conn.exec_driver_sql("SELECT value FROM counter").scalar()
    engine.dispose()
    assert isinstance(value, int)
    return value


# -- (a) stopped past the deadline ----------------------------------------------------------------

# Reads, is stopped for a while, and writes what it has worked out: all in good faith. It stops
# between two renewals, since for who stops in the midst of one everybody waits; and if a stall has
# cost it the lease before, it begins anew.
STOPPED = """
    import signal, threading
    from holdfast.lease.renewer import Renewer
    gated = sys.argv[3] == "gated"
    between = threading.Lock()

    def whole(step):
        def taken(*arguments):
            with between:
                return step(*arguments)
        return taken

    Renewer._renew, Renewer._tick = whole(Renewer._renew), whole(Renewer._tick)
    stopped = False
    while not stopped:
        with leases.hold("n", duration=2) as held:
            seen = read()
            with between:
                if not held.lost:
                    say(holds=held.fencing_token)
                    os.kill(os.getpid(), signal.SIGSTOP)
                    stopped = True
            if stopped:
                try:
                    write(held, seen + 1, gated)
                    say(wrote=seen + 1)
                except LeaseLost as error:
                    say(refused=str(error))
"""
SUCCESSOR = """
    with leases.hold("n", duration=30) as held:
        for _ in range(5):
            write(held, read() + 1, True)
        say(holds=held.fencing_token)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("gated", ["gated", "not gated"])
def test_who_was_stopped_past_the_deadline_writes_only_without_the_gate(
    shared_url: str, directory: Path, act: Act, gated: str
) -> None:
    """And without it, five updates of its successor are lost."""
    with_counter(shared_url, directory)
    stopped = act(STOPPED, shared_url, str(directory), gated)
    first = stopped.hear()["holds"]
    os.waitid(os.P_PID, stopped.process.pid, os.WSTOPPED)
    successor = act(SUCCESSOR, shared_url, str(directory))
    assert successor.hear()["holds"] > first
    assert counted(shared_url, directory) == 5
    stopped.send(signal.SIGCONT)
    said = stopped.hear()
    if gated == "gated":
        assert "refused" in said, said
        assert counted(shared_url, directory) == 5
    else:
        assert said == {"wrote": 1}
        assert counted(shared_url, directory) == 1, "five updates were lost"
    successor.tell()


# -- (b) killed -----------------------------------------------------------------------------------

HOLDER = """
    with leases.hold("n", duration=2) as held:
        while True:
            say(token=held.fencing_token, deadline_ns=held.deadline_ns)
            time.sleep(0.02)
"""


def test_who_was_killed_keeps_its_promise_and_no_more(
    shared_url: str, directory: Path, act: Act, open_leases: Open
) -> None:
    """Measured on CLOCK_BOOTTIME, which is one for both."""
    leases = open_leases(shared_url)
    holder = act(HOLDER, shared_url, str(directory))
    said = [holder.hear() for _ in range(60)]
    holder.send(signal.SIGKILL)
    holder.process.wait()
    said += holder.everything()
    believed_ns = max(one["deadline_ns"] for one in said)
    with leases.hold("n", wait=PATIENCE_S) as held:
        now_ns = SystemClock().boottime_ns()
        # The promise is longer than the belief by what the clocks may drift.
        drift_ns = 2 * 10**9 - deadline_of(0, 2 * 10**9)
        assert now_ns > believed_ns + drift_ns
        assert held.fencing_token > said[0]["token"]


# -- (c) several, stopped and killed at random ----------------------------------------------------

COUNTING = """
    while True:
        try:
            with leases.hold("n", duration=0.7) as held:
                asked_ns = held.deadline_ns - 700_000_000 + 700_000
                held.check()  # or there was no deadline any more
                say(claimed=asked_ns, token=held.fencing_token)
                for _ in range(20):
                    before_ns = now()
                    held.check()
                    say(checked=before_ns, token=held.fencing_token)
                    write(held, read() + 1, True)
                    say(wrote=held.fencing_token)
                    time.sleep(0.002)
        except (LeaseLost, Conflict, Unavailable):
            pass  # it was certainly not done; Unavailable: who has the lock was stopped
        except HoldfastError as error:
            say(error=repr(error))
        except Exception as error:
            if "locked" not in str(error):
                raise
"""


def enough(said: list[list[dict[str, Any]]]) -> bool:
    """Whether so much has been done that it proves something."""
    return sum("wrote" in one for lines in said for one in lines) > 20 and len(beliefs(said)) > 2


def beliefs(said: list[list[dict[str, Any]]]) -> list[tuple[int, int, int]]:
    """From when to when each holding was believed in, and its token."""
    found: dict[int, tuple[int, int]] = {}
    for lines in said:
        for one in lines:
            if "claimed" in one:
                found[one["token"]] = (one["claimed"], one["claimed"])
            elif "checked" in one:
                began, _ = found[one["token"]]
                found[one["token"]] = (began, one["checked"])
    return sorted((began, ended, token) for token, (began, ended) in found.items())


def test_several_who_are_stopped_and_killed_count_exactly(
    shared_url: str, directory: Path, act: Act, full: bool
) -> None:
    """What was answered was counted once; what a death left unanswered, at most once."""
    with_counter(shared_url, directory)
    rng = random.Random(7)
    arguments = (COUNTING, shared_url, str(directory))
    living = [act(*arguments) for _ in range(3)]
    dead: list[Actor] = []
    end = time.monotonic() + (60 if full else 8)
    while True:
        said = [actor.so_far() for actor in living + dead]
        now = time.monotonic()
        if now > end and (enough(said) or now > end + PATIENCE_S):
            break
        time.sleep(rng.uniform(0.05, 0.5))
        victim = rng.choice(living)
        if rng.random() < 0.3:
            victim.send(signal.SIGKILL)
            living.remove(victim)
            dead.append(victim)
            living.append(act(*arguments))
        else:
            victim.send(signal.SIGSTOP)
            time.sleep(rng.uniform(0.01, 1.2))
            victim.send(signal.SIGCONT)
    for actor in living:
        actor.send(signal.SIGKILL)
    said = [actor.everything() for actor in living + dead]
    assert not [one for lines in said for one in lines if "error" in one]
    answered = sum("wrote" in one for lines in said for one in lines)
    unanswered = sum(bool(lines) and "checked" in lines[-1] for lines in said)
    assert enough(said)
    assert answered <= counted(shared_url, directory) <= answered + unanswered
    found = beliefs(said)
    for (_, ended, token), (began, _, following) in itertools.pairwise(found):
        assert ended <= began
        assert token < following


# -- (d) the store hangs --------------------------------------------------------------------------

BELIEVER = """
    duration = float(sys.argv[3])
    with leases.hold("n", duration=duration, on_lost=lambda held: say(called=now())) as held:
        say(holds=held.fencing_token)
        held.wait_lost()
        say(lost=now(), deadline_was_ns=held._believed_ns)
        try:
            held.check()
        except LeaseLost as error:
            say(why=str(error))
    os._exit(0)
"""


def of_its_loss(actor: Actor, facts: dict[str, Any]) -> str:
    while not {"lost", "called", "why"} <= facts.keys():
        facts |= actor.hear()
    assert facts["lost"] >= facts["deadline_was_ns"] > 0
    return str(facts["why"])


def test_a_locked_database_is_a_loss_at_the_deadline(
    request: pytest.FixtureRequest, tmp_path: Path, act: Act
) -> None:
    url = place_of("sqlite", request)
    holder = act(BELIEVER, url, str(tmp_path), "1.5")
    facts = holder.hear()
    locker = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    locker.execute("BEGIN IMMEDIATE")
    assert "deadline has passed" in of_its_loss(holder, facts)
    locker.execute("ROLLBACK")
    locker.close()


def test_a_server_that_is_stopped_is_a_loss_at_the_deadline(
    request: pytest.FixtureRequest, directory: Path, act: Act
) -> None:
    """Its back-ends hang in the middle of whatever they do."""
    postgres = request.getfixturevalue("postgres")
    holder = act(BELIEVER, postgres.url, str(directory), "5")
    facts = holder.hear()
    stopped: list[int] = []
    with postgres.connect() as connection:

        def are_all_there() -> bool:
            """The caller's back-end and the renewer's, whose thread opens it when it gets to it."""
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND backend_type = 'client backend'"
                " AND pid <> pg_backend_pid()"
            ).fetchall()
            connection.rollback()  # what it shows stands still in a transaction
            stopped[:] = [pid for (pid,) in rows]
            return len(stopped) == 2

        assert until(are_all_there)
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        assert "deadline has passed" in of_its_loss(holder, facts)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
