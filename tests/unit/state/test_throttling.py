"""Throttled handles by the real clock, and their descriptors; the rules are in tests/property."""

from __future__ import annotations

import itertools
import select
import time
from dataclasses import dataclass

import pytest

from holdfast.state import Namespace, State
from tests.fixtures_state import MakePeer, RunScript

NS_PER_S = 1_000_000_000
SOON_S = 20.0  # a bound for liveness, never a measure


@dataclass
class Shown:
    """A look that showed a new version, between two readings of CLOCK_BOOTTIME."""

    before_ns: int
    after_ns: int
    version: int


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def look(state: State) -> Shown:
    before_ns = boottime_ns()
    version = state.snapshot().version
    return Shown(before_ns, boottime_ns(), version)


def readable(fd: int, within_s: float = 0) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll.poll(within_s * 1000) != []


def assert_never_closer(shown: list[Shown], interval_ns: int) -> None:
    """P1, as far as it can be seen from outside.

    A version is shown at some moment within its look, and nobody outside knows at which. So two of
    them are R apart at least from before the first look to after the second.
    """
    for one, two in itertools.pairwise(shown):
        assert two.version > one.version
        assert two.after_ns - one.before_ns >= interval_ns


COMMITS = (
    "import time\n"
    "w = ns.subscribe('s', 'rw')\n"
    "for n in range({count}):\n"
    "    with w.transaction() as t: t.data[:] = (n + 1).to_bytes(8, 'little')\n"
    "    time.sleep({pause})\n"
)


def test_five_thousand_commits_are_shown_every_fifty_milliseconds(
    namespace: Namespace, peer: MakePeer
) -> None:
    """K56, P1, P5, K72: never closer, the last one always, and no more wake-ups than changes."""
    count, interval_s = 5000, 0.05
    interval_ns = round(interval_s * NS_PER_S)
    state = namespace.subscribe("s", size=8)
    state.throttle(interval_s)
    fd = state.fileno()
    other = peer()
    other.start(COMMITS.format(count=count, pause=0.0004))
    shown: list[Shown] = []
    wakes = early = 0
    while not shown or shown[-1].version < count:
        assert readable(fd, SOON_S), "the last of a burst was not shown"
        woken_ns = boottime_ns()
        wakes += 1
        if shown:  # P5: the descriptor was quiet until then
            assert woken_ns - shown[-1].before_ns >= interval_ns
        if state.changed():
            shown.append(look(state))
        again = readable(fd)
        now_ns = boottime_ns()
        if shown and now_ns < shown[-1].before_ns + interval_ns:
            early += 1
            assert not again, "readable before t + R"
    other.result()
    assert_never_closer(shown, interval_ns)
    assert len(shown) > 5
    assert early > 5
    assert wakes <= len(shown) + 5
    for _ in range(2):  # the look that finds nothing R after the last, and one to spare
        if readable(fd, 4 * interval_s):
            assert not state.changed()
    assert not readable(fd, 4 * interval_s)
    print(f"{count} commits, {len(shown)} shown, {wakes} wake-ups, {early} early looks")


def test_a_look_at_any_time_shows_no_more_than_the_descriptor(
    namespace: Namespace, peer: MakePeer
) -> None:
    """K56, P1, P3: also for a reader that never stops looking."""
    count, interval_s = 2000, 0.02
    state = namespace.subscribe("s", size=8)
    state.throttle(interval_s)
    other = peer()
    other.start(COMMITS.format(count=count, pause=0.0002))
    shown: list[Shown] = [look(state)]
    until_ns = boottime_ns() + round(SOON_S * NS_PER_S)
    while shown[-1].version < count:
        assert boottime_ns() < until_ns
        seen = look(state)
        if seen.version != shown[-1].version:
            shown.append(seen)
    other.result()
    assert_never_closer(shown, round(interval_s * NS_PER_S))


def test_three_handles_have_three_rates(namespace: Namespace, peer: MakePeer) -> None:
    """K8: 0, 10 ms and 1 s on one state in one process; each shows the last one."""
    count = 2000
    intervals = {namespace.subscribe("s", size=8): ns for ns in (0, NS_PER_S // 100, NS_PER_S)}
    shown: dict[State, list[Shown]] = {}
    poll = select.poll()
    by_fd = {}
    for state, interval_ns in intervals.items():
        state.throttle(interval_ns / NS_PER_S)
        by_fd[state.fileno()] = state
        shown[state] = [look(state)]
        poll.register(state.fileno(), select.POLLIN)
    other = peer()
    other.start(COMMITS.format(count=count, pause=0.0005))
    while any(seen[-1].version < count for seen in shown.values()):
        ready = poll.poll(SOON_S * 1000)
        assert ready, "lost"
        for fd, _ in ready:
            state = by_fd[fd]
            if state.changed():
                shown[state].append(look(state))
    other.result()
    for state, interval_ns in intervals.items():
        assert_never_closer(shown[state], interval_ns)
    counts = [len(seen) for seen in shown.values()]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2]
    print(f"{count} commits, shown: {counts}")


# -- the descriptor, when the interval is changed under it -----------------------------------------


@pytest.fixture
def written(namespace: Namespace) -> State:
    return namespace.subscribe("s", "rw", size=8)


def put(state: State, value: int) -> None:
    with state.transaction() as txn:
        txn.data[:] = value.to_bytes(8, "little")


def test_the_descriptor_works_after_throttling_was_turned_off(
    namespace: Namespace, written: State
) -> None:
    """K55a, K56 P7: every change is news again."""
    reader = namespace.subscribe("s")
    fd = reader.fileno()
    reader.throttle(0.01)
    reader.read()
    reader.throttle(0)
    readable(fd, 0.1)
    reader.read()
    put(written, 1)
    assert readable(fd, 2)


def test_the_descriptor_goes_by_a_shorter_interval(namespace: Namespace, written: State) -> None:
    """K55a, K56 P5, P7: readable at t + R of the new interval."""
    reader = namespace.subscribe("s")
    fd = reader.fileno()
    reader.throttle(1000)
    reader.read()
    put(written, 1)
    reader.throttle(0.01)
    assert readable(fd, 2)


def test_the_descriptor_goes_by_a_longer_interval(namespace: Namespace, written: State) -> None:
    """K56, P5, P7: not readable before t + R of the new interval, whatever is looked at."""
    reader = namespace.subscribe("s")
    fd = reader.fileno()
    reader.throttle(0.01)
    reader.read()
    reader.throttle(1000)
    put(written, 1)
    if readable(fd, 0.2):
        reader.changed()
    assert not readable(fd)


WAITS = """
    import sys, time
    from holdfast.state import Namespace
    state = Namespace(sys.argv[1]).subscribe("s")
    state.fileno()
    state.throttle(0.01)
    state.read()
    state.throttle(100)
    before = time.process_time()
    print(state.wait(0.5))
    print(time.process_time() - before < 0.25)
"""


def test_waiting_within_a_longer_interval_ends_with_the_time(script: RunScript) -> None:
    """K54, K56 P7: without spinning."""
    before_s = time.monotonic()
    assert script(WAITS).split() == ["False", "True"]
    assert time.monotonic() - before_s < 40
