"""The only source of order: what happens next, in virtual time.

The order is total. First comes what is earlier; of two things at one instant a number decides that
the seed has drawn for each; and if these are equal too, which was scheduled first. No object is
ever compared, and nothing depends on addresses or on the hash of a string.
"""

from __future__ import annotations

import gc
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from holdfast.testing.world.failures import Livelock

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["Scheduler"]

# So many steps without a nanosecond between them are no storm any more, but a loop.
_STILL_MAX = 1_000_000
_COLLECT_EVERY = 1 << 20


class Scheduler:
    """A queue of actions, each with one argument.

    Attributes:
        now_ns: Virtual time. It begins at 0 and only `run` moves it.
        events: How many actions have run.
    """

    __slots__ = ("_chance", "_heap", "_sequence", "events", "now_ns")

    def __init__(self, rng: Random) -> None:
        self.now_ns = 0
        self.events = 0
        self._chance = rng.random
        self._sequence = 0
        self._heap: list[tuple[int, float, int, Callable[[Any], object], Any]] = []

    def at(self, when_ns: int, action: Callable[[Any], object], argument: Any = None) -> None:
        """Call ``action(argument)`` at an instant that is not past."""
        assert when_ns >= self.now_ns, "the past cannot be changed"
        self._sequence = sequence = self._sequence + 1
        heappush(self._heap, (when_ns, self._chance(), sequence, action, argument))

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
        try:
            while True:
                before_ns = self.now_ns
                ended = self._run_some(until_ns, until)
                if ended is not None:
                    return ended
                if self.now_ns == before_ns:
                    raise Livelock(
                        f"{_STILL_MAX} steps were run at {before_ns} ns, and there are more"
                    )
        finally:
            if collecting:
                gc.enable()

    def _run_some(self, until_ns: int, until: Callable[[], bool] | None) -> bool | None:
        heap = self._heap
        left = _STILL_MAX
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
            before, self.events = self.events, self.events + _STILL_MAX - left
            if before // _COLLECT_EVERY != self.events // _COLLECT_EVERY:
                gc.collect()
