"""`AsyncLeases` on every store: the same leases for coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import select
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from holdfast import lease
from holdfast.errors import ClaimDenied, InvalidArgument, LeaseLost
from holdfast.lease import AsyncLeases, Change, Leases, Record
from tests.fixtures_lease import PATIENCE_S, Hands, names, renewed, until


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE_S))


# -- holding --------------------------------------------------------------------------------------


def test_a_block_claims_and_gives_back(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            async with leases.hold("n", why="schema 42", duration=timedelta(seconds=60)) as held:
                record = others.records()["n"]
                assert (record.holder, record.epoch) == (held.holder, held.fencing_token)
                assert record.owner is not None
                assert (record.owner["pid"], record.owner["why"]) == (os.getpid(), "schema 42")
                assert (held.name, held.lost, held.record.epoch) == ("n", False, record.epoch)
                assert 0 < held.remaining() <= 60
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
    clock = Hands()

    def on_wait(record: Record) -> None:
        heard.append(record)
        clock.pass_s(0.3)  # and not before, however long the look at it takes

    async def work() -> None:
        async with lease.open_async(url, clock=clock) as leases:
            with others.hold("n", why="schema 42") as held:
                with pytest.raises(TimeoutError, match="schema 42") as caught:
                    await leases.claim("n", "b", 5, wait=0.3, on_wait=on_wait)
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
            leases.hold("m") as other,
            leases.hold("n", duration=0.3, renew=None, on_lost=called.append) as held,
        ):
            assert await other.wait_lost(0.01) is False
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
        async with lease.open_async(url) as leases, leases.hold("n", duration=9) as held:
            assert renewed(held._held, held._held.deadline_ns)  # meanwhile the loop stands
            held.check()

    run(work())


# -- pins and changes -----------------------------------------------------------------------------


def test_whoever_watches_sees_what_becomes_of_leases(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            seen: list[Change] = []

            async def watch() -> None:
                looking = leases.watch()
                assert isinstance(looking, AsyncGenerator)
                async with contextlib.aclosing(looking) as changes:
                    async for change in changes:
                        seen.append(change)
                        if change.after is None:
                            return

            watching = asyncio.create_task(watch())
            for number in itertools.count():
                others.claim(f"probe {number}", "a", 60)
                await asyncio.sleep(0.1)
                if seen:
                    break  # it looks
            record = others.claim("n", "a", 60)
            assert await asyncio.to_thread(until, lambda: "n" in {one.name for one in seen})
            others.store.release(record)
            await watching
            of_n = [change for change in seen if change.name == "n"]
            assert of_n == [Change("n", None, record), Change("n", record, None)]

    run(work())


def test_pins_go_on_and_off(url: str, others: Leases) -> None:
    async def work() -> None:
        async with lease.open_async(url) as leases:
            await leases.pin("n", "backup")
            assert others.store.pins() == {"n": {"backup"}}
            await leases.unpin("n", "backup")
            assert others.store.pins() == {}

    run(work())
