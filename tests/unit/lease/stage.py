"""Where scripts are played by hand: a clock that only waits move, and stores that misbehave.

`Stage` drives a script against any object that has the operations of a store. `Expecting` is a
store that expects an ordered list of calls, each with its answer and with what becomes of the
truth meanwhile. `Flaky` stands before a real `MemoryStore`, and fails where it is told to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from holdfast.errors import HoldfastError, OutcomeUnknown, Unavailable
from holdfast.lease import Record
from holdfast.lease.scripts import Call, Effect, Now, Report, Script, Wait
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
T = TypeVar("T")


class HandClock:
    """A clock that the test moves; CLOCK_BOOTTIME is all that scripts know."""

    def __init__(self, now_ns: int = 1_000 * SECOND) -> None:
        self.now_ns = now_ns

    def boottime_ns(self) -> int:
        return self.now_ns

    monotonic_ns = realtime_ns = boottime_ns


class OverTime(Exception):
    """The script has taken more than the test allows."""


class Stage:
    """Drives one script after the other.

    Attributes:
        calls: Which operations were called, in order.
        waits: For which name and how long was waited.
        reports: Of which records the user has heard.
        on_wait: Called at each pause, after it.
    """

    def __init__(self, store: object, clock: HandClock) -> None:
        self.store = store
        self.clock = clock
        self.calls: list[str] = []
        self.waits: list[tuple[str | None, int]] = []
        self.reports: list[Record] = []
        self.on_wait: Callable[[], object] = lambda: None
        self.latency_ns = 0
        self.end_ns = clock.now_ns + 100 * MINUTE

    def run(self, script: Script[T]) -> T:
        try:
            effect = next(script)
            while True:
                try:
                    answer = self.perform(effect)
                except HoldfastError as error:
                    effect = script.throw(error)
                else:
                    effect = script.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def perform(self, effect: Effect) -> Any:
        if self.clock.now_ns >= self.end_ns or len(self.calls) > 10_000:
            raise OverTime
        if isinstance(effect, Now):
            return self.clock.now_ns
        if isinstance(effect, Report):
            return self.reports.append(effect.record)
        if isinstance(effect, Wait):
            assert effect.limit_ns > 0, "a wait that is none"
            self.waits.append((effect.name, effect.limit_ns))
            self.clock.now_ns += effect.limit_ns
            return self.on_wait()
        assert isinstance(effect, Call)
        self.calls.append(effect.operation)
        keywords = {} if effect.owner is None else {"owner": effect.owner}
        self.clock.now_ns += self.latency_ns
        try:
            return getattr(self.store, effect.operation)(*effect.arguments, **keywords)
        finally:
            self.clock.now_ns += self.latency_ns

    def within(self, script: Script[T], limit_ns: int) -> Counter[str]:
        """Run it for so long at most, and count what it called."""
        self.end_ns = self.clock.now_ns + limit_ns
        try:
            self.run(script)
        except OverTime:
            return Counter(self.calls)
        raise AssertionError("it came to an end")


@dataclass(frozen=True)
class Expected:
    """A call, its answer or exception, and what happens to the world meanwhile."""

    operation: str
    answer: object = None
    then: Callable[[], object] = lambda: None
    arguments: tuple[Any, ...] | None = None


class Expecting:
    """A store that expects an ordered list of calls, and no other."""

    def __init__(self, expected: Iterable[Expected]) -> None:
        self.expected = list(expected)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(*arguments: Any, **_: Any) -> Any:
            assert self.expected, f"{operation} was not expected any more"
            one = self.expected.pop(0)
            assert operation == one.operation
            assert one.arguments is None or arguments == one.arguments
            one.then()
            if isinstance(one.answer, Exception):
                raise one.answer
            return one.answer

        return call


class Flaky:
    """A real store, of which single operations are away, or lose the request or the answer."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.faults: list[tuple[str, str]] = []  # operation and fault, used up in this order
        self.always: dict[str, str] = {}

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            fault = self.always.get(operation, "")
            if self.faults and self.faults[0][0] == operation:
                fault = self.faults.pop(0)[1]
            if fault == "away":
                raise Unavailable("the store is away")
            if fault == "lost request":
                raise OutcomeUnknown("no answer")
            if fault == "lags":
                return None  # what was so long ago
            answer = getattr(self.store, operation)(*arguments, **keywords)
            if fault == "lost answer":
                raise OutcomeUnknown("no answer")
            return answer

        return call


@dataclass
class House:
    """A place with a clock of its own, the store of "me" behind faults, and that of others."""

    clock: HandClock
    mine: Flaky
    other: MemoryStore
    stage: Stage


def house(*, stepping: bool = False) -> House:
    """A new place; `stepping`: its clock moves only if somebody advances it, and nobody does."""
    clock = HandClock()
    database = MemoryDatabase(None if stepping else clock)
    mine = Flaky(MemoryStore(database))
    return House(clock, mine, MemoryStore(database), Stage(mine, clock))
