"""The patience of `transact`: what is tried again, how often, and after which pause."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from holdfast.errors import Abort, Busy, Conflict, Deleted, InvalidArgument
from holdfast.state import Namespace, State, Transaction
from holdfast.state.transaction import transact


@pytest.fixture
def state(namespace: Namespace) -> State:
    return namespace.subscribe("s", "rw", size=8)


@pytest.fixture
def rival(namespace: Namespace, state: State) -> State:
    return namespace.subscribe("s", "rw")


def bump(state: State) -> None:
    with state.transaction() as txn:
        txn.data[7] = (txn.data[7] + 1) % 256


def disturbed(rival: State, times: int) -> Callable[[Transaction], int]:
    """Adds one to the first byte, but is overtaken so many times; returns how often it ran."""
    runs = 0

    def fn(txn: Transaction) -> int:
        nonlocal runs
        runs += 1
        txn.data[0] += 1
        if runs <= times:
            bump(rival)
        return runs

    return fn


def test_it_commits_what_the_function_wrote_and_returns_what_it_returned(state: State) -> None:
    """K49, K50: success is a commit."""
    assert state.transact(lambda txn: txn.write(0, b"done")) is None
    assert state.transact(lambda txn: bytes(txn.data)[:4]) == b"done"
    assert state.version == 1


@pytest.mark.parametrize("times", [0, 1, 2, 5, 50])
def test_it_begins_again_after_each_conflict(state: State, rival: State, times: int) -> None:
    """K51: from the new contents, until it succeeds."""
    assert state.transact(disturbed(rival, times)) == times + 1
    assert (state.read()[0], state.read()[7]) == (1, times)
    assert state.version == times + 1


def test_the_attempts_can_be_counted_out(state: State, rival: State) -> None:
    """K51: then Conflict, which says how many there were; nothing was written."""
    for attempts in (1, 2, 7):
        with pytest.raises(Conflict) as caught:
            state.transact(disturbed(rival, 1000), attempts=attempts)
        assert caught.value.attempts == attempts
        assert caught.value.current == caught.value.started + 1
    assert state.read()[0] == 0
    assert state.transact(disturbed(rival, 6), attempts=7) == 7


@pytest.mark.parametrize("timeout", [0, 0.0, timedelta(0), 0.05, timedelta(milliseconds=50)])
def test_no_attempt_begins_after_the_time(
    state: State, rival: State, timeout: float | timedelta
) -> None:
    """K51: with 0 exactly one is made; then Conflict."""
    with pytest.raises(Conflict) as caught:
        state.transact(disturbed(rival, 1 << 60), timeout=timeout)
    assert caught.value.attempts >= 1
    if not timeout:
        assert caught.value.attempts == 1
    assert state.read()[0] == 0


def test_an_attempt_that_succeeds_is_good_however_late(state: State) -> None:
    """K51: the time limits the beginning of attempts, not their success."""
    state.transact(lambda txn: txn.write(0, b"late"), timeout=0)
    assert state.read()[:4] == b"late"


@pytest.mark.parametrize("attempts", [0, -1])
def test_no_attempts_are_no_choice(state: State, attempts: int) -> None:
    """K51: InvalidArgument, and the function is not called."""
    called: list[Transaction] = []
    with pytest.raises(InvalidArgument):
        state.transact(called.append, attempts=attempts)
    assert called == []


@pytest.mark.parametrize("timeout", [-1, -0.001, timedelta(seconds=-1), float("nan")])
def test_a_negative_time_is_refused(state: State, timeout: float | timedelta) -> None:
    """K51: InvalidArgument, and the function is not called."""
    called: list[Transaction] = []
    with pytest.raises(InvalidArgument):
        state.transact(called.append, timeout=timeout)
    assert called == []


@pytest.mark.parametrize(
    "error", [Abort("not today"), ZeroDivisionError(), Conflict("mine", started=0, current=9)]
)
def test_what_the_function_raises_is_the_answer(state: State, error: Exception) -> None:
    """K50: nothing is written and nothing tried again, be it a Conflict of its own making."""
    runs = 0

    def fn(txn: Transaction) -> None:
        nonlocal runs
        runs += 1
        txn.data[0] = 1
        raise error

    with pytest.raises(type(error)) as caught:
        state.transact(fn)
    assert caught.value is error
    assert runs == 1
    assert (state.read(), state.version) == (bytes(8), 0)


def test_an_interrupt_aborts_and_passes_through(state: State) -> None:
    """K50: KeyboardInterrupt is nobody's to swallow."""
    kept: list[Transaction] = []

    def fn(txn: Transaction) -> None:
        kept.append(txn)
        txn.data[0] = 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        state.transact(fn)
    assert not kept[0].active
    assert state.version == 0


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_function_may_end_its_transaction_itself(state: State, end: str) -> None:
    """K44, K50: that is its own affair, and the result is still returned."""

    def fn(txn: Transaction) -> str:
        txn.data[0] = 1
        getattr(txn, end)()
        return "mine"

    assert state.transact(fn) == "mine"
    assert state.read()[0] == (1 if end == "commit" else 0)


def test_a_function_that_raises_after_its_commit_has_committed(state: State) -> None:
    """K44, K50: the exception passes through; what is committed stays."""

    def fn(txn: Transaction) -> None:
        txn.data[0] = 1
        txn.commit()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        state.transact(fn)
    assert state.read()[0] == 1


def test_a_function_that_changes_nothing_never_conflicts(state: State, rival: State) -> None:
    """K45, K51: one run is enough."""
    runs: list[int] = []

    def fn(txn: Transaction) -> None:
        runs.append(txn.version)
        bump(rival)

    state.transact(fn)
    assert runs == [0]


def test_a_deleted_state_ends_the_matter(state: State, rival: State) -> None:
    """K32, K51: Deleted is no reason to try again."""

    def fn(txn: Transaction) -> None:
        txn.data[0] = 1
        rival.delete()

    with pytest.raises(Deleted):
        state.transact(fn)


# -- the pauses -----------------------------------------------------------------------------------


class Chance(random.Random):
    """Always the end of the range; remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__(0)
        self.ranges: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.ranges.append((a, b))
        return b


def test_the_first_new_attempt_is_made_at_once_and_the_pauses_grow(
    state: State, rival: State
) -> None:
    """K64: uniform between 0 and what doubles up to 5 ms."""
    pauses: list[float] = []
    chance = Chance()
    transact(
        state.transaction,
        disturbed(rival, 20),
        attempts=None,
        timeout_s=None,
        sleep=pauses.append,
        chance=chance,
    )
    assert len(pauses) == 19  # twenty conflicts, the first without a pause
    assert pauses == [most for _, most in chance.ranges]
    assert {least for least, _ in chance.ranges} == {0}
    assert pauses == sorted(pauses)
    assert pauses[0] <= 200e-6
    assert pauses[-1] == max(pauses) == 5e-3
    assert all(later == min(2 * earlier, 5e-3) for earlier, later in itertools.pairwise(pauses))


def test_chance_decides_within_the_range(state: State, rival: State) -> None:
    """K64: the same seed gives the same pauses, another seed others."""

    def pauses(seed: int) -> list[float]:
        slept: list[float] = []
        transact(
            state.transaction,
            disturbed(rival, 12),
            attempts=None,
            timeout_s=None,
            sleep=slept.append,
            chance=random.Random(seed),
        )
        return slept

    assert pauses(1) == pauses(1) != pauses(2)
    assert all(0 <= pause <= 5e-3 for pause in pauses(3))


def test_no_pause_reaches_beyond_the_time(state: State, rival: State) -> None:
    """K51, K64: the last pause is cut short."""
    slept: list[float] = []
    with pytest.raises(Conflict):
        transact(
            state.transaction,
            disturbed(rival, 1 << 60),
            attempts=None,
            timeout_s=0.02,
            sleep=slept.append,
            chance=Chance(),
        )
    assert all(0 <= pause <= 5e-3 for pause in slept)


def test_busy_is_tried_again_like_a_conflict() -> None:
    """K46, K51: and raised when the attempts have run out."""

    class Full:
        """A start whose transactions find every slot taken, a number of times."""

        active = True

        def __init__(self, times: int) -> None:
            self.times = times

        def commit(self) -> None:
            self.times -= 1
            if self.times >= 0:
                raise Busy("every slot is taken")

    def run(times: int, attempts: int | None) -> Any:
        full: Any = Full(times)
        slept: list[float] = []
        return transact(
            lambda: full,
            str,
            attempts=attempts,
            timeout_s=None,
            sleep=slept.append,
            chance=Chance(),
        )

    assert "Full" in run(3, None)
    with pytest.raises(Busy):
        run(3, 3)
