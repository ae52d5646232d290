"""News of a member arrives in any order, often twice, and leads to the same."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from holdfast.membership import Member, State
from holdfast.membership.member import Members
from tests.unit.membership.stage import Id

INCARNATIONS = st.integers(0, 4)
ABOUT_ONE = st.lists(
    st.builds(Member, st.just(Id(2)), INCARNATIONS, st.sampled_from(State)), min_size=1
)
ABOUT_MANY = st.lists(
    st.builds(
        Member,
        st.builds(Id, st.integers(2, 4), st.integers(0, 2)),
        INCARNATIONS,
        st.sampled_from(State),
    )
)


def merged(updates: list[Member[Id]]) -> dict[int, tuple[object, ...]]:
    """What the list says at the end, by address; of one that is down only that."""
    members: Members[Id] = Members(Random(1))
    for update in updates:
        before = set(members)
        summary = members.apply(update)
        assert summary.applied == (set(members) != before)
        again = members.apply(update)
        assert not again.applied
        assert not again.turned
    assert members.num_active == sum(member.active for member in members)
    assert len(members) == len({member.identity.addr for member in members})
    return {
        identity.addr: (identity, state, incarnation if state is not State.DOWN else None)
        for identity, incarnation, state in members
    }


@given(ABOUT_ONE)
def test_the_last_word_is_the_greatest(updates: list[Member[Id]]) -> None:
    """Section 1.1: by incarnation and then by state; but Down is greater than all."""
    (verdict,) = merged(updates).values()
    if any(update.state is State.DOWN for update in updates):
        assert verdict[1] is State.DOWN
    else:
        incarnation, state = max((update.incarnation, update.state) for update in updates)
        assert verdict == (Id(2), state, incarnation)


@given(ABOUT_MANY, st.randoms(use_true_random=False))
def test_the_order_of_news_does_not_matter(updates: list[Member[Id]], rng: Random) -> None:
    """Commutative and idempotent, over conflicts of identities too: the winner's news counts."""
    shuffled = updates + updates[: len(updates) // 2]
    rng.shuffle(shuffled)
    assert merged(shuffled) == merged(updates)


@given(ABOUT_MANY, ABOUT_MANY)
def test_members_that_tell_each_other_all_agree(
    here: list[Member[Id]], there: list[Member[Id]]
) -> None:
    one: Members[Id] = Members(Random(1))
    two: Members[Id] = Members(Random(2))
    for update in here:
        one.apply(update)
    for update in there:
        two.apply(update)
    mine, others = list(one), list(two)
    assert merged(mine + others) == merged(others + mine) == merged(here + there)
