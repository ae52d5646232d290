"""The list of members: the table of states, conflicts of addresses, and picks."""

from __future__ import annotations

from collections import Counter
from itertools import product
from random import Random

import pytest

from holdfast.membership import Member, State
from holdfast.membership.member import Conflict, Members, Summary
from tests.unit.membership.stage import Id, alive, down, suspect

TWO, THREE = Id(2), Id(3)


def members(*updates: Member[Id], seed: int = 3) -> Members[Id]:
    made: Members[Id] = Members(Random(seed))
    for update in updates:
        made.apply(update)
    return made


def becomes(known: Member[Id], update: Member[Id]) -> Member[Id]:
    made = members(known)
    summary = made.apply(update)
    (after,) = made
    assert summary.applied == (after != known)
    assert made.num_active == after.active == summary.active
    assert summary.turned == (known.active != after.active)
    return after


@pytest.mark.parametrize("incarnation", [0, 1, 2, 3])
def test_an_alive_member_yields_to_what_is_newer_and_to_suspicion_of_the_same(
    incarnation: int,
) -> None:
    """9, member.rs: alive_transitions."""
    known, newer = alive(TWO, 2), incarnation > 2
    assert becomes(known, alive(TWO, incarnation)) == (alive(TWO, incarnation) if newer else known)
    assert becomes(known, suspect(TWO, incarnation)) == (
        suspect(TWO, incarnation) if incarnation >= 2 else known
    )
    made = members(known)
    made.apply(down(TWO, incarnation))
    assert list(made) == [down(TWO, incarnation)]


@pytest.mark.parametrize("incarnation", [0, 1, 2, 3])
def test_a_suspect_yields_only_to_what_is_newer(incarnation: int) -> None:
    """9, member.rs: suspect_transitions."""
    known, newer = suspect(TWO, 2), incarnation > 2
    for update in (alive(TWO, incarnation), suspect(TWO, incarnation)):
        assert becomes(known, update) == (update if newer else known)
    made = members(known)
    made.apply(down(TWO, incarnation))
    assert list(made) == [down(TWO, incarnation)]


@pytest.mark.parametrize("state", State)
def test_down_is_the_end(state: State) -> None:
    """9, member.rs: down_never_transitions."""
    for incarnation in range(4):
        assert becomes(down(TWO, 2), Member(TWO, incarnation, state)) == down(TWO, 2)


def test_probes_go_round_and_then_in_another_order() -> None:
    """9, member.rs: next_walks_sequentially_then_shuffles."""
    made = members(*[alive(Id(n)) for n in range(10)])
    first = [made.next_to_probe() for _ in range(10)]
    second = [made.next_to_probe() for _ in range(10)]
    assert set(first) == set(second) == set(made)
    assert first != second


def test_a_round_goes_by_who_is_down() -> None:
    made = members(*[alive(Id(n)) for n in range(5)], *[down(Id(n)) for n in range(5, 30)])
    for _ in range(20):
        assert {made.next_to_probe() for _ in range(5)} <= set(made.sample_active(99))
    picks = Counter(made.next_to_probe() for _ in range(500))
    assert len(picks) == 5
    assert min(picks.values()) > 50


def test_nobody_is_picked_where_nobody_is_active() -> None:
    """9, member.rs: next_yields_none_with_no_active_members."""
    assert members().next_to_probe() is None
    made = members(down(TWO), down(THREE))
    assert [made.next_to_probe() for _ in range(3)] == [None] * 3
    made.apply(alive(Id(4)))
    assert [made.next_to_probe() for _ in range(3)] == [alive(Id(4))] * 3


def test_only_what_is_known_can_be_applied_to() -> None:
    """9, member.rs: apply_existing_if_behaviour."""
    made = members(alive(TWO, 1))
    assert made.apply_existing(alive(THREE)) is None
    no = made.apply_existing(suspect(TWO, 1), lambda known: known.incarnation == 0)
    assert no == Summary(active=True, applied=False, turned=False)
    yes = made.apply_existing(suspect(TWO, 1), lambda known: known.incarnation == 1)
    assert yes == Summary(active=True, applied=True, turned=False)
    assert list(made) == [suspect(TWO, 1)]
    assert len(made) == 1


def test_the_summary_says_what_was_changed() -> None:
    """9, member.rs: apply_summary_behaviour."""
    made = members()
    for update, active, applied, turned in (
        (suspect(TWO), True, True, True),
        (suspect(TWO), True, False, False),
        (alive(TWO, 1), True, True, False),
        (down(TWO, 0), False, True, True),
        (alive(TWO, 9), False, False, False),
        (down(THREE), False, True, False),
    ):
        assert made.apply(update) == Summary(active, applied, turned), update
    assert made.num_active == 0


def test_only_exactly_who_is_down_is_forgotten() -> None:
    """9, member.rs: remove_if_down_works."""
    made = members(down(TWO), alive(THREE))
    assert not made.remove_if_down(THREE)
    assert not made.remove_if_down(Id(2, 1))
    assert not made.remove_if_down(Id(4))
    assert made.remove_if_down(TWO)
    assert not made.remove_if_down(TWO)
    assert list(made) == [alive(THREE)]
    assert made.get(2) is None


@pytest.mark.parametrize("size", [5, 200])
def test_some_are_picked_at_random_and_none_twice(size: int) -> None:
    """9, member.rs: choose_active_members_behaviour."""
    made = members(
        *[alive(Id(n)) for n in range(size)],
        suspect(Id(size)),
        *[down(Id(n)) for n in range(size + 1, size + 4)],
    )
    active = {found for found in made if found.active}
    assert made.sample_active(0) == []
    assert made.sample_active(3, lambda _: False) == []
    for wanted in (1, 3, size, size + 9):
        picked = made.sample_active(wanted)
        assert len(picked) == len(set(picked)) == min(wanted, size + 1)
        assert set(picked) <= active
    odd = made.sample_active(size, lambda other: other.addr % 2 == 1)
    assert odd
    assert all(found.identity.addr % 2 for found in odd)
    assert {found.state for found in made.sample_down(9)} == {State.DOWN}
    assert len(made.sample_down(9)) == 3


@pytest.mark.parametrize(("size", "hidden"), [(10, 0), (40, 0), (40, 35)])
def test_all_are_equally_likely_to_be_picked(size: int, hidden: int) -> None:
    """Where few of many are wanted, where all are, and where most cannot be had."""
    made = members(*[(down if n < hidden else alive)(Id(n)) for n in range(size)])
    rounds = 4000
    picks = Counter(found.identity for _ in range(rounds) for found in made.sample_active(3))
    expected = rounds * 3 / (size - hidden)
    assert len(picks) == size - hidden
    # Six standard deviations, and a fixed seed besides.
    assert all(abs(count - expected) < 6 * expected**0.5 for count in picks.values())


@pytest.mark.parametrize(("known", "update"), list(product([alive, suspect, down], repeat=2)))
def test_the_winner_of_an_address_takes_its_place_state_and_all(known: type, update: type) -> None:
    """9, member.rs: sets_replaced_id_on_addr_conflict."""
    older, newer = known(Id(2, 1), 9), update(Id(2, 2), 4)
    made = members(older)
    summary = made.apply(newer)
    assert summary == Summary(
        newer.active,
        applied=True,
        turned=older.active != newer.active,
        conflict=Conflict.REPLACED,
        replaced=Id(2, 1),
    )
    assert list(made) == [newer]
    assert made.num_active == newer.active

    lost = made.apply(older)
    assert lost == Summary(newer.active, applied=False, turned=False, conflict=Conflict.LOST)
    failed = made.apply_existing(known(Id(2, 3)), _never)
    assert failed == Summary(
        newer.active, applied=False, turned=False, conflict=Conflict.FAILED_CONDITION
    )
    assert list(made) == [newer]


def _never(_known: Member[Id]) -> bool:
    return False


def test_only_exact_news_of_the_living_settles() -> None:
    made = members(alive(TWO, 3))

    def settles(update: Member[Id]) -> bool:
        made.settle(update, b"x", made.apply(update))
        found = b"x" in made.settled
        made.settled.clear()
        return found

    assert settles(alive(TWO, 3))
    assert settles(alive(TWO, 4))
    assert not settles(alive(TWO, 3))
    assert not settles(suspect(TWO, 4))
    assert not settles(alive(TWO, 4))  # it is a suspect now
    assert settles(alive(TWO, 5))
    assert not settles(down(TWO, 5))
    assert not settles(alive(TWO, 5))


@pytest.mark.parametrize("ending", ["replaced", "forgotten"])
def test_what_is_settled_ends_with_the_record(ending: str) -> None:
    made = members(alive(TWO), down(THREE))
    made.settle(alive(TWO), b"x", made.apply(alive(TWO)))
    assert made.settled == {b"x"}
    if ending == "replaced":
        made.apply(alive(Id(2, 1)))
    else:
        made.remove_if_down(THREE)
    assert made.settled == set()


def test_what_is_settled_is_bounded() -> None:
    made = members()
    for n in range(5000):
        update = alive(TWO, n)
        made.settle(update, n.to_bytes(2, "big"), made.apply(update))
        assert len(made.settled) <= 4 * len(made) + 1024
