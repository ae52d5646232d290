"""Sleepers: members that have said that their machine goes to sleep.

::

    AWAKE ── it says so, at its incarnation ──▶ ASLEEP ── a higher incarnation ──▶ AWAKE
                                                  │ ▲ └── it is heard, later on ──▶ AWAKE
                                                  │ └──── it is suspected: no matter
                                                  └────── the bound has passed ───▶ AWAKE, silent

Nobody probes a sleeper, accuses it or declares it down. Past the bound it is a member like any
other, and found out by the next probe.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple

from holdfast.membership.identity import T

__all__ = ["SLEEP_MAX_NS", "Sleepers"]

# However long a member says that it may sleep, nobody waits for it longer than a day.
SLEEP_MAX_NS: Final = 86_400 * 1_000_000_000


class _Sleep(NamedTuple):
    incarnation: int
    since_ns: int
    until_ns: int


class Sleepers(Generic[T]):
    """Who sleeps, as far as one member knows."""

    __slots__ = ("_asleep",)

    def __init__(self) -> None:
        self._asleep: dict[T, _Sleep] = {}

    def __len__(self) -> int:
        return len(self._asleep)

    def __contains__(self, identity: T) -> bool:
        return identity in self._asleep

    def fell_asleep(self, identity: T, incarnation: int, now_ns: int, at_most_ns: int) -> bool:
        """It has said so. Returns whether that is new."""
        known = self._asleep.get(identity)
        if known is not None and known.incarnation >= incarnation:
            return False
        until_ns = now_ns + min(at_most_ns, SLEEP_MAX_NS)
        self._asleep[identity] = _Sleep(incarnation, now_ns, until_ns)
        return True

    def asleep(self, identity: T, now_ns: int) -> bool:
        """Whether it sleeps, and its bound has not passed."""
        known = self._asleep.get(identity)
        return known is not None and now_ns < known.until_ns

    def heard(self, identity: T, incarnation: int) -> None:
        """It is said to be alive at that incarnation."""
        known = self._asleep.get(identity)
        if known is not None and incarnation > known.incarnation:
            del self._asleep[identity]

    def heard_itself(self, identity: T, now_ns: int, late_ns: int) -> None:
        """A packet of its own has come; what it sent before it slept may come `late_ns` later."""
        known = self._asleep.get(identity)
        if known is not None and now_ns > known.since_ns + late_ns:
            del self._asleep[identity]

    def forget(self, identity: T) -> None:
        """It is down, or another."""
        self._asleep.pop(identity, None)
