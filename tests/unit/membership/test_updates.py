"""The backlogs: what is told, in which order, and how often."""

from __future__ import annotations

import pytest

from holdfast.membership.updates import Backlog, Items


def backlog(*entries: tuple[str, bytes, int]) -> Backlog:
    made = Backlog()
    for key, data, transmissions in entries:
        made.add(key, data, transmissions)
    return made


def test_a_new_entry_takes_the_place_of_the_old_and_is_told_so_often() -> None:
    """9, broadcast.rs: piggyback_behaviour."""
    made = backlog(("a", b"old", 2), ("a", b"new", 3))
    assert len(made) == 1
    assert [made.take(9) for _ in range(4)] == [[b"new"]] * 3 + [[]]
    assert len(made) == 0


@pytest.mark.parametrize("space", [0, 1, 2])
def test_without_room_nothing_is_told_and_nothing_paid(space: int) -> None:
    """9, broadcast.rs: fill_does_nothing_if_buffer_full."""
    made = backlog(("a", b"abc", 1))
    assert made.take(space) == []
    assert made.take(3) == [b"abc"]


def test_the_longest_goes_first() -> None:
    """9, broadcast.rs: piggyback_consumes_largest_first."""
    made = backlog(("a", b"aa", 1), ("b", b"bbb", 1), ("c", b"c", 1))
    assert made.take(99) == [b"bbb", b"aa", b"c"]


def test_what_was_told_least_goes_first_whatever_its_length() -> None:
    """9, broadcast.rs: highest_max_tx_is_consumed_first."""
    made = backlog(("a", b"aaaa", 1), ("b", b"b", 3), ("c", b"cc", 2))
    assert made.take(99) == [b"b", b"cc", b"aaaa"]
    assert made.take(99) == [b"b", b"cc"]
    assert made.take(99) == [b"b"]


def test_what_does_not_fit_leaves_its_room_to_others() -> None:
    made = backlog(("a", b"aaaa", 9), ("b", b"bb", 2), ("c", b"c", 1))
    assert made.take(3) == [b"bb", b"c"]
    assert made.take(9) == [b"aaaa", b"bb"]


def test_no_more_are_told_than_a_packet_can_count() -> None:
    """9, broadcast.rs: piggyback_respects_limit."""
    made = backlog(*[(str(n), b"x", 1) for n in range(5)])
    assert len(made.take(99, limit=3)) == 3
    assert len(made) == 2
    assert len(made.take(99, limit=3)) == 2


def test_a_length_costs_room_too() -> None:
    """9, broadcast.rs: fill_with_len_prefix."""
    made = backlog(("a", b"aaa", 1), ("b", b"bbb", 1))
    assert len(made.take(9, each=2)) == 1
    assert len(made.take(5, each=2)) == 1
    assert len(made) == 0


def test_what_was_told_can_be_replaced_while_its_equals_wait() -> None:
    made = backlog(("a", b"a", 2), ("b", b"b", 2))
    assert made.take(1) == [b"a"]
    made.add("a", b"A", 2)
    assert sorted(made.take(9)) == [b"A", b"b"]


def test_nothing_is_told_twice_in_one_packet() -> None:
    made = backlog(*[(str(n), bytes([n]), 5) for n in range(3)])
    for _ in range(5):
        assert sorted(made.take(99)) == [b"\0", b"\1", b"\2"]
    assert made.take(99) == []


class Newer:
    """Invalidates whatever has its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def invalidates(self, other: Newer, /) -> bool:
        return self.name == other.name


def test_an_item_ends_those_that_its_key_invalidates() -> None:
    items = Items()
    for name, data in (("a", b"a1"), ("b", b"b1"), ("a", b"a2"), ("a", b"a3")):
        items.add(Newer(name), data, 1)
    assert len(items) == 2
    assert sorted(items.take(99)) == [b"a3", b"b1"]
    assert len(items) == 0
    assert items.take(99) == []


def test_keys_go_with_their_items() -> None:
    items = Items()
    items.add(Newer("a"), b"a", 1)
    items.take(99)
    items.add(Newer("a"), b"aa", 2)
    items.take(99)
    assert len(items) == 1
