"""A process with leases on a node of the World: what a `Leases` with its threads is in reality.

The scripts, the keeper and the updater are the real ones. What is written anew here is what drives
them: `Site.renewing` is the renewer's thread, `Site.watching` the watchdog's, and `Site.working` is
the user, who counts under the lease.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.errors import (
    ClaimDenied,
    HoldfastError,
    LeaseLost,
    OutcomeUnknown,
    StaleRecord,
    Unavailable,
)
from holdfast.lease import Record, scripts
from holdfast.lease.global_clock import INTERVAL_NS_MAX, Advance, Updater
from holdfast.lease.keeper import Keeper, Renew
from holdfast.lease.scripts import Call, Claimed, Now, Report, Wait
from holdfast.lease.stores.memory import MemoryStore
from holdfast.testing.world import Later, Node, Service, Sleep
from tests.simulation.lease_place import Believer, Place

SECOND = 1_000_000_000
Steps = Generator[Any, Any, Any]


@dataclass(frozen=True)
class Use:
    """Wanted: the counter under a lease, or a transaction: "read", "write", "begin", "commit"."""

    operation: str
    record: Record
    number: int | None = None


@dataclass(frozen=True)
class Pause:
    """Wanted: that time passes, until something happens that the renewer should know."""

    until_ns: int | None


class Site:
    """One process, from its start to its crash.

    Args:
        place: Where the leases are.
        path: The way there.
        node: Where this runs.
        names: Of which leases it wants one after the other.
        duration_ns: What it asks for.
        renew: Who renews.
        interval_ns: From tick to tick of the store's clock.
    """

    def __init__(
        self,
        place: Place,
        path: Service,
        node: Node,
        names: Sequence[str],
        duration_ns: int,
        renew: Renew = "auto",
        *,
        interval_ns: int = INTERVAL_NS_MAX,
    ) -> None:
        self.place = place
        self.path = path
        self.node = node
        self.names = names
        self.duration_ns = duration_ns
        self.renew = renew
        self.interval_ns = interval_ns
        self.rng = node.world.rng(f"site:{node.name}")
        self.roster: list[Believer] = []
        self.looked_ns = 0  # true time: when the last look of its user took effect
        self.claimed_ns = 0  # true time: when its user's last claim was sent
        self._claims = 0
        self._renewer: Later[None] = Later("a lease to renew")
        self._watchdog: Later[None] = Later("a lease to watch")

    def start(self, *, work: bool = True, tick: bool = True, expire: bool = True) -> None:
        """Start its three threads; some of what they do can be left to others."""
        self.spawn(self.renewing(tick=tick, expire=expire))
        self.spawn(self.watching())
        if work:
            self.spawn(self.working())

    def spawn(self, script: Steps) -> None:
        """Start a thread, with a connection of its own."""
        store = self.place.open()
        self.node.spawn(script, lambda effect: self.perform(effect, store), daemon=True)

    def now_ns(self) -> int:
        """The clock that everything here goes by."""
        return self.node.clock.boottime_ns()

    def counts_from(self, asked_ns: int) -> int:
        """From when the promise counts that has just been answered."""
        return asked_ns

    def may_gate(self, one: Believer) -> bool:
        """What `Held.gate` asks first."""
        return not one.keeper.over and not one.keeper.expire(self.now_ns())

    # -- effects ----------------------------------------------------------------------------------

    def perform(self, effect: Any, store: MemoryStore) -> Any:
        """What `holdfast.lease.driver.Driver` does, in the World."""
        node = self.node
        if isinstance(effect, Now):
            return self.now_ns()
        if isinstance(effect, Report):
            return node.world.trace.say(f"waits for {effect.record.holder}", who=node.name)
        if isinstance(effect, Wait):
            if effect.name is None:
                return Sleep(effect.limit_ns)
            return node.within(self.place.waiting(store, effect.name), effect.limit_ns)
        if isinstance(effect, Pause):
            return self._pause(effect.until_ns)
        if isinstance(effect, Use):
            return self._use(effect)
        assert isinstance(effect, Call)
        return self._call(effect, store)

    def _call(self, effect: Call, store: MemoryStore) -> Any:
        operation = getattr(store, effect.operation)
        duration_ns = self.duration_ns if effect.operation in _PROMISES else 0
        if effect.operation == "claim":
            self.claimed_ns = self.node.world.now_ns

        def do() -> Any:
            if effect.operation == "look":
                self.looked_ns = self.node.world.now_ns
            if effect.operation == "advance":
                return operation(effect.arguments[0], since=effect.arguments[1])
            if effect.operation == "expire":
                self.place.removable(effect.arguments[0])
            answer = operation(*effect.arguments)
            if effect.operation == "extend_many":
                for (asked, _), one in zip(effect.arguments[0], answer, strict=True):
                    self.place.check_extended(asked, one)
            return answer

        return self.place.call(self.path, self.node, effect.operation, do, duration_ns)

    def _use(self, effect: Use) -> Any:
        do = getattr(self.place, effect.operation)
        arguments = (effect.record,) if effect.number is None else (effect.record, effect.number)
        return self.place.call(self.path, self.node, effect.operation, lambda: do(*arguments), 0)

    def _pause(self, until_ns: int | None) -> Later[None]:
        self._renewer = Later("a lease to renew")
        if until_ns is None:
            return self._renewer
        return self.node.within(self._renewer, until_ns - self.now_ns())

    # -- the renewer's thread ---------------------------------------------------------------------

    def renewing(self, *, tick: bool = True, expire: bool = True) -> Steps:
        """As `Renewer`: renew what is due, advance the clock, remove what has run out."""
        updater = Updater(self.now_ns(), interval_ns=self.interval_ns)
        while True:
            now_ns = self.now_ns()
            due = [one for one in self.roster if one.keeper.begin(now_ns)]
            if due:
                yield from self._renew(due)
            if tick:
                yield from self._tick(updater, expire=expire)
            self.roster = [one for one in self.roster if not one.keeper.over]
            dues = [updater.due_ns if tick else None, *(one.keeper.due_ns for one in self.roster)]
            yield Pause(min((at_ns for at_ns in dues if at_ns is not None), default=None))

    def _renew(self, due: list[Believer]) -> Steps:
        asked_ns = self.now_ns()
        asked = [(one.keeper.record, one.keeper.duration_ns) for one in due]
        answers: Sequence[Record | Exception]
        try:
            answers = yield Call("extend_many", (asked,))
        except (Unavailable, OutcomeUnknown) as error:
            answers = [error] * len(due)
        for one, answer in zip(due, answers, strict=True):
            if isinstance(answer, Record):
                one.keeper.renewed(answer, self.counts_from(asked_ns))
                self.place.check(one)
            elif isinstance(answer, StaleRecord):
                one.keeper.refused(str(answer))
            else:
                one.keeper.unanswered(self.now_ns(), self.rng, str(answer))
                self.place.check(one)

    def _tick(self, updater: Updater, *, expire: bool) -> Steps:
        action = updater.fire(self.now_ns())
        while action is not None:
            try:
                if isinstance(action, Advance):
                    reading = yield Call("advance", (action.elapsed_ns, action.since))
                    updater.advanced(reading, self.now_ns())
                    if expire:
                        yield from scripts.expire_overdue()
                    return
                reading = yield Call("clock")
                action = updater.seen(reading, self.now_ns())
            except StaleRecord:
                action = updater.lost()
            except (Unavailable, OutcomeUnknown):
                if updater.due_ns is None:
                    updater.unknown(self.now_ns())
                return

    # -- the watchdog's ---------------------------------------------------------------------------

    def watching(self) -> Steps:
        """As `Watchdog`: whatever hangs, the deadline comes."""
        while True:
            now_ns = self.now_ns()
            live = [one for one in self.roster if not one.keeper.expire(now_ns)]
            deadlines = [one.keeper.deadline_ns for one in live if not one.keeper.over]
            self._watchdog = Later("a lease to watch")
            if deadlines:
                yield self.node.within(self._watchdog, min(deadlines) - now_ns)
            else:
                yield self._watchdog

    # -- the user ---------------------------------------------------------------------------------

    def take(self, claimed: Claimed) -> Believer:
        """As `Leases.take`: from now on it is kept."""
        asked_ns = self.counts_from(claimed.asked_ns)
        keeper = Keeper(claimed.record, asked_ns, self.duration_ns, self.renew)
        one = Believer(self.node, keeper, self.now_ns, self.node.life)
        self.roster.append(one)
        self.place.believe(one)
        self._renewer.resolve(None)
        self._watchdog.resolve(None)
        return one

    def claiming(self, name: str, wait_ns: int | None) -> Steps:
        """Claim, as somebody new each time; None if it was not to be had."""
        self._claims += 1
        holder = f"{self.node.name}.{self.node.life}.{self._claims}"
        try:
            claimed = yield from scripts.claim(name, holder, self.duration_ns, wait_ns=wait_ns)
        except ClaimDenied:
            self.place.endings["denied"] += 1
            self.place.denied(name, holder, self.claimed_ns, self.looked_ns)
        except (OutcomeUnknown, Unavailable) as error:
            self.place.endings[type(error).__name__] += 1
        else:
            return self.take(claimed)
        return None

    def working(self) -> Steps:
        """Claim, count a few times, give it back, and again."""
        rng = self.rng
        while True:
            name = rng.choice(self.names)
            wait_ns = rng.choice([0, 3 * SECOND, 20 * SECOND, None])
            one = yield from self.claiming(name, wait_ns)
            if one is None:
                yield Sleep(rng.randrange(SECOND))
                continue
            for _ in range(rng.randrange(1, 12)):
                yield Sleep(rng.randrange(SECOND))
                if not (yield from self.count(one.keeper)):
                    break
            if one.keeper.release():
                with contextlib.suppress(HoldfastError):  # it lapses by itself
                    yield from scripts.release(one.keeper.record)

    def count(self, keeper: Keeper) -> Steps:
        """Look, read, think, and write one more; False if this holding is not to be used again."""
        place, name = self.place, keeper.record.name
        if keeper.over or keeper.expire(self.now_ns()):
            return False
        try:
            number = yield Use("read", keeper.record)
        except (Unavailable, OutcomeUnknown):
            return True
        except LeaseLost:
            return False
        yield Sleep(self.rng.randrange(SECOND // 10))  # where everybody can be stopped
        place.sent[name] += 1
        try:
            yield Use("write", keeper.record, number + 1)
        except LeaseLost:
            place.refused[name] += 1
            return False
        except Unavailable:
            place.refused[name] += 1
        except OutcomeUnknown:
            # It may still be on its way. What is counted from now on is counted under another
            # epoch, which keeps it out.
            return False
        else:
            place.acknowledged[name] += 1
        return True


_PROMISES = {"claim", "extend", "extend_many"}
