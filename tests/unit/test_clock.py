"""The real clocks and a real timerfd."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from datetime import timedelta

import pytest

from holdfast.clock import NS_PER_S, Alarm, Clock, SystemClock
from holdfast.errors import Closed

MS = NS_PER_S // 1000


def now() -> int:
    return SystemClock().boottime_ns()


def test_the_faces_are_the_kernels_clocks() -> None:
    clock: Clock = SystemClock()
    for face, number in [
        (clock.boottime_ns, time.CLOCK_BOOTTIME),
        (clock.monotonic_ns, time.CLOCK_MONOTONIC),
        (clock.realtime_ns, time.CLOCK_REALTIME),
    ]:
        before = time.clock_gettime_ns(number)
        seen = face()
        assert before <= seen <= time.clock_gettime_ns(number)
        assert isinstance(seen, int)


def test_an_alarm_fires_at_its_instant_and_not_before() -> None:
    with Alarm() as alarm:
        due = now() + 300 * MS
        alarm.set(due)
        fired = alarm.wait(0)
        assert not fired or now() >= due  # whoever is late finds it fired
        assert alarm.wait(30)
        assert now() >= due


def test_it_stays_readable_until_it_is_set_again() -> None:
    with Alarm() as alarm:
        alarm.set(now())
        assert alarm.wait(30)
        assert alarm.wait(0)
        assert select.select([alarm], [], [], 0)[0] == [alarm]
        alarm.set(now() + 60 * NS_PER_S)
        assert not alarm.wait(0)
        alarm.set(now())
        assert alarm.wait(30)
        alarm.set(None)
        assert not alarm.wait(0)


@pytest.mark.parametrize("instant", [-5, 0, 1])
def test_an_instant_long_past_fires_at_once(instant: int) -> None:
    with Alarm() as alarm:
        alarm.set(instant)
        assert alarm.wait(30)
        assert alarm.at_ns == instant


def test_an_alarm_that_is_not_set_does_not_fire() -> None:
    with Alarm() as alarm:
        assert alarm.at_ns is None
        assert not alarm.wait(0.01)


@pytest.mark.parametrize("timeout", [0.01, timedelta(milliseconds=10), 0, -1])
def test_the_limit_of_a_wait_may_be_seconds_or_a_timedelta(timeout: float | timedelta) -> None:
    with Alarm() as alarm:
        alarm.set(now() + 60 * NS_PER_S)
        assert not alarm.wait(timeout)


@pytest.mark.parametrize("timeout", [None, float("inf"), 10.0**12, timedelta.max])
def test_a_wait_longer_than_the_kernel_can_count_still_ends_in_time(
    timeout: float | timedelta | None,
) -> None:
    with Alarm() as alarm:
        alarm.set(now() + 10 * MS)
        assert alarm.wait(timeout)


def test_an_instant_that_no_kernel_can_hold_is_never(monkeypatch: pytest.MonkeyPatch) -> None:
    with Alarm() as alarm:
        alarm.set(2**70)
        assert not alarm.wait(0.01)
        monkeypatch.setattr("holdfast.clock._POLL_MAX_S", 0.01)
        assert not alarm.wait(0.05)


def test_another_thread_may_bring_the_alarm_forward() -> None:
    with Alarm() as alarm:
        alarm.set(now() + 60 * NS_PER_S)
        timer = threading.Timer(0.02, alarm.set, [1])
        timer.start()
        assert alarm.wait(30)
        timer.join()


def test_a_closed_alarm_says_so_and_closes_twice() -> None:
    alarm = Alarm()
    fd = alarm.fileno()
    alarm.close()
    alarm.close()
    assert alarm.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    for use in (alarm.fileno, alarm.wait, lambda: alarm.set(1)):
        with pytest.raises(Closed):
            use()


def test_the_descriptor_is_not_inherited() -> None:
    with Alarm() as alarm:
        assert not os.get_inheritable(alarm.fileno())


def test_without_the_compiled_module_an_alarm_is_unsupported() -> None:
    program = """
import sys
sys.modules["holdfast._native.kernel"] = None
from holdfast import clock, errors
assert clock.SystemClock().boottime_ns() > 0
try:
    clock.Alarm()
except errors.Unsupported as error:
    print(error.code)
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert child.stdout == "unsupported\n", child.stderr
