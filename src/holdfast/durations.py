"""Durations as people give them: seconds, as a number or a timedelta; None is for ever."""

from __future__ import annotations

from datetime import timedelta

from holdfast.errors import InvalidArgument

__all__ = ["SECONDS_MAX", "nanoseconds", "nanoseconds_or_none", "seconds"]

# 146 years: what two instants of a clock of 64 bits can be apart.
SECONDS_MAX = 2**62 / 1e9


def seconds(given: float | timedelta | None, what: str) -> float | None:
    """A wait or a time-out in seconds, or None.

    Raises:
        InvalidArgument: It is negative or no number.
    """
    if given is None:
        return None
    value = _number(given, what)
    if not value >= 0:
        raise InvalidArgument(f"{what}={given!r}: seconds must not be negative")
    return value


def nanoseconds_or_none(given: float | timedelta | None, what: str) -> int | None:
    """The same in nanoseconds; what is longer than a clock can count is for ever, too."""
    value = seconds(given, what)
    return None if value is None or value > SECONDS_MAX else round(value * 1e9)


def nanoseconds(given: float | timedelta, what: str) -> int:
    """How long something lasts, in nanoseconds; 1 at least.

    Raises:
        InvalidArgument: It is not positive, not finite or no number.
    """
    value = _number(given, what)
    if not 0 < value <= SECONDS_MAX:
        raise InvalidArgument(f"{what}={given!r}: give seconds, more than none and not for ever")
    return max(1, round(value * 1e9))


def _number(given: object, what: str) -> float:
    if isinstance(given, timedelta):
        return given.total_seconds()
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    raise InvalidArgument(f"{what}={given!r}: give seconds, or a timedelta")
