"""`AsyncLeases` where it is hard: cancellation, a store that hangs, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from holdfast import lease
from holdfast.errors import Closed, LeaseLost, Unavailable
from holdfast.lease import AsyncHeld, AsyncLeases, Leases
from tests.fixtures_lease import (
    PATIENCE_S,
    Bench,
    Hands,
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


class Stopped:
    """A call that goes on only when the loop says so: a loop that is blocked by it never does."""

    def __init__(self) -> None:
        self._begun, self._goes_on = threading.Event(), threading.Event()
        self.loop_ran: list[bool] = []

    def __call__(self) -> None:
        self._begun.set()
        self.loop_ran.append(self._goes_on.wait(PATIENCE_S / 2))

    async def let_go(self) -> None:
        """From the loop, while the call is under way."""
        assert await asyncio.to_thread(self._begun.wait, PATIENCE_S)
        self._goes_on.set()


@pytest.mark.parametrize("operation", ["claim", "look", "refresh", "release", "pin"])
def test_a_store_that_hangs_blocks_no_loop(bench: Bench, operation: str) -> None:
    async def work() -> None:
        leases = over(bench)
        stopped = Stopped()
        await leases.claim("held", "a", 60)
        await leases.records()
        bench.ours.before[operation] = stopped
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
        await stopped.let_go()
        await asyncio.gather(*running, return_exceptions=True)
        assert bench.ours.calls.get(operation, 0) > called
        assert stopped.loop_ran
        assert all(stopped.loop_ran)

    run(work())


async def block(leases: AsyncLeases) -> None:
    async with leases.hold("m"):
        pass


def test_a_store_that_is_slow_to_open_blocks_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.lease import async_leases

    stopped = Stopped()

    def slow(**arguments: Any) -> Leases:
        stopped()
        return lease.open(**arguments)

    monkeypatch.setattr(async_leases, "open_blocking", slow)

    async def work() -> None:
        leases = lease.open_async("memory:")
        token = leases.token("n", "a")
        asking = asyncio.create_task(token.check())
        await stopped.let_go()
        with pytest.raises(LeaseLost):
            await asking
        await leases.close()
        assert stopped.loop_ran == [True]

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
        claiming = asyncio.create_task(leases.claim("n", "a", 5))
        while not hangs.is_set():
            await asyncio.sleep(0.01)
        claiming.cancel()
        try:
            await claiming
        except asyncio.CancelledError:
            print("end", flush=True)
    asyncio.run(main())
"""


def test_a_store_that_hangs_keeps_no_interpreter_from_its_exit() -> None:
    assert program(HANGS) == "end"


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
