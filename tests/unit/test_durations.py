"""Seconds as people give them."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from holdfast.durations import nanoseconds, nanoseconds_or_none, seconds
from holdfast.errors import InvalidArgument


def test_seconds_are_numbers_or_timedeltas() -> None:
    assert seconds(1, "wait") == 1.0
    assert seconds(timedelta(milliseconds=5), "wait") == 0.005
    assert seconds(0, "wait") == 0.0
    assert seconds(None, "wait") is None
    assert nanoseconds_or_none(1.5, "wait") == 1_500_000_000
    assert nanoseconds_or_none(math.inf, "wait") is None
    assert nanoseconds_or_none(None, "wait") is None
    assert nanoseconds_or_none(1e300, "wait") is None
    assert nanoseconds(timedelta(seconds=2), "duration") == 2_000_000_000
    assert nanoseconds(1e-12, "duration") == 1


@pytest.mark.parametrize("wrong", [-1, math.nan, "1", True, timedelta(seconds=-1)])
def test_what_is_no_wait_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="wait"):
        seconds(wrong, "wait")


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf, 1e300, "1", False, timedelta(0)])
def test_what_is_no_duration_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgument, match="duration"):
        nanoseconds(wrong, "duration")
