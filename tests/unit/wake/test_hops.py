"""How a baton travelled, by what was said: in any order, about anybody, and never without bound."""

from __future__ import annotations

import pytest

from holdfast.wake.hops import Hop, Hops, Process

X = Process(10, 100, command="x")
Y = Process(20, 200, command="y")
Z = Process(30, 300, command="z")
LEASE = 77


@pytest.fixture
def hops() -> Hops:
    one = Hops(leases_max=3, hops_max=4, ended_max=5)
    one.opened(LEASE, X, 1)
    return one


def only(hops: Hops) -> Hop:
    trail = hops.trail(LEASE)
    assert trail is not None
    [hop] = trail.hops
    return hop


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    assert X.is_same(Process(10, 100))
    assert not X.is_same(Process(10, 101))
    assert X.is_same(Process(10))  # nobody looked in time
    assert not X.is_same(Process(11))


def test_one_hop_is_told_by_three_reports(hops: Hops) -> None:
    hops.sent(LEASE, X, 5, index=8)
    hops.received(LEASE, Y, 7, index=8)
    hops.released(LEASE, Y, 9)
    hop = only(hops)
    assert (hop.sender, hop.receiver, hop.index) == (X, Y, 8)
    assert (hop.sent_ns, hop.received_ns, hop.released_ns) == (5, 7, 9)
    assert hop.closed


def test_a_receiver_may_be_heard_before_the_sender(hops: Hops) -> None:
    hops.received(LEASE, Y, 7, index=8)
    hops.sent(LEASE, X, 5, index=8)
    hop = only(hops)
    assert (hop.sender, hop.receiver, hop.sent_ns, hop.received_ns) == (X, Y, 5, 7)


@pytest.mark.parametrize("early", [True, False])
def test_an_index_that_only_one_of_them_says_is_kept(hops: Hops, early: bool) -> None:
    hops.received(LEASE, Y, 7, index=0 if early else None)
    hops.sent(LEASE, X, 5, index=None if early else 0)
    assert only(hops).index == 0


def test_an_index_that_only_the_receiver_says_is_kept(hops: Hops) -> None:
    hops.sent(LEASE, X, 5)
    hops.received(LEASE, Y, 7, index=3)
    assert only(hops).index == 3


def test_copies_with_other_indices_or_for_others_are_other_hops(hops: Hops) -> None:
    hops.sent(LEASE, X, 5, index=1)
    hops.sent(LEASE, X, 6, receiver=Z)
    hops.received(LEASE, Y, 7, index=2)
    trail = hops.trail(LEASE)
    assert trail is not None
    assert [(hop.number, hop.sender, hop.receiver, hop.index) for hop in trail.hops] == [
        (0, X, None, 1),
        (1, X, Z, None),
        (2, None, Y, 2),
    ]


def test_a_release_is_that_of_the_oldest_copy_its_holder_still_has(hops: Hops) -> None:
    hops.received(LEASE, Y, 1)
    hops.received(LEASE, Y, 2)
    hops.released(LEASE, Y, 3)
    hops.released(LEASE, Y, 4)
    trail = hops.trail(LEASE)
    assert trail is not None
    assert [(hop.received_ns, hop.released_ns) for hop in trail.hops] == [(1, 3), (2, 4)]


def test_the_acquirer_releases_though_it_never_received(hops: Hops) -> None:
    hops.released(LEASE, X, 9)
    hop = only(hops)
    assert (hop.receiver, hop.received_ns, hop.released_ns) == (X, None, 9)


def test_of_an_unknown_lease_nothing_is_kept(hops: Hops) -> None:
    assert hops.sent(1, X, 1) is hops.received(1, Y, 2) is hops.released(1, Y, 3) is None
    assert hops.trail(1) is None


def test_of_too_many_leases_nothing_is_kept(hops: Hops) -> None:
    for lease in range(5):
        hops.opened(lease, X, 2)
    assert [lease for lease in range(5) if hops.trail(lease)] == [0, 1]
    hops.closed(0)
    hops.opened(4, X, 3)
    assert hops.trail(4)


def test_an_inode_that_is_used_again_is_a_new_lease(hops: Hops) -> None:
    hops.sent(LEASE, X, 5)
    hops.opened(LEASE, Y, 9)
    trail = hops.trail(LEASE)
    assert trail is not None
    assert (trail.acquirer, trail.acquired_ns, trail.hops) == (Y, 9, ())


def test_the_oldest_closed_hop_makes_room_and_else_the_oldest(hops: Hops) -> None:
    for at in range(4):
        hops.received(LEASE, Process(at + 1, 1), at)
    hops.released(LEASE, Process(2, 1), 9)
    hops.received(LEASE, Y, 10)
    trail = hops.trail(LEASE)
    assert trail is not None
    assert ([hop.number for hop in trail.hops], trail.forgotten) == ([0, 2, 3, 4], 1)
    hops.received(LEASE, Z, 11)
    trail = hops.trail(LEASE)
    assert trail is not None
    assert ([hop.number for hop in trail.hops], trail.forgotten) == ([2, 3, 4, 5], 2)


def test_of_leases_that_ended_the_last_hops_are_remembered(hops: Hops) -> None:
    for at in range(8):
        hops.opened(LEASE, X, at)
        hops.sent(LEASE, X, at)
        hops.closed(LEASE)
    hops.closed(LEASE)  # twice is harmless
    assert [hop.sent_ns for hop in hops.ended()] == [3, 4, 5, 6, 7]
    assert hops.trail(LEASE) is None


def test_who_shares_it_is_remembered_once(hops: Hops) -> None:
    for _ in range(2):
        hops.shared(LEASE, X)
    hops.shared(1, Y)
    for at in range(9):
        hops.shared(LEASE, Process(at + 50, 1))
    trail = hops.trail(LEASE)
    assert trail is not None
    assert [one.pid for one in trail.shared_by] == [10, 50, 51, 52]


def test_how_far_a_holder_is_is_known_with_its_time(hops: Hops) -> None:
    hops.sent(LEASE, X, 5, index=8)
    hops.received(LEASE, Y, 7, index=8, processed=2)
    assert (only(hops).processed, only(hops).processed_ns) == (2, 7)
    assert hops.progress(LEASE, Y, 6, 9) == only(hops)
    assert (only(hops).processed, only(hops).processed_ns) == (6, 9)
    assert (only(hops).index, only(hops).received_ns, only(hops).sent_ns) == (8, 7, 5)


def test_of_several_copies_it_is_the_one_that_fits_and_else_the_last(hops: Hops) -> None:
    for index in (8, 9):
        hops.received(LEASE, Y, 7, index=index)
    hops.progress(LEASE, Y, 3, 9, index=8)
    hops.progress(LEASE, Y, 4, 10)
    trail = hops.trail(LEASE)
    assert trail is not None
    assert [hop.processed for hop in trail.hops] == [3, 4]


def test_only_who_has_received_a_copy_and_has_it_still_may_say_how_far_it_is(hops: Hops) -> None:
    hops.sent(LEASE, X, 5, index=8)
    hops.received(LEASE, Y, 7, index=8)
    assert hops.progress(LEASE, Z, 6, 8) is None
    assert hops.progress(LEASE, X, 6, 8) is None
    assert hops.progress(0, Y, 6, 8) is None
    hops.released(LEASE, Y, 9)
    assert hops.progress(LEASE, Y, 6, 10) is None
    assert only(hops).processed is None


def test_what_was_last_said_of_one_that_ended_is_kept(hops: Hops) -> None:
    hops.opened(1, X, 1)
    assert not hops.closed(1), "nothing was said of it"
    hops.received(LEASE, Y, 7, index=8, processed=2)
    assert hops.closed(LEASE)
    [hop] = hops.ended(LEASE)
    assert (hop.receiver, hop.index, hop.processed) == (Y, 8, 2)
    assert hops.ended(1) == ()
