"""`Leases` on every store: holding, sharing, waiting, and what a refusal says."""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from holdfast.errors import ClaimDenied, InvalidArgument, LeaseLost
from holdfast.lease import Held, Leases, Record
from holdfast.process import Owner
from tests.fixtures_lease import PATIENCE_S, Going, Open, names, until

# -- holding --------------------------------------------------------------------------------------


def test_a_block_claims_and_gives_back(leases: Leases, others: Leases) -> None:
    with leases.hold("nightly", why="schema 42") as held:
        record = others.records()["nightly"]
        assert (record.holder, record.epoch) == (held.holder, held.fencing_token)
        assert record.owner is not None
        owner = Owner.from_dict(record.owner)
        assert (owner.pid, owner.why) == (os.getpid(), "schema 42")
        assert 0 < held.remaining() <= 30
        held.check()
    assert others.records() == ()


def test_nothing_is_claimed_before_the_block(leases: Leases) -> None:
    leases.hold("n")
    assert leases.records() == ()


def test_each_holding_has_a_greater_token(leases: Leases, others: Leases) -> None:
    tokens = []
    for one in (leases, others, leases):
        with one.hold("n") as held:
            tokens.append(held.fencing_token)
    assert tokens == sorted(set(tokens))


def test_what_the_block_raises_goes_through(leases: Leases) -> None:
    with pytest.raises(ZeroDivisionError), leases.hold("n"):
        raise ZeroDivisionError
    assert leases.records() == ()


def test_a_decorated_function_is_held_at_each_call(leases: Leases) -> None:
    tokens = []

    @leases.hold("n", wait=0)
    def work(amount: int, *, fail: bool = False) -> int:
        """What it does."""
        tokens.append(leases.records()["n"].epoch)
        if fail:
            raise ZeroDivisionError
        return amount + 1

    assert leases.records() == ()
    assert [work(1), work(2)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        work(3, fail=True)
    assert leases.records() == ()
    assert tokens == sorted(set(tokens))
    assert (work.__name__, work.__doc__) == ("work", "What it does.")


def test_one_decorated_function_in_two_threads_takes_turns(leases: Leases) -> None:
    inside: list[int] = []
    most: list[int] = []

    @leases.hold("n")
    def work() -> None:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()

    for thread in [Going(work) for _ in range(3)]:
        thread.outcome()
    assert most == [1, 1, 1]


async def coroutine() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def generator_of_coroutines() -> AsyncIterator[int]:
    yield 1


class Later:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    "later",
    [coroutine, generator, generator_of_coroutines, functools.partial(coroutine), Later()],
    ids=["coroutine", "generator", "async generator", "partial", "object"],
)
def test_what_would_run_after_the_lease_cannot_be_decorated(later: Any) -> None:
    with Leases(memory) as leases, pytest.raises(TypeError, match="given back"):
        leases.hold("n")(later)


def memory() -> Any:
    from holdfast.lease.stores.memory import MemoryStore

    return MemoryStore()


def test_a_block_cannot_be_entered_twice_at_once(leases: Leases) -> None:
    hold = leases.hold("n", wait=0)
    with hold:
        with pytest.raises(InvalidArgument, match="entered already"):
            hold.__enter__()
        assert names(leases.records()) == ["n"]
    with hold as again:
        again.check()


def test_a_block_inside_of_another_does_not_get_the_same_lease(leases: Leases) -> None:
    with leases.hold("n") as outer:
        with pytest.raises(ClaimDenied), leases.hold("n", wait=0):
            pass
        outer.check()
        with leases.hold("m", wait=0):
            assert names(leases.records()) == ["m", "n"]


def test_threads_exclude_each_other(leases: Leases, others: Leases) -> None:
    count = 0
    tokens = []

    def work(mine: Leases) -> None:
        nonlocal count
        for _ in range(5):
            with mine.hold("n") as held:
                tokens.append(held.fencing_token)
                seen = count
                time.sleep(0.001)
                count = seen + 1

    for thread in [Going(functools.partial(work, one)) for one in (leases, leases, others)]:
        thread.outcome()
    assert count == 15
    assert tokens == sorted(set(tokens))


# -- sharing --------------------------------------------------------------------------------------


def test_whoever_uses_the_same_holder_shares_the_lease(leases: Leases, others: Leases) -> None:
    with leases.hold("n", holder="web") as one, others.hold("n", holder="web", wait=0) as two:
        assert one.fencing_token == two.fencing_token
        with pytest.raises(ClaimDenied), others.hold("n", holder="db", wait=0):
            pass


def test_the_last_who_shares_gives_it_back(leases: Leases, others: Leases) -> None:
    """Who leaves first takes nothing from those who still believe in it."""
    with leases.hold("n", holder="web") as outer:
        with leases.hold("n", holder="web", wait=0) as inner:
            assert inner.fencing_token == outer.fencing_token
        outer.check()
        with pytest.raises(ClaimDenied), others.hold("n", wait=0):
            pass
    assert others.records() == ()


def test_who_comes_while_the_last_one_leaves_shares_nothing_that_is_gone() -> None:
    """The claim has extended what is given back before it is kept: it must not be believed in."""
    from tests.fixtures_lease import Bench

    bench = Bench()
    first = bench.leases.hold("n", holder="web")
    first.__enter__()
    bench.ours.after["extend"] = lambda: first.__exit__(None, None, None)
    with bench.leases.hold("n", holder="web", wait=0) as second:
        record = bench.record("n")
        assert record is not None
        assert record.epoch == second.fencing_token
        second.check()
    bench.close()


# -- claim or extend ------------------------------------------------------------------------------


def test_a_claim_by_its_holder_extends(leases: Leases, others: Leases) -> None:
    first = leases.claim("n", "a", 30)
    second = others.claim("n", "a", timedelta(seconds=60))
    assert (second.holder, second.epoch) == ("a", first.epoch)
    assert second.end_in(second.era) > first.end_in(first.era)
    shorter = others.claim("n", "a", 1)
    assert shorter.end_in(shorter.era) >= second.end_in(second.era)
    with pytest.raises(ClaimDenied):
        others.claim("n", "b", 5)


def test_a_claim_stays_after_close(url: str, open_leases: Open) -> None:
    with open_leases(url) as leases:
        record = leases.claim("n", "a", 60, why="later")
    found = open_leases(url).records()["n"]
    assert (found.epoch, found.holder) == (record.epoch, "a")
    assert found.owner is not None
    assert found.owner["why"] == "later"


# -- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [0, 0.0, timedelta(0)])
def test_no_wait_is_no_wait(leases: Leases, wait: float | timedelta) -> None:
    with leases.hold("n") as held:
        with pytest.raises(TimeoutError) as caught, leases.hold("n", wait=wait):
            pass
        assert isinstance(caught.value, ClaimDenied)
        assert caught.value.holder == held.holder


@pytest.mark.parametrize("wait", [0.3, timedelta(milliseconds=300)])
def test_a_wait_lasts_as_long_as_it_says(leases: Leases, wait: float | timedelta) -> None:
    with leases.hold("n"):
        began = time.monotonic()
        with pytest.raises(ClaimDenied):
            leases.claim("n", "b", 5, wait=wait)
        assert 0.3 <= time.monotonic() - began < PATIENCE_S


@pytest.mark.parametrize("wait", [None, PATIENCE_S])
def test_a_waiter_gets_what_is_given_back(
    leases: Leases, others: Leases, wait: float | None
) -> None:
    waits = threading.Event()

    def work() -> int:
        with others.hold("n", wait=wait, on_wait=lambda _: waits.set()) as held:
            return held.fencing_token

    with leases.hold("n") as first:
        waiter = Going(work)
        assert waits.wait(PATIENCE_S)
        time.sleep(0.05)
        assert waiter.is_alive()
    assert waiter.outcome() > first.fencing_token


def test_a_waiter_gets_what_has_run_out(leases: Leases, others: Leases) -> None:
    """Nobody gives it back; and not before its end on the store's own clock."""
    record = leases.claim("n", "a", 0.5)
    with others.hold("n", wait=PATIENCE_S) as held:
        assert held.fencing_token > record.epoch
        reading = others.store.clock()
        assert reading.now_ns > record.end_in(reading.era)


def test_a_refusal_says_who_where_and_why(leases: Leases, others: Leases) -> None:
    with leases.hold("nightly", why="schema 42") as held, pytest.raises(ClaimDenied) as caught:
        others.claim("nightly", "b", 5)
    for fact in (held.holder, f"pid {os.getpid()}", socket.gethostname(), "why: schema 42"):
        assert fact in str(caught.value)
    assert caught.value.on == "nightly"
    assert caught.value.hint


def test_a_waiter_hears_once_of_each_holding(leases: Leases, others: Leases) -> None:
    """And it may act while it hears: this one ends the holding that it waits for."""
    first = leases.claim("n", "a", 60)
    heard: list[Record] = []

    def on_wait(record: Record) -> None:
        heard.append(record)
        leases.store.release(record)
        if len(heard) == 1:
            leases.claim("n", "b", 60)

    with others.hold("n", wait=PATIENCE_S, on_wait=on_wait):
        assert [record.holder for record in heard] == ["a", "b"]
        assert heard[0].epoch == first.epoch


def test_renewals_are_no_news_to_a_waiter(leases: Leases, others: Leases) -> None:
    heard: list[Record] = []
    record = leases.claim("n", "a", 60)

    def work() -> Record:
        return others.claim("n", "b", 5, wait=PATIENCE_S, on_wait=heard.append)

    waiter = Going(work)
    assert until(lambda: heard)
    for _ in range(5):
        leases.claim("n", "a", 60 + _)
        time.sleep(0.05)
    leases.store.release(record)
    assert waiter.outcome().holder == "b"
    assert len(heard) == 1


def test_what_a_callback_raises_ends_the_wait(leases: Leases, others: Leases) -> None:
    def on_wait(record: Record) -> None:
        raise ZeroDivisionError

    with leases.hold("n"):
        with pytest.raises(ZeroDivisionError), others.hold("n", on_wait=on_wait):
            pass
        assert names(leases.records()) == ["n"]


# -- arguments ------------------------------------------------------------------------------------

BAD_DURATIONS = [0, -1, float("nan"), float("inf"), "5", True, None, timedelta(0)]
BAD_WORDS = ["", "\n", "a\tb", "\x00", None, 7, "\ud800"]
BAD = [
    *({"name": bad} for bad in BAD_WORDS),
    *({"holder": bad} for bad in BAD_WORDS if bad is not None),
    *({"duration": bad} for bad in BAD_DURATIONS),
    *({"wait": bad} for bad in (-1, float("nan"), "5", False, timedelta(seconds=-1))),
    *({"renew": bad} for bad in ("x", "", True, 0, ["auto"])),
]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_bad_arguments_change_nothing(bad: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"name": "n", "holder": "a", "duration": 5} | bad
    with Leases(memory) as leases:
        with pytest.raises(InvalidArgument):
            leases.hold(**arguments)
        if "renew" not in bad:
            with pytest.raises(InvalidArgument):
                leases.claim(**arguments)
        assert leases.records() == ()
        assert leases.store.clock().now_ns >= 0


@pytest.mark.parametrize("bad", BAD_WORDS, ids=repr)
def test_bad_words_are_refused_everywhere(bad: Any) -> None:
    with Leases(memory) as leases:
        for call in (
            lambda: leases.token(bad, "a"),
            lambda: leases.token("n", bad),
            lambda: leases.pin(bad, "a"),
            lambda: leases.pin("n", bad),
            lambda: leases.unpin(bad, "a"),
            lambda: leases.wait_until_expired(bad),
        ):
            with pytest.raises(InvalidArgument):
                call()
        assert leases.store.pins() == {}


@pytest.mark.parametrize("bad", [-1, float("nan"), "5", True])
def test_bad_timeouts_are_refused(bad: Any) -> None:
    with Leases(memory) as leases:
        for call in (
            lambda: leases.watch(timeout=bad),
            lambda: leases.wait_until_expired("n", bad),
        ):
            with pytest.raises(InvalidArgument):
                call()
        with leases.hold("n") as held, pytest.raises(InvalidArgument):
            held.wait_lost(bad)


def test_a_duration_that_no_store_can_keep_is_refused(leases: Leases) -> None:
    with pytest.raises(InvalidArgument), leases.hold("n", duration=1e10):
        pass
    assert leases.records() == ()


def test_facts_that_cannot_be_kept_are_refused(leases: Leases) -> None:
    with pytest.raises(InvalidArgument), leases.hold("n", why=object()):  # type: ignore[arg-type]
        pass
    assert leases.records() == ()


def test_a_lost_lease_says_by_how_much_it_is_late(leases: Leases) -> None:
    def work(held: Held) -> LeaseLost:
        with pytest.raises(LeaseLost) as caught:
            held.check()
        return caught.value

    with leases.hold("n", duration=0.05, renew=None) as held:
        time.sleep(0.1)
        lost = work(held)
        assert lost.on == "n"
        assert lost.overrun_ns is not None
        assert 0 < lost.overrun_ns < PATIENCE_S * 1e9
