"""Suspicion: how long a suspect has to refute, and who else suspects it.

The first to suspect a member waits long before it declares it down, and shorter with each other
member that suspects it independently, because its own probe has failed, too::

    most ─┐
          └──┐ one more
             └────┐ two
                  └──────── least, with `WANTED` or more

    wait = most - (most - least) * log(confirmations + 1) / log(wanted + 1)

``least`` is the configured `suspect_to_down_after_ns`, and ``most`` is six times as much. Where too
few are there who could confirm, there is nothing to wait for, and it is ``least`` from the start.

That somebody suspects travels as a note (`notes`): an update alone does not say who has made it.

Sources: Lifeguard (arXiv 1707.00788), section IV-B; memberlist 0.6, suspicion.go.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Generic

from holdfast.membership.identity import T

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MOST_TIMES", "WANTED", "Suspicion", "Suspicions", "wait_ns"]

# How many others have to confirm before the wait is shortest.
WANTED: Final = 3
MOST_TIMES: Final = 6


def wait_ns(least_ns: int, most_ns: int, wanted: int, confirmations: int) -> int:
    """How long a suspect has, from the beginning of the suspicion on."""
    if confirmations >= wanted:
        return least_ns
    part = math.log(confirmations + 1) / math.log(wanted + 1)
    return most_ns - round((most_ns - least_ns) * part)


class Suspicion(Generic[T]):
    """What is known of the suspicion of one identity at one incarnation.

    Attributes:
        incarnation: Of the suspect.
        accusers: Other members whose own probe has failed.
        mine: Whether one's own has, so that one waits for the end.
        postponed: How often it should have ended, and was given more time.
    """

    __slots__ = (
        "_begun_ns",
        "_least_ns",
        "_most_ns",
        "_wanted",
        "accusers",
        "incarnation",
        "mine",
        "postponed",
    )

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.accusers: set[T] = set()
        self.mine = False
        self.postponed = 0
        self._begun_ns = self._least_ns = self._most_ns = self._wanted = 0

    def begin(self, now_ns: int, least_ns: int, wanted: int) -> None:
        """One's own probe has failed."""
        self.mine = True
        self._begun_ns, self._wanted = now_ns, wanted
        self._least_ns, self._most_ns = least_ns, least_ns * MOST_TIMES

    def deadline_ns(self) -> int:
        """When the suspect is down, as things stand."""
        confirmations = len(self.accusers)
        return self._begun_ns + wait_ns(self._least_ns, self._most_ns, self._wanted, confirmations)

    def postpone(self, until_ns: int) -> None:
        """Nobody is declared down before."""
        self.postponed += 1
        self._least_ns = self._most_ns = until_ns - self._begun_ns


class Suspicions(Generic[T]):
    """The suspicions that one member knows of, one for each suspect."""

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[T, Suspicion[T]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def get(self, suspect: T, incarnation: int) -> Suspicion[T] | None:
        """The suspicion of that incarnation."""
        found = self._of.get(suspect)
        return found if found is not None and found.incarnation == incarnation else None

    def of(self, suspect: T, incarnation: int) -> Suspicion[T]:
        """The same, made if need be; it takes the place of one of another incarnation."""
        found = self.get(suspect, incarnation)
        if found is None:
            found = self._of[suspect] = Suspicion(incarnation)
        return found

    def end(self, suspect: T) -> None:
        """It is over, in one way or the other."""
        self._of.pop(suspect, None)

    def keep(self, still: Callable[[T, int], bool]) -> None:
        """Forget those that are over."""
        over = [who for who, one in self._of.items() if not still(who, one.incarnation)]
        for who in over:
            del self._of[who]

    def clear(self) -> None:
        """Their timers have no meaning any more."""
        self._of.clear()
