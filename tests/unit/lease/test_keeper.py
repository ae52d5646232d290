"""The keeper of one lease, step by step; random sequences of steps are in tests/property."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from holdfast.errors import InvalidArgument
from holdfast.lease import Record
from holdfast.lease.keeper import (
    DRIFT_PPM,
    ENDED,
    RETRY_NS_MAX,
    TRANSITIONS,
    Event,
    Keeper,
    Phase,
    Renew,
    check_renew,
    deadline_of,
)

SECOND = 1_000_000_000
ASKED = 100 * SECOND
DURATION = 30 * SECOND
THIRD = DURATION // 3
MARGIN = DURATION * DRIFT_PPM // 1_000_000


def record(writer: str = "w") -> Record:
    return Record("n", "me", 1, 0, DURATION, writer, "e")


def keeper(renew: Renew = "auto", duration_ns: int = DURATION) -> Keeper:
    return Keeper(record(), ASKED, duration_ns, renew)


def renewing(renew: Renew = "auto") -> Keeper:
    """A keeper that waits for the answer to a renewal, asked for at a third."""
    one = keeper(renew)
    one.progress()
    assert one.begin(ASKED + THIRD)
    return one


# -- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)))
def test_what_the_table_does_not_list_cannot_happen(phase: Phase, event: Event) -> None:
    one = keeper()
    one.phase = phase
    if phase in ENDED:
        assert not one._apply(event)
        assert one.phase is phase
    elif (phase, event) in TRANSITIONS:
        assert one._apply(event)
        assert one.phase is TRANSITIONS[phase, event]
    else:
        with pytest.raises(AssertionError, match=f"{event.value} while {phase.value}"):
            one._apply(event)
        assert one.phase is phase


def test_every_phase_is_reached_and_the_last_ones_are_never_left() -> None:
    assert set(TRANSITIONS.values()) == set(Phase)
    assert {phase for phase, _ in TRANSITIONS} == set(Phase) - ENDED


@pytest.mark.parametrize("ending", ["refused", "expired", "released"])
def test_what_is_over_stays_over(ending: str) -> None:
    """A late yes too: it was lost, and somebody may have been told so."""
    one = renewing()
    match ending:
        case "refused":
            one.refused("removed")
        case "expired":
            assert one.expire(ASKED + DURATION)
        case _:
            assert one.release()
    before = (one.phase, one.deadline_ns, one.due_ns, one.ending, one.record)
    assert one.phase in ENDED
    assert one.over
    one.renewed(record("later"), ASKED + THIRD)
    one.unanswered(ASKED + DURATION, Random(1), "gone")
    one.refused("again")
    one.progress()
    assert not one.release()
    assert not one.expire(ASKED + 2 * DURATION)
    assert not one.begin(ASKED + 2 * DURATION)
    assert (one.phase, one.deadline_ns, one.due_ns, one.ending, one.record) == before


# -- the deadline ---------------------------------------------------------------------------------


def test_the_deadline_counts_from_before_the_call_and_is_shorter_than_the_promise() -> None:
    one = keeper()
    assert one.deadline_ns == ASKED + DURATION - MARGIN
    assert not one.expire(one.deadline_ns - 1)
    assert one.expire(one.deadline_ns)
    assert one.phase is Phase.LOST


def test_a_yes_moves_the_deadline_as_far_as_it_was_asked_for() -> None:
    """However late the answer comes."""
    one = renewing()
    asked_ns = ASKED + THIRD
    one.renewed(record("w2"), asked_ns)
    assert one.deadline_ns == asked_ns + DURATION - MARGIN
    assert one.due_ns == asked_ns + THIRD
    assert one.record.writer == "w2"
    assert one.phase is Phase.HELD


def test_a_yes_to_an_older_call_takes_nothing_back() -> None:
    one = renewing()
    one.renewed(record(), ASKED - SECOND)
    assert one.deadline_ns == ASKED + DURATION - MARGIN


def test_a_no_ends_it_at_once_and_says_why() -> None:
    for one in (keeper(), renewing()):
        one.refused("it was removed")
        assert (one.phase, one.ending, one.over) == (Phase.LOST, "it was removed", True)
        assert one.due_ns is None


def test_the_margin_is_rounded_up() -> None:
    """A clock as slow as it may be shows the deadline no later than the promise ends."""
    assert deadline_of(0, 999) == 998
    assert deadline_of(0, 1) == 0
    assert deadline_of(0, 1000) == 999
    assert deadline_of(0, 1001) == 999


# -- when to ask ----------------------------------------------------------------------------------


def test_it_is_renewed_at_a_third() -> None:
    one = keeper()
    assert one.due_ns == ASKED + THIRD
    assert not one.begin(ASKED + THIRD - 1)
    assert one.begin(ASKED + THIRD)
    assert one.phase is Phase.RENEWING
    assert one.due_ns is None


def test_nothing_is_asked_twice_at_once() -> None:
    one = renewing()
    assert not one.begin(ASKED + THIRD + 1)


def test_after_the_deadline_nothing_is_asked_any_more() -> None:
    one = keeper()
    assert not one.begin(one.deadline_ns)
    assert one.phase is Phase.LOST


def test_an_unknown_outcome_keeps_the_deadline_and_is_asked_again_soon() -> None:
    """Never a no (that would give up what is held), never a yes (nobody has promised that)."""
    pauses = set()
    for seed in range(50):
        one = renewing()
        deadline_ns, now_ns = one.deadline_ns, ASKED + THIRD + SECOND
        one.unanswered(now_ns, Random(seed), "no route")
        assert (one.phase, one.deadline_ns) == (Phase.HELD, deadline_ns)
        assert one.due_ns is not None
        pauses.add(one.due_ns - now_ns)
        assert one.begin(one.due_ns)
        assert one.expire(deadline_ns)
        assert "no route" in one.ending
    longest = min(DURATION // 10, RETRY_NS_MAX)
    assert longest // 2 <= min(pauses) < max(pauses) <= longest
    assert len(pauses) > 25  # with jitter, so that those who fail together do not ask together


def test_a_short_lease_is_asked_for_again_sooner() -> None:
    one = keeper(duration_ns=SECOND)
    assert one.begin(ASKED + SECOND // 3)
    one.unanswered(ASKED + SECOND // 2, Random(1), "")
    assert one.due_ns is not None
    assert SECOND // 20 <= one.due_ns - ASKED - SECOND // 2 <= SECOND // 10


def test_many_unknown_outcomes_in_a_row_end_at_the_deadline() -> None:
    one, rng, asked = keeper(), Random(1), 0
    while one.due_ns is not None:
        now_ns = one.due_ns
        if one.begin(now_ns):
            asked += 1
            one.unanswered(now_ns, rng, "away")
    assert one.phase is Phase.LOST
    assert 10 <= asked <= 25
    assert one.ending == "its deadline has passed, and it could not be renewed: away"


def test_the_trouble_is_forgotten_with_the_next_yes() -> None:
    one = renewing()
    one.unanswered(ASKED + THIRD, Random(1), "away")
    assert one.due_ns is not None
    asked_ns = one.due_ns
    assert one.begin(asked_ns)
    one.renewed(record(), asked_ns)
    assert one.trouble == ""
    one.expire(one.deadline_ns)
    assert "away" not in one.ending


# -- who is to renew ------------------------------------------------------------------------------


def test_without_renewal_nothing_is_ever_due() -> None:
    one = keeper(None)
    one.progress()
    assert one.due_ns is None
    assert not one.begin(one.deadline_ns - 1)
    assert one.expire(one.deadline_ns)
    assert one.ending == "its deadline has passed, and it was not to be renewed"


def test_without_progress_it_runs_out() -> None:
    one = keeper("progress")
    assert one.due_ns is None
    assert not one.begin(ASKED + THIRD)
    assert one.expire(one.deadline_ns)
    assert one.ending == "its deadline has passed without progress"


def test_progress_is_reason_for_one_renewal() -> None:
    one = keeper("progress")
    one.progress()
    assert one.due_ns == ASKED + THIRD
    assert one.begin(ASKED + THIRD)
    one.renewed(record(), ASKED + THIRD)
    assert not one.begin(one.deadline_ns - 1)  # no progress since: not another one
    one.progress()
    assert one.due_ns == ASKED + 2 * THIRD


def test_late_progress_renews_at_once() -> None:
    one = keeper("progress")
    now_ns = one.deadline_ns - SECOND
    one.progress()
    assert one.begin(now_ns)


def test_progress_during_a_renewal_counts_for_the_next() -> None:
    one = renewing("progress")
    one.progress()
    assert one.due_ns is None  # an answer is awaited
    one.renewed(record(), ASKED + THIRD)
    assert one.due_ns == ASKED + 2 * THIRD


@pytest.mark.parametrize("more", [True, False])
def test_the_progress_of_a_renewal_without_an_answer_still_counts(more: bool) -> None:
    one = renewing("progress")
    if more:
        one.progress()
    one.unanswered(ASKED + THIRD + SECOND, Random(1), "away")
    assert one.due_ns is not None
    assert one.begin(one.due_ns)


def test_a_renewal_that_stays_unanswered_is_not_called_a_lack_of_progress() -> None:
    one = renewing("progress")
    assert one.expire(one.deadline_ns)
    assert one.ending == "its deadline has passed before a renewal was answered"
    other = keeper("progress")  # the renewer hangs before it could ask
    other.progress()
    assert other.expire(other.deadline_ns)
    assert other.ending == "its deadline has passed before a renewal was answered"


def test_a_hanging_renewal_does_not_keep_the_deadline_from_coming() -> None:
    one = renewing()
    assert not one.expire(one.deadline_ns - 1)
    assert one.expire(one.deadline_ns)
    assert (one.phase, one.deadline_ns) == (Phase.LOST, -1)
    assert one.ending == "its deadline has passed before a renewal was answered"


def test_a_release_says_so_and_is_no_loss() -> None:
    for one in (keeper(), renewing()):
        assert one.release()
        assert (one.phase, one.over, one.ending) == (Phase.RELEASED, True, "it was released")


@pytest.mark.parametrize("renew", ["auto", "progress", None])
def test_who_renews_is_one_of_three(renew: Renew) -> None:
    assert check_renew(renew) == renew


@pytest.mark.parametrize("renew", ["never", "", True, 0])
def test_anything_else_is_refused(renew: object) -> None:
    with pytest.raises(InvalidArgument, match="renew="):
        check_renew(renew)
