"""The power of a host: it goes down with all its programs, and comes back.

While it is down nothing on it runs and its monotonic clocks stand still. The instant at which it
goes down is the one that matters: `checks` are called just then, and raise if somebody's work is
not done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing.world.descriptors import Host

__all__ = ["Power"]


class Power:
    """Of one host.

    Args:
        host: Whose.

    Attributes:
        down: Whether it is down.
        suspends: How often it has gone down.
        checks: Called, in order, at each instant at which it goes down.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.down = False
        self.suspends = 0
        self.checks: list[Callable[[], object]] = []
        self._began_ns = 0
        self._back: list[Callable[[int], object]] = []
        self._number = 0

    def go_down(self, for_ns: int, back: Callable[[int], object] | None = None) -> None:
        """Go down now, and come back after so long in true time, or by `wake`.

        Args:
            for_ns: How long.
            back: Is called with the nanoseconds asleep when it is back, before any program runs.
        """
        if back is not None:
            self._back.append(back)
        if self.down:
            return
        for check in self.checks:
            check()
        world = self.host.world
        self.down = True
        self.suspends += 1
        self._number += 1
        self._began_ns = world.now_ns
        world.trace.say("the host goes down")
        for program in self.host.programs.values():
            program.node.sleep()
        number = self._number
        world.after(for_ns, lambda: self.wake() if number == self._number else None)

    def when_back(self, action: Callable[[], object]) -> None:
        """Call ``action()`` when it is back, which it must be down for."""
        self._back.append(lambda _: action())

    def wake(self) -> None:
        """Come back now: an interrupt, a button. Harmless if it is not down."""
        if not self.down:
            return
        world = self.host.world
        self.down = False
        self._number += 1
        world.trace.say("the host is back")
        for program in self.host.programs.values():
            program.node.wake()
        waiting, self._back = self._back, []
        for back in waiting:
            back(world.now_ns - self._began_ns)
