"""What the signals of logind mean: every stage and every input."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.wake.backends.logind_cycle import (
    Cycle,
    Done,
    News,
    Reading,
    Say,
    ShutdownBegins,
    ShutdownEnds,
    SleepBegins,
    SleepEnds,
    Stage,
    judged,
)
from holdfast.wake.model import Failed, Slept

S = 1_000_000_000
BEFORE, AFTER = Reading(40 * S), Reading(47 * S)
SLEPT = Slept(7 * S)

INPUTS: dict[str, Callable[[Cycle], list[News]]] = {
    "asked": lambda cycle: cycle.asked(BEFORE),
    "refused": lambda cycle: cycle.refused("no"),
    "impatient": lambda cycle: cycle.impatient(),
    "true": lambda cycle: cycle.prepare_for_sleep(True, BEFORE),  # noqa: FBT003
    "false": lambda cycle: cycle.prepare_for_sleep(False, AFTER),  # noqa: FBT003
    "ready": lambda cycle: cycle.ready_for_sleep(),
    "gone": lambda cycle: cycle.gone("logind", AFTER),
}
WAYS = {
    Stage.UP: [],
    Stage.ASKED: ["asked"],
    Stage.OURS: ["asked", "true"],
    Stage.THEIRS: ["true"],
    Stage.LET_GO: ["true", "ready"],
}
UNREADY = Say("the machine went to sleep before the governor was ready")
# All that changes something. In whatever is not here, everything stays as it is.
TABLE: dict[tuple[Stage, str], tuple[Stage, list[News]]] = {
    (Stage.UP, "asked"): (Stage.ASKED, []),
    (Stage.UP, "true"): (Stage.THEIRS, [SleepBegins()]),
    (Stage.ASKED, "true"): (Stage.OURS, []),
    (Stage.ASKED, "refused"): (Stage.UP, [Done(Failed("no"))]),
    (Stage.OURS, "false"): (Stage.UP, [Done(SLEPT)]),
    (Stage.OURS, "gone"): (Stage.UP, [Done(SLEPT)]),
    (Stage.THEIRS, "ready"): (Stage.LET_GO, []),
    (Stage.THEIRS, "false"): (Stage.UP, [UNREADY, SleepEnds(SLEPT)]),
    (Stage.THEIRS, "gone"): (Stage.UP, [UNREADY, SleepEnds(SLEPT)]),
    (Stage.LET_GO, "false"): (Stage.UP, [SleepEnds(SLEPT)]),
    (Stage.LET_GO, "gone"): (Stage.UP, [SleepEnds(SLEPT)]),
}
# These say why in words of their own.
FAILING = {
    (Stage.ASKED, "impatient"): (Stage.UP, "has not begun"),
    (Stage.ASKED, "gone"): (Stage.UP, "logind has ended"),
    **{
        (stage, "asked"): (stage, "already on its way down")
        for stage in (Stage.ASKED, Stage.OURS, Stage.THEIRS, Stage.LET_GO)
    },
}


def at(stage: Stage) -> Cycle:
    cycle = Cycle()
    for way in WAYS[stage]:
        INPUTS[way](cycle)
    assert cycle.stage is stage
    return cycle


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("given", INPUTS)
def test_every_stage_and_every_input(stage: Stage, given: str) -> None:
    cycle = at(stage)
    news = INPUTS[given](cycle)
    if (stage, given) in FAILING:
        after, words = FAILING[stage, given]
        (only,) = news
        assert isinstance(only, Done)
        assert isinstance(only.outcome, Failed)
        assert words in only.outcome.sentence
        assert cycle.stage is after
    else:
        assert (cycle.stage, news) == TABLE.get((stage, given), (stage, []))


@pytest.mark.parametrize("stage", Stage)
def test_the_delay_lock_is_let_go_for_the_sleep_alone(stage: Stage) -> None:
    assert at(stage).delay is (stage not in {Stage.OURS, Stage.LET_GO})


@pytest.mark.parametrize("stage", Stage)
def test_logind_gives_no_locks_while_a_sleep_is_under_way(stage: Stage) -> None:
    assert at(stage).under_way is (stage not in {Stage.UP, Stage.ASKED})


def test_a_sleep_that_did_not_come_is_a_failure_and_nobody_was_unready() -> None:
    cycle = at(Stage.THEIRS)
    (end,) = cycle.prepare_for_sleep(begins=False, now=BEFORE)
    assert isinstance(end, SleepEnds)
    assert isinstance(end.outcome, Failed)
    assert "journalctl" in end.outcome.sentence


def test_logind_that_ends_before_the_machine_slept_is_what_is_told() -> None:
    (end,) = at(Stage.OURS).gone("logind", BEFORE)
    assert isinstance(end, Done)
    assert isinstance(end.outcome, Failed)
    assert end.outcome.sentence == "logind has ended, and the machine had not slept until then"


def test_a_second_sleep_is_measured_from_its_own_beginning() -> None:
    cycle = at(Stage.THEIRS)
    cycle.prepare_for_sleep(begins=False, now=AFTER)
    cycle.prepare_for_sleep(begins=True, now=AFTER)
    cycle.ready_for_sleep()
    assert cycle.prepare_for_sleep(begins=False, now=Reading(50 * S)) == [SleepEnds(Slept(3 * S))]


def locks(cycle: Cycle) -> tuple[bool, bool]:
    """Whether a shutdown is to be delayed, and whether logind gives any lock."""
    return cycle.delay_shutdown, not cycle.under_way


def test_a_shutdown_begins_once_and_ends_once_if_it_is_called_off() -> None:
    cycle = Cycle()
    assert cycle.prepare_for_shutdown(begins=False) == []
    assert cycle.ready_for_shutdown() == []
    assert locks(cycle) == (True, True), "ready for what has not begun"
    assert cycle.prepare_for_shutdown(begins=True) == [ShutdownBegins()]
    assert cycle.prepare_for_shutdown(begins=True) == []
    assert locks(cycle) == (True, False)
    cycle.ready_for_shutdown()
    assert locks(cycle) == (False, False)
    assert cycle.prepare_for_shutdown(begins=False) == [ShutdownEnds()]
    assert locks(cycle) == (True, True)


def test_nobody_asks_for_a_sleep_while_the_machine_shuts_down() -> None:
    cycle = Cycle()
    cycle.prepare_for_shutdown(begins=True)
    (only,) = cycle.asked(BEFORE)
    assert isinstance(only, Done)
    assert isinstance(only.outcome, Failed)


def test_a_shutdown_goes_on_when_logind_ends() -> None:
    cycle = Cycle()
    cycle.prepare_for_shutdown(begins=True)
    assert cycle.gone("logind", AFTER) == []
    assert cycle.shutting_down


@pytest.mark.parametrize(
    ("before", "after", "slept"),
    [
        (Reading(0), Reading(1_000_000), Slept(1_000_000)),
        (Reading(0), Reading(999_999), None),  # two clocks are not read at the same instant
        (Reading(5), Reading(0), None),
        (Reading(0, 3), Reading(10, 4), Slept(10)),  # a clock of whole seconds has not gone on
        (Reading(5, 3), Reading(0, 4), Slept(0)),
        (Reading(0, 3), Reading(10, 3), None),
        (Reading(0, None), Reading(10, 4), None),
        (Reading(0, 3), Reading(10, None), None),
    ],
)
def test_what_counts_as_sleep(before: Reading, after: Reading, slept: Slept | None) -> None:
    found = judged(before, after, "why not")
    assert found == (Failed("why not") if slept is None else slept)
