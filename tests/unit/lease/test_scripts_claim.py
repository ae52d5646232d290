"""Claims, played by hand.

A number in a test's name is that of a known fault of the original, as its docstring says with "#".
"""

from __future__ import annotations

import pytest

from holdfast.errors import ClaimDenied, OutcomeUnknown, StaleRecord, Unavailable
from holdfast.lease import Reading, Record
from holdfast.lease.scripts import ATTEMPTS_MAX, Claimed, Script, claim
from tests.unit.lease.stage import (
    MINUTE,
    SECOND,
    Expected,
    Expecting,
    HandClock,
    House,
    Stage,
    house,
)

DURATION = 30 * SECOND
STALE = StaleRecord("your picture is old")


def mine(*, wait_ns: int | None = 0) -> Script[Claimed]:
    return claim("n", "me", DURATION, wait_ns=wait_ns)


def record(holder: str = "me", epoch: int = 1, start_ns: int = 0) -> Record:
    return Record("n", holder, epoch, start_ns, DURATION, "w", "e")


def expecting(*expected: Expected) -> Stage:
    return Stage(Expecting(expected), HandClock())


def holder_of(place: House) -> str | None:
    current = place.other.look("n")
    return None if current is None else current.holder


# -- yes and no -----------------------------------------------------------------------------------


def test_a_vacant_lease_is_claimed_in_one_call() -> None:
    place = house()
    owner = {"pid": 7}
    claimed = place.stage.run(claim("n", "me", DURATION, owner=owner, wait_ns=0))
    assert place.stage.calls == ["claim"]
    assert claimed.record == place.other.look("n")
    assert claimed.record.owner == owner
    assert claimed.asked_ns == place.clock.now_ns


def test_who_has_it_already_extends_it() -> None:
    place = house()
    before = place.other.claim("n", "me", SECOND)
    place.stage.latency_ns = 5
    claimed = place.stage.run(mine())
    assert place.stage.calls == ["claim", "look", "extend"]
    assert (claimed.record.epoch, claimed.record.duration_ns) == (before.epoch, DURATION)
    assert claimed.asked_ns == place.clock.now_ns - 2 * 5  # before that call, not before the first


def test_the_promise_counts_from_before_the_call_that_was_answered() -> None:
    """Not from the first, which failed long ago, nor from the answer."""
    place = house()
    place.mine.faults = [("claim", "away")] * 3
    place.stage.latency_ns = SECOND
    claimed = place.stage.run(mine(wait_ns=None))
    assert place.stage.calls[-1] == "claim"
    assert claimed.asked_ns == place.clock.now_ns - 2 * SECOND
    assert claimed.record.start_ns == claimed.asked_ns + SECOND


def test_the_same_holder_appeared_meanwhile_so_it_is_extended() -> None:
    later = record(start_ns=9)
    stage = expecting(
        Expected("claim", STALE, arguments=("n", "me", DURATION)),
        Expected("look", record(), arguments=("n",)),
        Expected("extend", later, arguments=(record(), DURATION)),
    )
    assert stage.run(mine()).record == later


def test_another_appeared_meanwhile_so_it_is_denied() -> None:
    stage = expecting(
        Expected("claim", STALE),
        Expected("look", record("another")),
        Expected("clock", Reading(5, "e")),
    )
    with pytest.raises(ClaimDenied, match="another") as caught:
        stage.run(mine())
    assert caught.value.holder == "another"


def test_16_what_another_holds_is_denied_at_once() -> None:
    """#16: not ten times over."""
    place = house()
    place.other.claim("n", "another", DURATION, owner={"pid": 7, "host": "h", "why": "backup"})
    with pytest.raises(ClaimDenied, match="pid 7 on h, why: backup"):
        place.stage.run(mine())
    assert place.stage.calls == ["claim", "look", "clock"]
    assert place.stage.waits == []


def test_what_was_removed_before_it_could_be_extended_is_claimed_anew() -> None:
    stage = expecting(
        Expected("claim", STALE),
        Expected("look", record()),
        Expected("extend", STALE),
        Expected("claim", record(epoch=2)),
    )
    assert stage.run(mine()).record.epoch == 2


# -- what has run out -----------------------------------------------------------------------------


def test_what_has_run_out_is_removed_and_claimed() -> None:
    place = house()
    before = place.other.claim("n", "another", SECOND)
    place.clock.now_ns += SECOND + 1
    claimed = place.stage.run(mine())
    assert place.stage.calls == ["claim", "look", "clock", "expire", "claim"]
    assert (claimed.record.holder, claimed.record.epoch) == ("me", before.epoch + 1)


def test_at_the_end_itself_the_promise_still_holds() -> None:
    place = house()
    place.other.claim("n", "another", SECOND)
    place.clock.now_ns += SECOND
    with pytest.raises(ClaimDenied):
        place.stage.run(mine())
    assert "expire" not in place.stage.calls
    place.stage.run(mine(wait_ns=SECOND))  # and a moment later it does not
    assert holder_of(place) == "me"


def test_what_was_extended_in_the_last_moment_stays_anothers() -> None:
    stage = expecting(
        Expected("claim", STALE),
        Expected("look", record("another")),
        Expected("clock", Reading(DURATION + 1, "e")),
        Expected("expire", STALE, arguments=(record("another"),)),  # all of it is compared
    )
    with pytest.raises(ClaimDenied):
        stage.run(mine())


def test_who_was_faster_to_expire_and_claim_has_it() -> None:
    stage = expecting(
        Expected("claim", STALE),
        Expected("look", record("another")),
        Expected("clock", Reading(DURATION + 1, "e")),
        Expected("expire", None),
        Expected("claim", STALE),
        Expected("look", record("a third", 2, DURATION)),
        Expected("clock", Reading(DURATION + 1, "e")),
    )
    with pytest.raises(ClaimDenied, match="a third"):
        stage.run(mine())


def test_a_lost_race_for_the_expiry_costs_a_moment_however_long_was_waited() -> None:
    """Another removed it first: that is no reason for a pause as long as for a pinned one."""
    place = house()
    place.other.claim("n", "another", MINUTE)
    place.mine.faults = [("expire", "lost answer")]
    script = mine(wait_ns=None)
    claimed = place.stage.run(script)
    assert claimed.asked_ns <= 1_000 * SECOND + MINUTE + SECOND // 10


# -- what must not spin ---------------------------------------------------------------------------


def at_most_twice_a_second(place: House) -> None:
    """Over a minute, after the pauses have grown."""
    calls = place.stage.within(mine(wait_ns=None), MINUTE)
    assert 30 <= calls["claim"] <= 120, calls
    assert max(calls.values()) == calls["claim"]


def test_06_what_is_pinned_and_overdue_is_waited_for_without_spinning() -> None:
    """#6: a claim and an expiry that are both refused, over and over."""
    place = house()
    place.other.pin("n", "maintenance")
    place.other.claim("n", "another", SECOND)
    place.clock.now_ns += 2 * SECOND
    at_most_twice_a_second(place)
    place.other.unpin("n", "maintenance")
    assert Stage(place.mine, place.clock).run(mine()).record.holder == "me"


@pytest.mark.parametrize("left_ns", [0, 1, SECOND // 1000])
def test_18_a_clock_that_stands_still_is_not_looked_at_all_the_time(left_ns: int) -> None:
    """#18, and the spinning of specs §7.6: the end is near, but nobody advances the clock."""
    place = house(stepping=True)
    before = place.other.claim("n", "another", SECOND)
    while (left := before.end_in("1") - place.other.now_ns() - left_ns) > 0:
        reading = place.other.clock()
        place.other.advance(min(left, reading.step_ns), since=reading)
    assert before.end_in("1") - place.other.now_ns() == left_ns
    at_most_twice_a_second(place)


@pytest.mark.parametrize("fault", ["away", "lost request"])
def test_a_store_that_fails_at_once_is_left_alone(fault: str) -> None:
    """Though it answers looks: a database that can be read but not written."""
    place = house()
    place.mine.always = {"claim": fault}
    at_most_twice_a_second(place)


def test_17_a_look_that_lags_behind_does_not_make_it_spin() -> None:
    """#17: the claim is refused, and the look shows a vacancy that is long over."""
    place = house()
    place.other.claim("n", "another", 10 * MINUTE)
    place.mine.always = {"look": "lags"}
    at_most_twice_a_second(place)


def test_a_clock_that_runs_by_itself_is_waited_for_to_the_moment() -> None:
    place = house()
    before = place.other.claim("n", "another", 5 * SECOND)
    place.stage.run(mine(wait_ns=None))
    assert place.clock.now_ns - before.end_in("1") <= SECOND // 1000
    assert len(place.stage.calls) < 30


# -- what is not known ----------------------------------------------------------------------------


def test_an_unanswered_claim_that_succeeded_is_found_by_a_look() -> None:
    """It is ours: extended, and not denied, whether or not there is time to wait."""
    place = house()
    place.mine.faults = [("claim", "lost answer")]
    claimed = place.stage.run(mine())
    assert place.stage.calls == ["claim", "look", "extend"]
    assert (claimed.record.holder, claimed.record.epoch) == ("me", 1)


def test_an_unanswered_claim_that_did_not_succeed_is_repeated() -> None:
    place = house()
    place.mine.faults = [("claim", "lost request")]
    assert place.stage.run(mine()).record.epoch == 1
    assert place.stage.calls == ["claim", "look", "claim"]


def test_an_unanswered_claim_that_another_has_forestalled_is_denied() -> None:
    place = house()
    place.other.claim("n", "another", DURATION)
    place.mine.faults = [("claim", "lost request")]
    with pytest.raises(ClaimDenied):
        place.stage.run(mine())


@pytest.mark.parametrize("look", ["away", "lost request"])
@pytest.mark.parametrize("fault", ["lost answer", "lost request"])
def test_if_nothing_tells_before_the_wait_is_over_it_stays_unknown(look: str, fault: str) -> None:
    for wait_ns in (0, SECOND):
        place = house()
        place.mine.always = {"claim": fault, "look": look}
        with pytest.raises(OutcomeUnknown, match="whether it was claimed"):
            place.stage.run(mine(wait_ns=wait_ns))


def test_an_unanswered_claim_that_was_found_is_never_called_away() -> None:
    """It may be ours, by the first call, and the extension was certainly not done."""
    place = house()
    place.mine.faults = [("claim", "lost answer")]
    place.mine.always = {"extend": "away"}
    with pytest.raises(OutcomeUnknown):
        place.stage.run(mine())
    assert holder_of(place) == "me"


@pytest.mark.parametrize("last", [True, False])
def test_only_the_last_look_makes_an_unanswered_claim_a_denial(last: bool) -> None:
    """The claim may have come into effect after an earlier one, when the other had let go.

    The simulation found it: seed 1476 of `storms`.
    """
    held, reading = Expected("look", record("another")), Expected("clock", Reading(5, "e"))
    stage = expecting(
        Expected("claim", OutcomeUnknown("no answer")),
        held,
        reading,
        Expected("claim", STALE),
        *([held, reading] if last else [Expected("look", Unavailable("away"))]),
    )
    with pytest.raises(ClaimDenied if last else OutcomeUnknown):
        stage.run(mine(wait_ns=SECOND))


def test_a_claim_that_arrives_after_everybody_gave_up_lapses_by_itself() -> None:
    """Denied, since another had it; then that one lets go, and the claim comes into effect late."""
    place = house()
    held = place.other.claim("n", "another", DURATION)
    place.mine.faults = [("claim", "lost request")]
    with pytest.raises(ClaimDenied):
        place.stage.run(mine())
    place.other.release(held)
    place.mine.store.claim("n", "me", DURATION)  # the request, which was on its way all the time
    place.clock.now_ns += DURATION + 1
    assert place.stage.run(claim("n", "a third", DURATION, wait_ns=0)).record.epoch == 3


def test_without_time_to_wait_an_unanswered_claim_is_repeated_once() -> None:
    """Each may take as long as a database's time-out."""
    place = house()
    place.mine.always = {"claim": "lost request"}
    with pytest.raises(OutcomeUnknown):
        place.stage.run(mine())
    assert place.stage.calls == ["claim", "look"] * 2


# -- a store that is away -------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["claim", "look", "clock", "expire", "extend"])
@pytest.mark.parametrize("fault", ["away", "lost request", "lost answer"])
def test_21_whatever_fails_for_a_while_is_tried_again(operation: str, fault: str) -> None:
    """#3, #21: no kind of failure ends a claim that has time to wait."""
    place = house()
    holder = "me" if operation == "extend" else "another"
    place.other.claim("n", holder, SECOND)
    place.clock.now_ns += 2 * SECOND
    place.mine.faults = [(operation, fault)] * 5
    claimed = place.stage.run(mine(wait_ns=MINUTE))
    assert claimed.record == place.other.look("n")
    assert claimed.record.holder == "me"
    assert claimed.record.epoch == (1 if operation == "extend" else 2)


def test_a_store_that_stays_away_is_said_to_be_away() -> None:
    place = house()
    place.mine.always = dict.fromkeys(["claim", "look", "clock"], "away")
    for wait_ns in (0, 10 * SECOND):
        began_ns = place.clock.now_ns
        with pytest.raises(Unavailable, match="is away"):
            place.stage.run(mine(wait_ns=wait_ns))
        assert place.clock.now_ns == began_ns + wait_ns
    assert {name for name, _ in place.stage.waits} == {None}


def test_away_after_another_was_seen_is_a_denial() -> None:
    """Only what is certain: it is not ours."""
    place = house()
    place.other.claim("n", "another", DURATION)

    def cut() -> None:
        place.mine.always = dict.fromkeys(["claim", "look"], "away")

    place.stage.on_wait = cut
    with pytest.raises(ClaimDenied, match="another"):
        place.stage.run(mine(wait_ns=5 * SECOND))


def test_away_some_time_ago_is_not_what_a_denial_is_about() -> None:
    away = [Expected("claim", Unavailable("away")), Expected("look", None)]
    stage = expecting(*away, *faster(ATTEMPTS_MAX))
    with pytest.raises(ClaimDenied, match="others were faster"):
        stage.run(mine(wait_ns=1))


def test_pauses_begin_anew_when_something_has_happened() -> None:
    """The store is back, and then away again; another has it, and cannot be removed at once."""
    held = [Expected("claim", STALE), Expected("look", record("another"))]
    overdue = [Expected("clock", Reading(DURATION + 1, "e")), Expected("expire", STALE)]
    other = [held[0], Expected("look", record("a third", 2)), *overdue]
    away = [Expected("claim", STALE), Expected("look", Unavailable("away"))]
    stage = expecting(*away * 4, *(held + overdue) * 4, *away, *other, Expected("claim", record()))
    stage.run(mine(wait_ns=None))
    pauses = [limit_ns // 1_000_000 for _, limit_ns in stage.waits]
    assert pauses == [20, 40, 80, 160] * 2 + [20, 20]


# -- rivals, and waiting --------------------------------------------------------------------------


def faster(times: int) -> list[Expected]:
    return [Expected("claim", STALE), Expected("look", None)] * times


def test_07_rivals_that_are_always_faster_end_in_a_denial() -> None:
    """#7: in an answer, and nothing else ends."""
    stage = expecting(*faster(ATTEMPTS_MAX))
    with pytest.raises(ClaimDenied, match="others were faster"):
        stage.run(mine())


def test_rivals_that_were_faster_nine_times_are_beaten() -> None:
    stage = expecting(*faster(ATTEMPTS_MAX - 1), Expected("claim", record()))
    assert stage.run(mine()).record == record()


def test_with_time_to_wait_it_goes_on_after_ten_rivals() -> None:
    stage = expecting(*faster(2 * ATTEMPTS_MAX), Expected("claim", record()))
    assert stage.run(mine(wait_ns=None)).record == record()
    assert len(stage.waits) == ATTEMPTS_MAX + 1


def test_the_wait_is_as_long_as_was_asked_for_and_looks_once_more_at_its_end() -> None:
    place = house()
    place.other.claim("n", "another", MINUTE)
    began_ns = place.clock.now_ns
    with pytest.raises(ClaimDenied):
        place.stage.run(mine(wait_ns=5 * SECOND // 2))
    assert place.clock.now_ns == began_ns + 5 * SECOND // 2
    assert place.stage.waits == [("n", SECOND), ("n", SECOND), ("n", SECOND // 2)]
    assert place.stage.calls[-3:] == ["claim", "look", "clock"]


def test_who_is_waited_for_is_told_once_for_each_holding() -> None:
    place = house()
    held = [place.other.claim("n", "another", MINUTE)]
    moves = iter(["extend", "extend", "same", "other", "extend", "vacate"])

    def move() -> None:
        match next(moves):
            case "extend":
                held.append(place.other.extend(held[-1], MINUTE))
            case "same":
                place.other.release(held[-1])
                held.append(place.other.claim("n", "another", MINUTE))
            case "other":
                place.other.release(held[-1])
                held.append(place.other.claim("n", "a third", MINUTE))
            case _:
                place.other.release(held[-1])

    place.stage.on_wait = move
    place.stage.run(mine(wait_ns=None))
    assert [(one.holder, one.epoch) for one in place.stage.reports] == [
        ("another", 1),
        ("another", 2),
        ("a third", 3),
    ]


def test_nobody_is_told_of_a_wait_that_is_none() -> None:
    place = house()
    place.other.claim("n", "another", DURATION)
    with pytest.raises(ClaimDenied):
        place.stage.run(mine())
    assert place.stage.reports == []
