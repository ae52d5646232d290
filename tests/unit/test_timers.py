"""The timer queue against a plain sorted list."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from holdfast.timers import TimerEntry, TimerQueue


def drain(queue: TimerQueue[str], now_ns: int) -> list[str]:
    taken = []
    while (due := queue.pop_due(now_ns)) is not None:
        taken.append(due[1])
    return taken


def test_order_is_by_time_then_priority_then_age() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.add(20, "late")
    queue.add(10, "low", priority=1)
    queue.add(10, "first")
    queue.add(10, "second")
    assert queue.next_due() == 10
    assert drain(queue, 10) == ["first", "second", "low"]
    assert queue.next_due() == 20
    assert drain(queue, 19) == []
    assert drain(queue, 20) == ["late"]
    assert queue.next_due() is None


def test_a_timer_that_is_handled_may_cancel_another_that_is_due() -> None:
    queue: TimerQueue[str] = TimerQueue()
    queue.add(1, "first")
    second = queue.add(1, "second")
    assert queue.pop_due(1) is not None
    assert queue.cancel(second)
    assert queue.pop_due(1) is None


def test_cancelling_twice_or_after_the_pop_is_refused() -> None:
    queue: TimerQueue[str] = TimerQueue()
    first, second = queue.add(1, "first"), queue.add(2, "second")
    assert queue.cancel(second)
    assert not queue.cancel(second)
    queue.pop_due(1)
    assert not queue.cancel(first)


def test_cancelled_entries_do_not_pile_up() -> None:
    queue: TimerQueue[int] = TimerQueue()
    kept = [queue.add(10**9 + i, i) for i in range(10)]
    for i in range(10_000):
        queue.cancel(queue.add(10**6 + i, i))
        assert len(queue._heap) <= 2 * len(queue) + 1
    assert queue.entries() == kept


def test_many_timers_in_random_order_come_out_sorted() -> None:
    rng = random.Random(7)
    queue: TimerQueue[int] = TimerQueue()
    entries = [queue.add(rng.randrange(1000), i) for i in range(5000)]
    cancelled = set(rng.sample(entries, 2000))
    for entry in cancelled:
        queue.cancel(entry)
    popped = []
    while (due := queue.pop_due(1000)) is not None:
        popped.append(due[0])
    assert popped == sorted(set(entries) - cancelled)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 20), st.integers(-2, 2)),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("pop"), st.integers(0, 20), st.just(0)),
    ),
    max_size=60,
)


@given(actions)
def test_it_behaves_like_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    queue: TimerQueue[int] = TimerQueue()
    model: list[tuple[TimerEntry, int]] = []
    made: list[TimerEntry] = []
    for number, (action, argument, priority) in enumerate(steps):
        if action == "add":
            entry = queue.add(argument, number, priority=priority)
            made.append(entry)
            model.append((entry, number))
            model.sort()
        elif action == "cancel" and argument < len(made):
            alive = [item for item in model if item[0] == made[argument]]
            assert queue.cancel(made[argument]) == bool(alive)
            model = [item for item in model if item not in alive]
        elif action == "pop":
            due = model.pop(0) if model and model[0][0].due_ns <= argument else None
            assert queue.pop_due(argument) == due
        assert len(queue) == len(model)
        assert queue.next_due() == (model[0][0].due_ns if model else None)
