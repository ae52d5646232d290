"""The memories do what they say: the known small programs, and what each memory lets them see."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.model.explorer import Actor, Scenario, explore
from tests.model.memory import Buffered, Interleaved, Memory, Weak
from tests.model.steps import (
    ACQ_REL,
    ACQUIRE,
    RELAXED,
    RELEASE,
    SEQ_CST,
    Order,
    Program,
    Step,
    add,
    fence,
    load,
    note,
    store,
)

X, Y = 0, 1
MEMORIES: list[type[Memory]] = [Interleaved, Buffered, Weak]


def straight(*steps: Step) -> Program:
    """A program without branches; it notes what its loads gave."""
    seen: tuple[Any, ...] = ()
    for at in range(len(steps)):
        answer = yield steps[at]
        if steps[at].kind in {"load", "add"}:
            seen += (answer,)
    yield note(seen)


def outcomes(memory: type[Memory], *programs: tuple[Step, ...]) -> set[tuple[Any, ...]]:
    """All combinations of what the programs' loads can give."""
    found = set()

    def observe(record: tuple[Any, ...], actor: int, event: Any) -> tuple[Any, ...]:
        record = (*record[:actor], event[0], *record[actor + 1 :])
        if None not in record:
            found.add(record)
        return record

    actors = [Actor(str(i), partial(straight, *steps)) for i, steps in enumerate(programs)]
    words = {"x": 0, "y": 0}
    report = explore(Scenario("", actors, words, (None,) * len(actors), observe), memory())
    assert report.exhausted
    return found


def test_a_message_passed_without_order_may_be_read_before_its_content() -> None:
    def passing(memory: type[Memory], out: Order, back: Order) -> bool:
        sender = (store(X, 1, RELAXED), store(Y, 1, out))
        receiver = (load(Y, back), load(X, RELAXED))
        return ((), (1, 0)) in outcomes(memory, sender, receiver)

    assert passing(Weak, RELAXED, RELAXED)
    assert passing(Weak, RELEASE, RELAXED)
    assert passing(Weak, RELAXED, ACQUIRE)
    assert not passing(Weak, RELEASE, ACQUIRE)
    assert not passing(Interleaved, RELAXED, RELAXED)
    assert not passing(Buffered, RELAXED, RELAXED)


def test_fences_order_relaxed_accesses() -> None:
    def passing(out: tuple[Step, ...], back: tuple[Step, ...]) -> bool:
        sender = (store(X, 1, RELAXED), *out, store(Y, 1, RELAXED))
        receiver = (load(Y, RELAXED), *back, load(X, RELAXED))
        return ((), (1, 0)) in outcomes(Weak, sender, receiver)

    assert passing((), (fence(ACQUIRE),))
    assert passing((fence(RELEASE),), ())
    assert not passing((fence(RELEASE),), (fence(ACQUIRE),))


@pytest.mark.parametrize("memory", MEMORIES)
def test_two_that_store_and_then_look_may_miss_each_other(memory: type[Memory]) -> None:
    def missed(*between: Step) -> bool:
        one = (store(X, 1, RELEASE), *between, load(Y, ACQUIRE))
        other = (store(Y, 1, RELEASE), *between, load(X, ACQUIRE))
        return ((0,), (0,)) in outcomes(memory, one, other)

    assert missed() == (memory is not Interleaved)
    assert not missed(fence(SEQ_CST))


def test_sequentially_consistent_accesses_do_not_miss_each_other_and_others_may() -> None:
    def missed(out: Order, back: Order) -> bool:
        one = (add(X, 1, out), load(Y, back))
        other = (add(Y, 1, out), load(X, back))
        return ((0, 0), (0, 0)) in outcomes(Weak, one, other)

    assert not missed(SEQ_CST, SEQ_CST)
    assert missed(SEQ_CST, ACQUIRE)
    assert missed(ACQ_REL, SEQ_CST)


@pytest.mark.parametrize("memory", MEMORIES)
def test_one_word_never_goes_back(memory: type[Memory]) -> None:
    writer = (store(X, 1, RELAXED), store(X, 2, RELAXED))
    looker = (load(X, RELAXED), load(X, RELAXED))
    seen = {pair for _, pair in outcomes(memory, writer, looker)}
    assert seen == {(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)}


@pytest.mark.parametrize("memory", MEMORIES)
def test_read_modify_writes_lose_nothing(memory: type[Memory]) -> None:
    seen = outcomes(memory, (add(X, 1, RELAXED),), (add(X, 1, RELAXED),))
    assert seen == {((0,), (1,)), ((1,), (0,))}


def test_a_read_modify_write_passes_on_what_was_released() -> None:
    seen = outcomes(
        Weak,
        (store(X, 1, RELAXED), store(Y, 1, RELEASE)),
        (add(Y, 10, RELAXED),),
        (load(Y, ACQUIRE), load(X, RELAXED)),
    )
    assert ((), (1,), (11, 0)) not in seen
    assert ((), (1,), (11, 1)) in seen


def test_what_two_wrote_may_be_seen_in_two_orders_in_weak_memory_only() -> None:
    def split(memory: type[Memory]) -> bool:
        return ((), (), (1, 0), (1, 0)) in outcomes(
            memory,
            (store(X, 1, RELEASE),),
            (store(Y, 1, RELEASE),),
            (load(X, ACQUIRE), load(Y, ACQUIRE)),
            (load(Y, ACQUIRE), load(X, ACQUIRE)),
        )

    assert split(Weak)
    assert not split(Interleaved)
    assert not split(Buffered)
