"""`AsyncLeases` on every store: the same leases for coroutines, and a loop that nothing blocks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import select
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import pytest

from holdfast import lease
from holdfast.errors import (
    ClaimDenied,
    Closed,
    InvalidArgument,
    LeaseLost,
    Unavailable,
)
from holdfast.lease import AsyncHeld, AsyncLeases, Change, Leases, Record
from tests.fixtures_lease import (
    PATIENCE_S,
    Bench,
    Hands,
    names,
    program,
    raising,
    threads_of_leases,
    until,
)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE_S))


def over(bench: Bench) -> AsyncLeases:
    """The same leases for coroutines."""
    leases = lease.open_async("memory:")
    leases._leases = bench.leases
    return leases


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


# -- holding --------------------------------------------------------------------------------------


def test_a_block_claims_and_gives_back(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            async with leases.hold("n", why="schema 42", duration=timedelta(seconds=9)) as held:
                record = others.records()["n"]
                assert (record.holder, record.epoch) == (held.holder, held.fencing_token)
                assert record.owner is not None
                assert (record.owner["pid"], record.owner["why"]) == (os.getpid(), "schema 42")
                assert (held.name, held.lost, held.record.epoch) == ("n", False, record.epoch)
                assert 0 < held.remaining() <= 9
                held.check()
                assert names(await leases.records()) == ["n"]
                assert (await leases.token("n", held.holder).check()).epoch == record.epoch
            assert await leases.records() == ()
            with pytest.raises(LeaseLost):
                held.check()
            with pytest.raises(LeaseLost):
                await leases.token("n", held.holder).check()

    run(work())


def test_a_decorated_function_is_held_at_each_call(url: str) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            tokens = []

            @leases.hold("n", wait=0)
            async def add_one(number: int) -> int:
                """What it does."""
                tokens.append((await leases.records())["n"].epoch)
                return number + 1

            assert [await add_one(1), await add_one(2)] == [2, 3]
            assert len(set(tokens)) == 2
            assert (add_one.__name__, add_one.__doc__) == ("add_one", "What it does.")
            assert await leases.records() == ()

    run(work())


def plain() -> int:
    return 1


async def yielding() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("wrong", [plain, yielding, functools.partial(plain)])
def test_what_is_no_coroutine_function_cannot_be_decorated(wrong: Any) -> None:
    with pytest.raises(TypeError, match="coroutine"):
        lease.open_async("memory:").hold("n")(wrong)


def test_a_block_cannot_be_entered_twice_at_once(url: str) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            hold = leases.hold("n")
            async with hold:
                with pytest.raises(InvalidArgument):
                    await hold.__aenter__()
            async with hold as held:
                held.check()

    run(work())


def test_tasks_exclude_each_other(url: str) -> None:
    count = 0

    async def work() -> None:
        async def add(leases: AsyncLeases) -> None:
            nonlocal count
            for _ in range(3):
                async with leases.hold("n"):
                    seen = count
                    await asyncio.sleep(0.002)
                    count = seen + 1

        async with lease.open_async(url) as one, lease.open_async(url) as two:
            await asyncio.gather(add(one), add(one), add(two))

    run(work())
    assert count == 9


def test_a_refusal_is_a_timeout_and_says_who(url: str, others: Leases) -> None:
    heard: list[Record] = []

    async def work() -> None:
        async with lease.open_async(url) as leases:
            with others.hold("n", why="schema 42") as held:
                with pytest.raises(TimeoutError, match="schema 42") as caught:
                    await leases.claim("n", "b", 5, wait=0.3, on_wait=heard.append)
                assert isinstance(caught.value, ClaimDenied)
                with pytest.raises(ClaimDenied):
                    await leases.claim("n", "b", 5)
                held.check()
            assert (await leases.claim("n", "b", 5)).holder == "b"
            assert (await leases.claim("n", "b", 5)).holder == "b"

    run(work())
    assert len(heard) == 1


def test_a_wait_ends_with_the_release(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            waits = asyncio.Event()

            async def wait() -> int:
                async with leases.hold("n", on_wait=lambda _: waits.set()) as held:
                    return held.fencing_token

            with others.hold("n") as first:
                waiter = asyncio.create_task(wait())
                await waits.wait()
                vacancy = asyncio.create_task(leases.wait_until_expired("n"))
                assert await leases.wait_until_expired("n", 0.05) is False
            assert await waiter > first.fencing_token
            assert await vacancy is True

    run(work())


# -- loss -----------------------------------------------------------------------------------------


def test_loss_is_told(url: str) -> None:
    async def work() -> None:
        called: list[Any] = []
        async with (
            lease.open_async(url) as leases,
            leases.hold("n", duration=0.3, renew=None, on_lost=called.append) as held,
        ):
            assert await held.wait_lost(0.01) is False
            assert await held.wait_lost() is True
            assert held.lost
            assert select.select([held.fileno()], [], [], 0)[0]
            with pytest.raises(LeaseLost):
                held.check()
            with pytest.raises(LeaseLost):
                await held.gate(object())
            assert until(lambda: called)

    run(work())


def test_a_release_is_no_loss(url: str) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases, leases.hold("n") as held:
            waiter = asyncio.create_task(held.wait_lost())
            await asyncio.sleep(0)
            with pytest.raises(TypeError):
                await held.gate(object())
            await held.release()
            await held.release()
            assert await waiter is False

    run(work())


def test_a_loop_that_is_busy_starves_no_lease(url: str) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases, leases.hold("n", duration=1.5) as held:
            first = held.record.start_ns
            time.sleep(3)  # noqa: ASYNC251 - this is what is tested
            held.check()
            assert held.record.start_ns > first

    run(work())


# -- pins and changes -----------------------------------------------------------------------------


def test_whoever_watches_sees_what_becomes_of_leases(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            seen: list[Change] = []

            async def watch() -> None:
                async for change in leases.watch(timeout=2):
                    seen.append(change)

            watching = asyncio.create_task(watch())
            await asyncio.sleep(0.3)
            record = others.claim("n", "a", 60)
            assert await asyncio.to_thread(until, lambda: seen)
            others.store.release(record)
            await watching
            assert seen == [Change("n", None, record), Change("n", record, None)]

    run(work())


def test_pins_go_on_and_off(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            await leases.pin("n", "backup")
            assert others.store.pins() == {"n": {"backup"}}
            await leases.unpin("n", "backup")
            assert others.store.pins() == {}

    run(work())


# -- cancellation ---------------------------------------------------------------------------------


def test_a_cancelled_wait_leaves_nothing_behind(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            with others.hold("n") as held:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3), leases.hold("n"):
                        pass
                held.check()
            await asyncio.sleep(0.1)
            assert others.records() == ()
            assert len(leases.blocking.roster) == 0

    run(work())


@pytest.mark.parametrize("times", [1, 2])
def test_a_claim_cancelled_in_its_moment_leaves_nothing_behind(bench: Bench, times: int) -> None:
    """The store does it while the task is being cancelled, and nobody takes the answer."""

    async def work() -> None:
        leases = over(bench)
        claimed, goes_on = threading.Event(), threading.Event()

        def hang() -> None:
            claimed.set()
            goes_on.wait(PATIENCE_S)

        bench.ours.after["claim"] = hang
        task = asyncio.create_task(leases.hold("n").__aenter__())
        assert await asyncio.to_thread(claimed.wait, PATIENCE_S)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0.01)
        assert bench.record("n") is not None
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await leases.call(lambda: None)  # after what was left to be done
        assert bench.record("n") is None
        assert len(bench.leases.roster) == 0

    run(work())


def test_a_claim_cancelled_at_any_await_leaves_nothing_behind(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            await leases.records()
            for turns in range(12):
                task = asyncio.create_task(leases.hold("n", wait=0).__aenter__())
                for _ in range(turns):
                    await asyncio.sleep(0.001 * (turns % 3))
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await (await task).close()
                await leases.call(lambda: None)
                assert others.records() == (), turns
                assert len(leases.blocking.roster) == 0

    run(work())


# -- a loop that nothing blocks -------------------------------------------------------------------


async def ticking(gaps: list[float]) -> None:
    """How long the loop did not come back to this task."""
    before = time.monotonic()
    while True:
        await asyncio.sleep(0.002)
        now = time.monotonic()
        gaps.append(now - before)
        before = now


HANG_S = 1.0


@pytest.mark.parametrize("operation", ["claim", "look", "refresh", "release", "pin"])
def test_a_store_that_hangs_blocks_no_loop(bench: Bench, operation: str) -> None:
    async def work() -> None:
        leases = over(bench)
        gaps: list[float] = []
        ticker = asyncio.create_task(ticking(gaps))
        await leases.claim("held", "a", 60)
        await leases.records()
        bench.ours.before[operation] = functools.partial(time.sleep, HANG_S)
        called = bench.ours.calls.get(operation, 0)
        tasks: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: leases.claim("n", "b", 5),
            lambda: leases.claim("held", "b", 5, wait=0.2),
            leases.records,
            lambda: leases.token("held", "a").check(),
            lambda: leases.pin("p", "x"),
        ]
        running = [asyncio.create_task(one()) for one in tasks]
        if operation == "release":
            running.append(asyncio.create_task(block(leases)))
        await asyncio.gather(*running, return_exceptions=True)
        ticker.cancel()
        assert bench.ours.calls.get(operation, 0) > called
        assert max(gaps) < HANG_S * 0.8, "generous: without a thread it is all of it"

    run(work())


async def block(leases: AsyncLeases) -> None:
    async with leases.hold("m"):
        pass


def test_a_store_that_is_slow_to_open_blocks_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.lease import async_leases

    def slow(**arguments: Any) -> Leases:
        time.sleep(HANG_S)
        return lease.open(**arguments)

    monkeypatch.setattr(async_leases, "open_blocking", slow)

    async def work() -> None:
        gaps: list[float] = []
        ticker = asyncio.create_task(ticking(gaps))
        leases = lease.open_async("memory:")
        token = leases.token("n", "a")
        await asyncio.sleep(0.01)
        with pytest.raises(LeaseLost):
            await token.check()
        ticker.cancel()
        await leases.close()
        assert max(gaps) < HANG_S * 0.8

    run(work())


# -- the end --------------------------------------------------------------------------------------


def test_closing_gives_back_and_stops_the_threads(url: str, others: Leases) -> None:
    before = threads_of_leases()

    async def work() -> None:
        leases = lease.open_async(url)
        held: AsyncHeld = await leases.hold("n").__aenter__()
        await leases.close()
        await leases.close()
        assert held.lost is False
        calls: list[Callable[[], Any]] = [
            lambda: leases.hold("n").__aenter__(),
            lambda: leases.claim("n", "a", 5),
            leases.records,
            lambda: leases.token("n", "a").check(),
            lambda: leases.pin("n", "a"),
            lambda: leases.wait_until_expired("n"),
            lambda: anext(leases.watch()),
            leases.__aenter__,
        ]
        for call in calls:
            with pytest.raises(Closed):
                await call()
        await held.release()

    run(work())
    assert others.records() == ()
    assert until(lambda: not threads_of_leases() - before)


def test_closed_before_it_was_used_is_closed() -> None:
    async def work() -> None:
        leases = lease.open_async("memory:")
        await leases.close()
        with pytest.raises(Closed):
            await leases.records()

    run(work())


def test_a_waiter_in_another_task_is_ended_by_close(url: str, others: Leases) -> None:
    async def work() -> None:
        leases = lease.open_async(url)
        waits = asyncio.Event()
        with others.hold("n") as held:
            waiter = asyncio.create_task(
                leases.hold("n", on_wait=lambda _: waits.set()).__aenter__()
            )
            await waits.wait()
            await leases.close()
            with pytest.raises(Closed):
                await waiter
            held.check()

    run(work())


HANGS = """
    import asyncio, threading
    from holdfast import lease
    from holdfast.lease import Leases
    from holdfast.lease.stores.memory import MemoryStore
    hangs = threading.Event()
    class Hanging(MemoryStore):
        def claim(self, *arguments, **more):
            hangs.set()
            threading.Event().wait()
    async def main():
        leases = lease.open_async("memory:")
        leases._leases = Leases(Hanging)
        try:
            async with asyncio.timeout(0.3):
                await leases.claim("n", "a", 5)
        except TimeoutError:
            assert hangs.is_set()
            print("end", flush=True)
    asyncio.run(main())
"""


def test_a_store_that_hangs_keeps_no_interpreter_from_its_exit() -> None:
    assert program(HANGS, timeout=30) == "end"


def test_what_the_store_raises_goes_through(bench: Bench) -> None:
    async def work() -> None:
        leases = over(bench)
        bench.ours.before["refresh"] = raising(Unavailable("away"))
        with pytest.raises(Unavailable, match="away"):
            await leases.records()
        bench.ours.before.clear()
        assert await leases.records() == ()

    run(work())


def test_a_clock_can_be_given() -> None:
    clock = Hands()

    async def work() -> None:
        async with lease.open_async("memory:", clock=clock) as leases:
            assert leases.namespace == "default"
            async with leases.hold("clock", duration=10, renew=None) as held:
                clock.pass_s(10)
                assert held.lost

    run(work())
