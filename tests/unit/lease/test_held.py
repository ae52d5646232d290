"""What a holder has in its hands, on every store: belief, loss, and giving back."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast import lease
from holdfast.clock import SystemClock
from holdfast.errors import Closed, InvalidArgument, LeaseLost, Unavailable
from holdfast.lease import Held, Leases
from holdfast.lease.keeper import deadline_of
from tests.fixtures_lease import PATIENCE_S, Bench, Going, Hands, names, raising, until


def readable(held: Held, wait_s: float = 0) -> bool:
    return select.select([held.fileno()], [], [], wait_s)[0] != []


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(Hands())
    yield made
    made.close()


def cannot_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def hands(bench: Bench) -> Hands:
    assert bench.clock is not None
    return bench.clock


# -- belief ---------------------------------------------------------------------------------------


def test_the_deadline_counts_from_before_the_claim(leases: Leases) -> None:
    before = SystemClock().boottime_ns()
    with leases.hold("n", duration=60) as held:
        after = SystemClock().boottime_ns()
        first, last = deadline_of(before, 60 * 10**9), deadline_of(after, 60 * 10**9)
        assert first <= held.deadline_ns <= last
        assert 0 < held.remaining() <= 60
        assert held.record == leases.records()["n"] or held.record.epoch == held.fencing_token
        assert (held.lost, readable(held)) == (False, False)
        held.check()


def test_time_that_passed_in_the_call_is_not_believed(bench: Bench) -> None:
    """The store may have begun the term at its first instant."""
    bench.ours.after["claim"] = lambda: hands(bench).pass_s(4)
    with bench.leases.hold("n", duration=10, renew=None) as held:
        assert held.remaining() <= 6


def test_a_claim_that_took_longer_than_it_lasts_is_lost_at_once(bench: Bench) -> None:
    bench.ours.after["claim"] = lambda: hands(bench).pass_s(11)
    with bench.leases.hold("n", duration=10, renew=None) as held, pytest.raises(LeaseLost):
        held.check()


# -- loss -----------------------------------------------------------------------------------------


def test_without_renewal_it_is_lost_at_its_deadline(leases: Leases) -> None:
    """Everybody hears of it: who polls, who waits, who asked to be called, who checks."""
    called: list[tuple[Held, str]] = []

    def on_lost(held: Held) -> None:
        called.append((held, threading.current_thread().name))

    deadline_ns = deadline_of(SystemClock().boottime_ns(), 4 * 10**8)  # or a little later
    with leases.hold("n", duration=0.4, renew=None, on_lost=on_lost) as held:
        waiter = Going(held.wait_lost)
        assert readable(held, PATIENCE_S)
        assert SystemClock().boottime_ns() >= deadline_ns
        assert waiter.outcome() is True
        assert (held.lost, held.remaining(), held.deadline_ns) == (True, 0.0, -1)
        with pytest.raises(LeaseLost, match="not to be renewed") as caught:
            held.check()
        assert caught.value.on == "n"
        assert until(lambda: called)
        assert readable(held)  # it stays so
    assert [one for one, _ in called] == [held]
    assert called[0][1] != threading.main_thread().name


def test_who_asks_for_a_descriptor_after_the_loss_gets_one_that_is_readable(
    leases: Leases,
) -> None:
    with leases.hold("n", duration=0.05, renew=None) as held:
        assert held.wait_lost(PATIENCE_S)
        assert readable(held)


def test_a_callback_that_fails_harms_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with (
        bench.leases.hold("a", duration=1, renew=None, on_lost=lambda _: 1 / 0),
        bench.leases.hold("b", duration=2, renew=None) as second,
    ):
        hands(bench).pass_s(1)
        assert until(lambda: failures)
        hands(bench).pass_s(1)
        assert second.wait_lost(PATIENCE_S)


def test_a_callback_may_take_its_time(bench: Bench) -> None:
    gate = threading.Event()
    with (
        bench.leases.hold(
            "a", duration=1, renew=None, on_lost=lambda _: gate.wait(PATIENCE_S)
        ) as first,
        bench.leases.hold("b", duration=2, renew=None) as second,
    ):
        hands(bench).pass_s(1)
        assert first.wait_lost(PATIENCE_S)
        hands(bench).pass_s(1)
        assert second.wait_lost(PATIENCE_S)
        gate.set()


def test_where_no_thread_can_be_started_the_watchdog_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Held] = []
    with (
        bench.leases.hold("a", duration=1, renew=None, on_lost=called.append) as first,
        bench.leases.hold("b", duration=2, renew=None) as second,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", cannot_start)
            hands(bench).pass_s(1)
            assert first.wait_lost(PATIENCE_S)
            assert until(lambda: called)
        hands(bench).pass_s(1)
        assert second.wait_lost(PATIENCE_S)
    assert called == [first]


def test_a_loss_that_somebody_else_found_is_announced(bench: Bench) -> None:
    """Whoever sees first that the deadline has passed may be the renewer, which tells nobody."""
    called: list[Held] = []
    with bench.leases.hold("n", duration=3, on_lost=called.append) as held:
        held.fileno()
        with bench.leases.roster.lock:
            hands(bench).pass_s(3)
            assert not held.keeper.begin(hands(bench).now_ns)
        assert held.keeper.over
        assert readable(held, PATIENCE_S)
        assert until(lambda: called)


def test_a_machine_that_slept_finds_out_at_the_first_check(bench: Bench) -> None:
    """Before any thread has run: this one does not let them."""
    with bench.leases.hold("n", duration=10, renew=None) as held:
        held.check()
        with bench.leases.roster.lock:
            hands(bench).pass_s(10)
            assert held.remaining() == 0.0
        with pytest.raises(LeaseLost, match="deadline has passed") as caught:
            held.check()
        assert caught.value.overrun_ns is not None
        assert held.lost


def test_lost_looks_at_the_clock_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.leases.watchdog, "_run", lambda: None)
    monkeypatch.setattr(bench.leases.renewer, "_run", lambda: None)
    with bench.leases.hold("n", duration=10, renew=None) as held:
        hands(bench).pass_s(9.9)
        assert not held.lost
        hands(bench).pass_s(0.1)
        assert held.lost


# -- waiting for the loss -------------------------------------------------------------------------


def test_a_wait_for_the_loss_ends_with_its_timeout(leases: Leases) -> None:
    with leases.hold("n") as held:
        assert held.wait_lost(0) is False
        began = time.monotonic()
        assert held.wait_lost(0.1) is False
        assert time.monotonic() - began >= 0.1


def test_a_wait_for_the_loss_ends_with_the_release(leases: Leases) -> None:
    with leases.hold("n") as held:
        waiter = Going(held.wait_lost)
        time.sleep(0.05)
        assert waiter.is_alive()
    assert waiter.outcome() is False
    assert held.wait_lost() is False


# -- giving back ----------------------------------------------------------------------------------


def test_released_is_not_lost(leases: Leases) -> None:
    with leases.hold("n") as held:
        held.release()
        assert leases.records() == ()
        assert (held.lost, held.remaining()) == (False, 0.0)
        with pytest.raises(LeaseLost, match="was released"):
            held.check()
        with pytest.raises(Closed):
            held.fileno()


def test_releasing_again_takes_nothing_from_a_successor(leases: Leases, others: Leases) -> None:
    with leases.hold("n") as held:
        held.release()
        with others.hold("n", wait=0) as successor:
            held.release()
            held.close()
            successor.check()
            assert leases.records()["n"].epoch == successor.fencing_token
    assert leases.records() == ()


def test_releasing_after_a_loss_takes_nothing_from_a_successor(
    leases: Leases, others: Leases
) -> None:
    """Even one with the same holder: the epoch is another."""
    with leases.hold("n", holder="web", duration=0.05, renew=None) as held:
        assert held.wait_lost(PATIENCE_S)
        others.store.release(held.record)
        with others.hold("n", holder="web", wait=0) as successor:
            held.release()
            assert others.records()["n"].epoch == successor.fencing_token


def test_releasing_after_a_loss_gives_back_what_is_still_ours(
    leases: Leases, others: Leases
) -> None:
    """The deadline comes before others may claim: then there is no need for them to wait."""
    with leases.hold("n", duration=0.05, renew=None) as held:
        assert held.wait_lost(PATIENCE_S)
        held.release()
        assert others.records() == ()


def test_a_release_that_fails_says_so_and_closing_only_logs_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        hold = bench.leases.hold(name)
        held = hold.__enter__()
        bench.ours.before["release"] = raising(Unavailable("the store is away"))
        if name == "a":
            with pytest.raises(Unavailable):
                held.release()
        hold.__exit__(None, None, None)
        assert held.keeper.over
        assert bench.record(name) is not None
    assert "releasing b: the store is away" in caplog.text
    assert len(bench.leases.roster) == 0


def test_progress_after_the_end_is_harmless(leases: Leases) -> None:
    with leases.hold("n", renew="progress") as held:
        held.progress()
        held.release()
        held.progress()
        assert leases.records() == ()


# -- gates ----------------------------------------------------------------------------------------


def test_what_is_no_transaction_cannot_be_gated(leases: Leases) -> None:
    with leases.hold("n") as held:
        for wrong in (object(), None, "BEGIN", leases):
            with pytest.raises(TypeError):
                held.gate(wrong)
        held.check()


def test_a_gate_looks_at_the_deadline_first(bench: Bench) -> None:
    """The row alone would stand until somebody removed it."""
    with bench.leases.hold("n", duration=10, renew=None) as held:
        hands(bench).pass_s(10)
        with pytest.raises(LeaseLost):
            held.gate(object())
        assert bench.ours.calls.get("gate", 0) == 0


@pytest.mark.parametrize("renewing", [False, True])
def test_a_gate_that_finds_out_is_a_loss_at_once(bench: Bench, renewing: bool) -> None:
    called: list[Held] = []
    bench.ours.before["gate"] = raising(LeaseLost("it is somebody else's"))
    with bench.leases.hold("n", duration=10, on_lost=called.append) as held:
        if renewing:
            goes_on = threading.Event()
            bench.theirs.before["extend_many"] = lambda: goes_on.wait(PATIENCE_S)
            hands(bench).pass_s(4)
            assert until(lambda: bench.theirs.calls.get("extend_many"))
        with pytest.raises(LeaseLost, match="somebody else"):
            held.gate(object())
        assert (held.lost, held.remaining()) == (True, 0.0)
        assert readable(held)
        with pytest.raises(LeaseLost, match="somebody else"):
            held.check()
        assert until(lambda: called)
        if renewing:
            goes_on.set()  # and the answer, a yes, comes too late
            assert until(lambda: bench.theirs.calls.get("advance", 0) > 1 or hands(bench).pass_s(1))
            assert held.lost
    assert called == [held]


def test_what_is_not_fit_to_be_gated_is_no_loss(bench: Bench) -> None:
    bench.ours.before["gate"] = raising(InvalidArgument("autocommit"))
    with bench.leases.hold("n") as held:
        with pytest.raises(InvalidArgument):
            held.gate(object())
        held.check()


# -- words ----------------------------------------------------------------------------------------


def test_it_says_what_it_is(leases: Leases) -> None:
    with leases.hold("n", holder="web") as held:
        assert repr(held).startswith(f"<Held 'n' as 'web', token {held.fencing_token}, held, ")
        assert "1 held" in repr(leases)
    assert "released" in repr(held)
    assert "0 held" in repr(leases)
    assert names(leases.records()) == []


def test_the_face_has_it() -> None:
    assert (lease.Held, lease.Leases) == (Held, Leases)
