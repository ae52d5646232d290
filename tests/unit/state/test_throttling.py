"""Throttled handles by the real clock, and their descriptors; the rules are in tests/property."""

from __future__ import annotations

import itertools
import select
import time
from dataclasses import dataclass

import pytest

from holdfast.state import Namespace, State
from tests.fixtures_state import MakePeer, RunScript
from tests.peer import Peer

NS_PER_S = 1_000_000_000
SOON_S = 30.0  # a bound for liveness, never a measure


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
    "import threading, time\n"
    "w = ns.subscribe('s', 'rw')\n"
    "enough = threading.Event()\n"
    "def commit():\n"
    "    n = 0\n"
    "    while n < {least} or not enough.is_set():\n"
    "        n += 1\n"
    "        with w.transaction() as t: t.data[:] = n.to_bytes(8, 'little')\n"
    "        time.sleep({pause})\n"
    "thread = threading.Thread(target=commit, daemon=True)\n"
    "thread.start()\n"
)


class Committer:
    """Another process that commits and commits, until it is told that it is enough."""

    def __init__(self, other: Peer, least: int, pause_s: float) -> None:
        self._other = other
        self._until_s = time.monotonic() + SOON_S
        self.last: int | None = None  # version, once it has ended
        other(COMMITS.format(least=least, pause=pause_s))

    def goes_on(self, shown: list[Shown], *, enough: bool) -> bool:
        """Whether there is more to be shown; tells it once when there was enough."""
        if self.last is None:
            assert time.monotonic() < self._until_s, "too little was shown"
            if enough:
                self._other("enough.set(); thread.join()")
                self.last = self._other("w.version")
        return self.last is None or not shown or shown[-1].version < self.last


def test_five_thousand_commits_are_shown_every_fifty_milliseconds(
    namespace: Namespace, peer: MakePeer
) -> None:
    """K56, P1, P5, K72: never closer, the last one always, and no wake-up for each commit."""
    interval_s = 0.05
    interval_ns = round(interval_s * NS_PER_S)
    state = namespace.subscribe("s", size=8)
    state.throttle(interval_s)
    fd = state.fileno()
    commits = Committer(peer(), 5000, 0.0004)
    shown: list[Shown] = []
    wakes = early = 0
    while commits.goes_on(shown, enough=len(shown) > 20 and early > 5):
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
    assert_never_closer(shown, interval_ns)
    # Of a slow committer each change may be three: at t + R there is nothing yet, then there is a
    # late ring for what was shown, and then a ring for what is new.
    assert wakes <= 3 * len(shown) + 3
    for _ in range(2):  # the look that finds nothing R after the last, and one to spare
        if readable(fd, 4 * interval_s):
            assert not state.changed()
    assert not readable(fd, 4 * interval_s)
    print(f"{commits.last} commits, {len(shown)} shown, {wakes} wake-ups, {early} early looks")


def test_a_look_at_any_time_shows_no_more_than_the_descriptor(
    namespace: Namespace, peer: MakePeer
) -> None:
    """K56, P1, P3: also for a reader that never stops looking."""
    interval_s = 0.02
    state = namespace.subscribe("s", size=8)
    state.throttle(interval_s)
    shown: list[Shown] = [look(state)]
    commits = Committer(peer(), 1000, 0.0002)
    while commits.goes_on(shown, enough=len(shown) > 20):
        seen = look(state)
        if seen.version != shown[-1].version:
            shown.append(seen)
    assert_never_closer(shown, round(interval_s * NS_PER_S))


def test_three_handles_have_three_rates(namespace: Namespace, peer: MakePeer) -> None:
    """K8: 0, 10 ms and 1 s on one state in one process; each shows the last one."""
    intervals = {namespace.subscribe("s", size=8): ns for ns in (0, NS_PER_S // 100, NS_PER_S)}
    shown: dict[State, list[Shown]] = {}
    poll = select.poll()
    by_fd = {}
    for state, interval_ns in intervals.items():
        state.throttle(interval_ns / NS_PER_S)
        by_fd[state.fileno()] = state
        shown[state] = [look(state)]
        poll.register(state.fileno(), select.POLLIN)
    commits = Committer(peer(), 1000, 0.0005)
    quick, slow, slowest = shown.values()
    while commits.goes_on(
        min(shown.values(), key=lambda seen: seen[-1].version),
        # Far enough from each other for what is still to come.
        enough=len(quick) > len(slow) + 5 > len(slowest) + 10 and len(slowest) > 2,
    ):
        ready = poll.poll(SOON_S * 1000)
        assert ready, "lost"
        for fd, _ in ready:
            state = by_fd[fd]
            if state.changed():
                shown[state].append(look(state))
    for state, interval_ns in intervals.items():
        assert_never_closer(shown[state], interval_ns)
    assert len(quick) > len(slow) > len(slowest)
    print(f"{commits.last} commits, shown: {[len(seen) for seen in shown.values()]}")


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
    assert readable(fd, SOON_S)


def test_the_descriptor_goes_by_a_shorter_interval(namespace: Namespace, written: State) -> None:
    """K55a, K56 P5, P7: readable at t + R of the new interval."""
    reader = namespace.subscribe("s")
    fd = reader.fileno()
    reader.throttle(1000)
    reader.read()
    put(written, 1)
    reader.throttle(0.01)
    assert readable(fd, SOON_S)


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
    import select, sys
    from holdfast.state import Namespace, watch

    class Counted:
        polls = 0

        def poll(self):
            Counted.polls += 1
            return select.poll()

        def __getattr__(self, name):
            return getattr(select, name)

    watch.select = Counted()
    state = Namespace(sys.argv[1]).subscribe("s")
    state.fileno()
    state.throttle(0.01)
    state.read()
    state.throttle(100)
    print(state.wait(0.5))
    print(0 < Counted.polls < 10)
"""


def test_waiting_within_a_longer_interval_ends_with_the_time(script: RunScript) -> None:
    """K54, K56 P7: without spinning; the hundred seconds would be too long for a script."""
    assert script(WAITS).split() == ["False", "True"]
