"""The seam: timers in their order, values as values, the runtime that accumulates."""

from __future__ import annotations

import copy
import dataclasses
import heapq
import pickle
from random import Random

import pytest

from holdfast.errors import InvalidArgument, MembershipError
from holdfast.membership import (
    ALL_REPAIRS,
    AccumulatingRuntime,
    Active,
    Announce,
    ChangeSuspectToDown,
    Config,
    Header,
    Member,
    MemberDown,
    Membership,
    MemberUp,
    Node,
    PeriodicAnnounce,
    PeriodicAnnounceDown,
    PeriodicGossip,
    Ping,
    Postcard,
    ProbeRandomMember,
    Rejoin,
    RemoveDown,
    Rename,
    SendIndirectProbe,
    State,
    TimedRuntime,
    Timer,
)
from holdfast.timers import TimerQueue

A, B = Node("127.0.0.1", 8000, 1), Node("127.0.0.1", 8001, 2)
IN_ORDER: list[Timer[Node]] = [
    SendIndirectProbe(A, 0),
    ProbeRandomMember(0),
    ChangeSuspectToDown(A, 0, 0),
    PeriodicAnnounce(0),
    PeriodicGossip(0),
    RemoveDown(A),
    PeriodicAnnounceDown(0),
]


def test_timers_sort_by_what_must_come_first() -> None:
    """9, runtime.rs: timers_sort."""
    assert [timer.priority for timer in IN_ORDER] == list(range(7))
    shuffled = list(IN_ORDER)
    Random(5).shuffle(shuffled)
    assert sorted(shuffled) == IN_ORDER
    heap = [(3, timer) for timer in shuffled]
    heapq.heapify(heap)
    assert [heapq.heappop(heap)[1] for _ in IN_ORDER] == IN_ORDER


def test_timers_fit_into_the_queue_of_the_library() -> None:
    queue: TimerQueue[Timer[Node]] = TimerQueue()
    for timer in reversed(IN_ORDER):
        queue.add(3, timer, priority=timer.priority)
    fired = []
    while (due := queue.pop_due(3)) is not None:
        fired.append(due[1])
    assert fired == IN_ORDER


def test_timers_compare_with_timers_only() -> None:
    with pytest.raises(TypeError):
        assert ProbeRandomMember(0) < 3


@pytest.mark.parametrize(
    "value", [MemberUp(A), MemberDown(A), Rename(A, B), Rejoin(A), Active(), *IN_ORDER], ids=repr
)
def test_what_crosses_the_seam_is_a_value(value: object) -> None:
    """9, error.rs: errors_are_sync, as far as Python knows it: all of it can be sent elsewhere."""
    assert copy.copy(value) == pickle.loads(pickle.dumps(value)) == value
    assert hash(value) == hash(copy.copy(value))
    with pytest.raises((AttributeError, TypeError)):  # CPython's message for slots is a TypeError
        value.anything = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", MembershipError.__subclasses__(), ids=lambda k: k.__name__)
def test_errors_can_be_sent_elsewhere(kind: type[MembershipError]) -> None:
    """9, error.rs: errors_are_sync."""
    error = kind("what", on="whom", hint="how")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, "what: whom; how")


def test_the_runtime_keeps_all_in_three_queues() -> None:
    runtime: AccumulatingRuntime[Node] = AccumulatingRuntime(now_ns=5)
    engine = Membership(A, Config.simple(), rng=Random(1), codec=Postcard(Node))
    assert engine.repairs == ALL_REPAIRS
    assert (runtime.to_send(), runtime.to_schedule(), runtime.to_notify()) == (None, None, None)
    engine.announce(B, runtime)
    engine.announce(A, runtime)
    runtime.submit_after(IN_ORDER[1], 9)
    runtime.notify(Active())
    assert runtime.backlog() == 4
    sends = [runtime.to_send(), runtime.to_send(), runtime.to_send()]
    assert [send and send[0] for send in sends] == [B, A, None]
    assert runtime.to_schedule() == (9, IN_ORDER[1])
    assert runtime.to_notify() == Active()
    assert runtime.backlog() == 0


def test_the_clock_of_the_runtime_is_set_and_never_goes_back() -> None:
    runtime: AccumulatingRuntime[Node] = AccumulatingRuntime()
    assert isinstance(runtime, TimedRuntime)
    runtime.set_now_ns(7)
    assert runtime.now_ns() == 7
    with pytest.raises(InvalidArgument):
        runtime.set_now_ns(6)


def test_a_node_is_an_address_and_a_generation() -> None:
    node = Node("::0001", 1, 2)
    assert (node.ip, node.addr, str(node)) == ("::1", ("::1", 1), "[::1]:1#2")
    assert str(A) == "127.0.0.1:8000#1"
    assert node.renew() == Node("::1", 1, 3)
    assert node.renew().win_addr_conflict(node)  # type: ignore[union-attr]
    assert not node.win_addr_conflict(node)
    assert Node("::1", 1, 2**64 - 1).renew() is None
    for wrong in (
        ("localhost", 1, 1),
        ("fe80::1%eth0", 1, 1),
        ("::1", -1, 1),
        ("::1", 65_536, 1),
        ("::1", 1, -1),
        ("::1", 1, 2**64),
    ):
        with pytest.raises(InvalidArgument):
            Node(*wrong)


def test_a_node_can_be_made_from_another_one() -> None:
    node = Node("::0001", 1, 2)
    same = dataclasses.replace(node)
    assert (same, hash(same)) == (node, hash(node))
    later = dataclasses.replace(node, generation=9)
    assert later == Node("::1", 1, 9)
    assert Postcard(Node).encode_header(Header(later, 0, A, Announce())) == Postcard(
        Node
    ).encode_header(Header(Node("::1", 1, 9), 0, A, Announce()))
    assert dataclasses.replace(node, addr=("127.0.0.1", 8000), generation=1) == A
    # mypy knows the fields only; the halves of an address are understood all the same.
    assert dataclasses.replace(node, port=7) == Node("::1", 7, 2)  # type: ignore[call-arg]
    assert dataclasses.replace(A, ip="::1") == Node("::1", 8000, 1)  # type: ignore[call-arg]
    with pytest.raises(InvalidArgument, match="no u64"):
        dataclasses.replace(node, generation=-1)
    with pytest.raises(TypeError, match="an ip and a port"):
        Node("::1")  # type: ignore[call-overload]


def test_a_driver_sees_all_headers_and_whose_probe_has_failed() -> None:
    """What the crate tells as DataSent, DataReceived and ProbeFailed, if it is built for that."""
    codec = Postcard(Node)
    runtime: AccumulatingRuntime[Node] = AccumulatingRuntime()
    engine = Membership(A, Config.simple(), rng=Random(1), codec=codec, repairs=frozenset())
    engine.apply_many([Member(B, 0, State.ALIVE)], runtime)
    sent = []
    for timer in (ProbeRandomMember(0), SendIndirectProbe(B, 0), ProbeRandomMember(0)):
        engine.handle_timer(timer, runtime)
        while (packet := runtime.to_send()) is not None:
            member, data = packet
            header, _ = codec.decode_header(data)
            assert (header.src, header.dst) == (A, member)
            sent.append(header.message)
    assert sent == [Ping(1), Ping(2)]
    assert [member.state for member in engine.members()] == [State.SUSPECT]


def test_announce_needs_no_exact_identity() -> None:
    codec = Postcard(Node)
    here: AccumulatingRuntime[Node] = AccumulatingRuntime()
    one = Membership(A, Config.simple(), rng=Random(1), codec=codec)
    two = Membership(B, Config.simple(), rng=Random(2), codec=codec)
    one.announce(Node(B.ip, B.port), here)
    sent = here.to_send()
    assert sent is not None
    assert codec.decode_header(sent[1])[0].message == Announce()
    two.handle_data(sent[1], here)
    assert two.num_members == 1
