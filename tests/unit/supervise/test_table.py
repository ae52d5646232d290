"""The supervisor's table: every state meets every event."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from holdfast.supervise.table import TABLE, Action, Course, Ending, Event, State


def course(*events: Event) -> tuple[Course, list[Action | None]]:
    one = Course()
    return one, [one.on(event) for event in events]


def courses(length: int) -> Iterator[tuple[Event, ...]]:
    return itertools.product(Event, repeat=length)


def test_the_plain_way() -> None:
    one, actions = course(Event.READY, Event.EMPTY)
    assert actions == [Action.GO, None]
    assert (one.state, one.ending, one.started, one.lost) == (
        State.DONE,
        Ending.EXITED,
        True,
        False,
    )


def test_a_loss_asks_all_to_end_and_then_kills_them() -> None:
    one, actions = course(Event.READY, Event.LOST, Event.GRACE_OVER, Event.GRACE_OVER, Event.EMPTY)
    assert actions == [Action.GO, Action.TERMINATE, Action.KILL, Action.KILL, None]
    assert (one.state, one.ending, one.lost) == (State.DONE, Ending.LOST, True)


def test_the_time_limit_does_the_same_under_another_name() -> None:
    one, actions = course(Event.READY, Event.LIMIT, Event.EXITED, Event.GRACE_OVER, Event.EMPTY)
    assert actions == [Action.GO, Action.TERMINATE, None, Action.KILL, None]
    assert (one.ending, one.lost) == (Ending.LIMIT, False)


def test_what_a_command_leaves_behind_gets_a_moment_then_a_grace() -> None:
    one, actions = course(
        Event.READY, Event.EXITED, Event.GRACE_OVER, Event.GRACE_OVER, Event.EMPTY
    )
    assert actions == [Action.GO, None, Action.TERMINATE, Action.KILL, None]
    assert one.ending is Ending.EXITED


@pytest.mark.parametrize(
    ("event", "ending"),
    [
        (Event.ENDING_SIGNAL, Ending.SIGNAL),
        (Event.LOST, Ending.LOST),
        (Event.LIMIT, Ending.LIMIT),
    ],
)
def test_nothing_is_started_after_what_ends_it(event: Event, ending: Ending) -> None:
    one, actions = course(event, Event.READY, Event.EMPTY)
    assert Action.GO not in actions
    assert (one.state, one.started, one.ending) == (State.DONE, False, ending)


def test_a_signal_that_asks_nobody_to_end_does_not_hinder_the_start() -> None:
    _, actions = course(Event.OTHER_SIGNAL, Event.READY)
    assert actions == [None, Action.GO]


def test_signals_are_passed_on_as_long_as_somebody_can_hear_them() -> None:
    for before in (Event.READY,), (Event.READY, Event.EXITED), (Event.READY, Event.LOST):
        for event in (Event.ENDING_SIGNAL, Event.OTHER_SIGNAL):
            one, actions = course(*before, event)
            assert actions[-1] is Action.FORWARD
            assert one.state is not State.DONE


def test_a_command_that_stops_itself_while_it_is_stopped_stops_nobody_else() -> None:
    _, actions = course(Event.READY, Event.LOST, Event.PAUSED)
    assert actions[-1] is None


def test_a_loss_outweighs_every_other_reason() -> None:
    for events in courses(4):
        one, _ = course(Event.READY, *events)
        before_done = Course()
        seen = False
        for event in (Event.READY, *events):
            seen = seen or (event is Event.LOST and not before_done.done)
            before_done.on(event)
        assert one.lost == seen
        assert (one.ending is Ending.LOST) == seen


def test_no_way_leads_back_and_none_out_of_the_end() -> None:
    order = list(State)
    for (before, event), (after, _) in TABLE.items():
        assert before is not State.DONE, event
        assert order.index(after) >= order.index(before)


def test_the_word_is_given_once_and_only_from_the_start() -> None:
    for events in courses(4):
        one, actions = course(*events)
        assert actions.count(Action.GO) == one.started <= 1
    assert [key for key, (_, action) in TABLE.items() if action is Action.GO] == [
        (State.STARTING, Event.READY)
    ]


def test_from_everywhere_the_end_is_reached_once_nobody_is_left() -> None:
    for events in courses(3):
        one, _ = course(*events, Event.EMPTY)
        assert one.done
        assert one.ending is not None


def test_whoever_cannot_be_killed_does_not_keep_us_for_ever() -> None:
    one, _ = course(Event.READY, Event.LOST, Event.GRACE_OVER, Event.GIVEN_UP)
    assert one.done
    assert one.ending is Ending.LOST
