"""A node whose machine sleeps: what it says before, what it keeps to itself, how it comes back."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidArgument
from holdfast.membership import notes, talk
from holdfast.membership.changes import ClusterEvent
from holdfast.membership.rest import LOOK_NS, ROUNDS, SLEPT_NS, TABLE, Event, Phase, Rest
from holdfast.membership.session import Session
from holdfast.membership.sleep import SLEEP_MAX_NS
from holdfast.membership.stages import Stage
from tests.unit.membership.net import LINGER_NS, MS, Net, S, names

A, B, C = (("10.0.0.1", port) for port in (1, 2, 3))


@pytest.fixture
def net() -> Net:
    return Net()


def three(net: Net) -> tuple[Session, Session, Session]:
    """Three nodes that know each other to be kin."""
    a = net.add("a", 1)
    b, c = (net.add(name, port, "10.0.0.1:1") for name, port in (("b", 2), ("c", 3)))
    net.run(6)
    assert names(a) == names(b) == names(c) == ["a", "b", "c"]
    return a, b, c


def prepare(net: Net, session: Session, at_most_s: float = 3600) -> bool:
    told = session.prepare_sleep(net.now_ns, round(at_most_s * S), LINGER_NS)
    net.carry_out(session.engine.identity.addr)
    return told


class Machine:
    """The clocks of a machine, and its power."""

    def __init__(self, net: Net, session: Session) -> None:
        self.net = net
        self.session = session
        self.addr = session.engine.identity.addr
        self.slept_ns = 5 * S
        assert not session.clocks(self.slept_ns, self.slept_ns, net.now_ns)

    def sleep(self, seconds: float) -> None:
        """Off the net; what is sent to it is lost."""
        del self.net.nodes[self.addr]
        self.net.run(seconds)
        self.net.nodes[self.addr] = self.session
        self.slept_ns += round(seconds * S)

    def ring(self) -> bool:
        """As the driver does it, whenever it wakes."""
        slept = self.session.clocks(self.slept_ns - MS, self.slept_ns + MS, self.net.now_ns)
        self.session.handle_timers(self.net.now_ns)
        self.net.carry_out(self.addr)
        return slept


# -- before ---------------------------------------------------------------------------------------


def test_whoever_says_that_it_sleeps_is_missed_by_nobody(net: Net) -> None:
    a, b, c = three(net)
    machine = Machine(net, b)
    assert prepare(net, b)
    net.run(LINGER_NS / S)
    machine.sleep(600)
    assert names(a) == names(c) == ["a", "b", "c"]
    assert machine.ring()
    net.run(0.01)
    for other in (a, c):
        assert names(other) == ["a", "b", "c"]
        assert ("MemberFailed", "b") not in net.changes(other)
        [known] = [member for member in other.members() if member.name == "b"]
        assert known.incarnation == b.engine.incarnation > 0
    assert b.counts["rejoins"] == 0


def test_whoever_does_not_is_declared_down_and_comes_back(net: Net) -> None:
    a, b, c = three(net)
    machine = Machine(net, b)
    machine.sleep(600)
    assert names(a) == names(c) == ["a", "c"]
    machine.ring()
    net.run(1)
    assert names(a) == names(b) == names(c) == ["a", "b", "c"]
    assert b.counts["rejoins"] == 1


def test_good_night_is_said_some_times_and_then_nothing(net: Net) -> None:
    a, b, _ = three(net)
    assert prepare(net, b)
    telling = [b.telling]
    net.run(LINGER_NS / S)
    assert [*telling, b.telling] == [True, False]
    said = [(to, data) for source, to, data in net.sent if source == B and notes.MAGIC in data]
    assert len(said) == 2 * ROUNDS
    net.sent.clear()
    net.run(60)
    assert [data for source, _, data in net.sent if source == B] == []
    assert names(b) == ["a", "b", "c"], "it accuses nobody either"
    assert names(a) == ["a", "b", "c"]


def test_good_night_survives_the_loss_of_all_but_its_last_round(net: Net) -> None:
    a, b, c = three(net)
    until = net.now_ns + LINGER_NS - MS
    net.cut = lambda source, _to: source == B and net.now_ns < until
    assert prepare(net, b)
    net.run(LINGER_NS / S)
    del net.nodes[B]
    net.run(60)
    assert names(a) == names(c) == ["a", "b", "c"]


def test_whoever_sleeps_still_listens_and_answers_strangers(net: Net) -> None:
    a, b, _ = three(net)
    prepare(net, b)
    net.run(1)
    a.broadcast("news", b"x", net.now_ns)
    net.carry_out(A)
    d = net.add("d", 4, "10.0.0.1:1")
    net.run(3)
    net.sent.clear()
    b.handle_data(talk.ask(1), ("10.9.9.9", 9), net.now_ns)
    [(to, _)] = b.take().sends
    assert to == ("10.9.9.9", 9)
    assert [c.name for c in net.told[B] if isinstance(c, ClusterEvent)] == ["news"]
    b.resumed(net.now_ns)
    net.carry_out(B)
    net.run(3)
    assert names(b) == names(d) == ["a", "b", "c", "d"]


def test_an_event_of_a_sleeper_waits_until_it_is_awake(net: Net) -> None:
    a, b, _ = three(net)
    prepare(net, b)
    net.run(1)
    b.broadcast("late", b"", net.now_ns)
    net.carry_out(B)
    net.run(5)
    assert not [c for c in net.told[A] if isinstance(c, ClusterEvent)]
    b.resumed(net.now_ns)
    net.run(3)
    assert [c.name for c in net.told[A] if isinstance(c, ClusterEvent)] == ["late"]
    assert names(a) == ["a", "b", "c"]


def test_a_name_that_is_looked_up_in_ones_sleep_is_not_called(net: Net) -> None:
    net.add("a", 1)
    b = net.add("b", 2, "10.0.0.1:1", "seed.example:1")
    net.run(5)
    prepare(net, b)
    b.resolved("seed.example:1", [("10.0.0.9", 9)], net.now_ns)
    assert ("10.0.0.9", 9) not in [to for to, _ in b.take().sends]
    b.resumed(net.now_ns)
    b.take()
    b.resolved("seed.example:1", [("10.0.0.9", 9)], net.now_ns)
    assert ("10.0.0.9", 9) in [to for to, _ in b.take().sends]


def test_saying_it_twice_changes_nothing(net: Net) -> None:
    _, b, _ = three(net)
    assert prepare(net, b)
    net.run(1)
    net.sent.clear()
    assert prepare(net, b)
    assert net.sent == []
    assert not b.telling


def test_without_anybody_who_understands_it_nothing_changes(net: Net) -> None:
    alone = net.add("a", 1, "10.0.0.1:9")
    assert not prepare(net, alone)
    net.run(60)
    assert alone.counts["calls"] > 3
    crates = Net()
    a = crates.add("a", 1, marked=False)
    b = crates.add("b", 2, "10.0.0.1:1", marked=False)
    crates.run(5)
    assert not prepare(crates, b)
    crates.run(30)
    assert len(a.members()) == len(b.members()) == 2
    b.leave(crates.now_ns, LINGER_NS)
    assert not prepare(crates, b)
    with pytest.raises(InvalidArgument, match="at_most_ns"):
        a.prepare_sleep(crates.now_ns, 0, LINGER_NS)


def test_a_sleeper_that_leaves_has_left(net: Net) -> None:
    a, b, c = three(net)
    prepare(net, b)
    net.run(20)
    b.leave(net.now_ns, LINGER_NS)
    net.carry_out(B)
    assert not prepare(net, b), "it is going already"
    net.run(1)
    assert b.stage is Stage.LEFT
    for other in (a, c):
        assert net.changes(other)[-1] == ("MemberLeft", "b")


# -- after ----------------------------------------------------------------------------------------


def test_a_sleep_that_does_not_come_about_ends_with_its_bound(net: Net) -> None:
    a, b, c = three(net)
    prepare(net, b, at_most_s=30)
    net.run(29)
    assert b.counts["resumed"] == 0
    net.run(60)
    assert b.counts["resumed"] == 1
    assert names(a) == names(b) == names(c) == ["a", "b", "c"]
    for session in (a, b, c):
        assert not [name for name, _ in net.changes(session) if name == "MemberFailed"]


def test_it_is_silent_for_no_longer_than_anybody_waits(net: Net) -> None:
    _, b, _ = three(net)
    prepare(net, b, at_most_s=7 * 86_400)
    b.handle_timers(net.now_ns + SLEEP_MAX_NS - 1)
    assert b.counts["resumed"] == 0
    b.handle_timers(net.now_ns + SLEEP_MAX_NS)
    assert b.counts["resumed"] == 1


def test_a_sleep_is_found_within_a_second_of_the_end_though_nobody_says_it(net: Net) -> None:
    a, b, _ = three(net)
    machine = Machine(net, b)
    prepare(net, b)
    net.run(1)
    machine.sleep(100)
    due = b.next_due()
    assert due is not None
    assert due <= net.now_ns + LOOK_NS
    assert machine.ring()
    assert not machine.ring()
    net.run(1)
    assert b.counts["resumed"] == 1
    assert names(a) == ["a", "b", "c"]


def test_what_has_come_counts_before_what_fell_due(net: Net) -> None:
    """The answer to the probe of before the sleep is there: nobody is accused."""
    a, b, c = three(net)
    machine = Machine(net, a)
    for _ in range(5):
        machine.sleep(100)
        assert machine.ring()
        net.run(0.3)
        assert [m.state for m in a.members()] == ["alive"] * 3
    net.run(5)
    assert names(a) == names(b) == names(c) == ["a", "b", "c"]


def test_a_lonely_node_calls_soon_after_its_sleep(net: Net) -> None:
    b = net.add("b", 2, "10.0.0.1:1")
    machine = Machine(net, b)
    net.run(300)
    net.add("a", 1)
    machine.sleep(3)
    machine.ring()
    net.run(0.3)
    assert names(b) == ["a", "b"]


# -- the pure part --------------------------------------------------------------------------------


def test_clocks_that_are_read_late_tell_of_no_sleep() -> None:
    rest = Rest()
    assert not rest.clocks(100 * S, 100 * S)
    # Stopped between the readings: the bounds are wide, and hold all the same.
    assert not rest.clocks(100 * S - 3 * S, 100 * S + 1 * S)
    assert not rest.clocks(100 * S, 100 * S)
    first_late = Rest()
    assert not first_late.clocks(97 * S, 103 * S)
    assert not first_late.clocks(100 * S, 100 * S), "the first reading was late"
    assert not first_late.clocks(100 * S + SLEPT_NS, 100 * S + SLEPT_NS + 1)
    assert first_late.clocks(101 * S, 101 * S)
    assert not first_late.clocks(101 * S, 101 * S)


def test_the_phases_are_those_of_the_table() -> None:
    assert {phase for phase, _ in TABLE} == set(TABLE.values()) == set(Phase)
    rest = Rest()
    assert not rest.back()
    assert rest.prepare(0, 10 * S, 2 * MS)
    assert not rest.prepare(1, 1, 1)
    assert rest.next_due() == MS
    assert rest.step(0) is None
    assert rest.step(MS) is Event.TOLD
    assert str(rest.phase) == "Phase.TELLING"
    assert rest.step(2 * MS) is Event.TOLD
    assert str(rest.phase) == "Phase.QUIET"
    assert rest.next_due() == 2 * MS + LOOK_NS
    assert rest.step(2 * MS + LOOK_NS) is None
    assert rest.next_due() == 2 * MS + 2 * LOOK_NS
    assert rest.step(10 * S) is Event.BACK
    assert rest.back()
    assert not rest.resting
