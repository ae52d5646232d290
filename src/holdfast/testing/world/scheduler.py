"""The only source of order: what happens next, in virtual time.

The order is total. First comes what is earlier; of two things at one instant a number decides that
the seed has drawn for each; and if these are equal too, which was scheduled first. No object is
ever compared, and nothing depends on addresses or on the hash of a string.
"""

from __future__ import annotations

import functools
import gc
import itertools
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from holdfast.testing.world.failures import Livelock

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    Entry = tuple[int, float, int, Callable[[Any], object], Any]

__all__ = ["Scheduler"]

# So many steps without a nanosecond between them are no storm any more, but a loop.
_STILL_MAX = 1_000_000
_COLLECT_EVERY = 1 << 20
_ROUND = 1000


class Scheduler:
    """A queue of actions, each with one argument.

    Args:
        rng: Draws the order of what falls due at one instant.

    Attributes:
        now_ns: Virtual time. It begins at 0 and only `run` moves it.
        events: How many actions have run.
        between: Called every thousand actions, and at the end of `run`.
        push: Takes an entry ``(when_ns, chance(), count(), action, argument)``. It is `at` for
            those who do nothing else all day, and makes no check.
        chance: See there.
        count: See there.
    """

    __slots__ = ("_heap", "between", "chance", "count", "events", "now_ns", "push")

    def __init__(self, rng: Random) -> None:
        self.now_ns = 0
        self.events = 0
        self.between: Callable[[], object] | None = None
        self._heap: list[Entry] = []
        self.push: Callable[[Entry], None] = functools.partial(heappush, self._heap)
        self.chance: Callable[[], float] = rng.random
        self.count: Callable[[], int] = itertools.count().__next__

    def at(self, when_ns: int, action: Callable[[Any], object], argument: Any = None) -> None:
        """Call ``action(argument)`` at an instant that is not past."""
        assert when_ns >= self.now_ns, "the past cannot be changed"
        self.push((when_ns, self.chance(), self.count(), action, argument))

    def __len__(self) -> int:
        return len(self._heap)

    def next_ns(self) -> int | None:
        """When the next action runs; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def run(self, until_ns: int, until: Callable[[], bool] | None = None) -> bool:
        """Run what falls due up to and with `until_ns`, until `until` says so after some step.

        The garbage collector runs at fixed steps only, so that finalizers run at the same places
        in every run of the same seed.

        Returns:
            False if nothing more falls due within the time, whether or not there is more later.

        Raises:
            Livelock: A million steps were run at one instant.
        """
        collecting = gc.isenabled()
        gc.disable()
        still_ns, still_since = self.now_ns, self.events
        try:
            while (ended := self._run_round(until_ns, until)) is None:
                if self.now_ns != still_ns:
                    still_ns, still_since = self.now_ns, self.events
                elif self.events - still_since >= _STILL_MAX:
                    raise Livelock(
                        f"{_STILL_MAX} steps were run at {still_ns} ns, and there are more"
                    )
            return ended
        finally:
            if collecting:
                gc.enable()

    def _run_round(self, until_ns: int, until: Callable[[], bool] | None) -> bool | None:
        heap = self._heap
        left = _ROUND
        try:
            while heap and heap[0][0] <= until_ns:
                self.now_ns, _, _, action, argument = heappop(heap)
                left -= 1
                action(argument)
                if until is not None and until():
                    return True
                if not left:
                    return None
            return False
        finally:
            before, self.events = self.events, self.events + _ROUND - left
            if self.between is not None:
                self.between()
            if before // _COLLECT_EVERY != self.events // _COLLECT_EVERY:
                gc.collect()
