"""What a client did before it spoke has happened when it is heard, though calls come first.

A program that lets go of one wake lease and acquires the next is answered before the governor looks
after the hang-up (`Service._hung_up`). In everything else nobody may see that.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from holdfast.clock import NS_PER_S
from holdfast.errors import OutOfSpace, SuspendAborted
from holdfast.ipc.messages import encode_call
from holdfast.wake import Config, connect_async, wire
from tests.unit.ipc.places import PATIENCE_S, until
from tests.unit.wake.governors import governing

# Both are there when the loop looks, since client and governor share it; each comes first at times.
ROUNDS = 20


def test_what_was_let_go_of_before_a_question_is_not_in_the_answer(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            for _ in range(ROUNDS):
                (await governor.acquire("upload")).close()
                assert (await governor.status()).wake_leases == ()
                (await governor.acquire("upload")).close()
                assert await governor.leases() == []

    asyncio.run(main())


def test_what_was_let_go_of_before_a_request_does_not_spoil_it(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            for _ in range(ROUNDS):
                (await governor.acquire("upload")).close()
                assert await governor.suspend(timeout=0) > 0  # now, or not at all
            assert (await governor.status()).aborts == 0

    asyncio.run(main())


def test_what_a_listener_let_go_of_before_it_answered_does_not_spoil_the_suspend(
    place: Path,
) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):

            async def flush() -> None:
                (await governor.acquire("flush")).close()

            async with connect_async(service.path) as asking:
                await governor.listen(flush, flush, name="cache")
                for _ in range(ROUNDS):
                    await asking.suspend(timeout=PATIENCE_S)
                assert (await asking.status()).aborts == 0

    asyncio.run(main())


def test_who_dies_has_let_go_before_his_silence_counts_as_an_answer(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            for _ in range(ROUNDS):
                called = asyncio.Event()
                dying = await connect_async(service.path).__aenter__()

                async def hang(called: asyncio.Event = called) -> None:
                    called.set()
                    await asyncio.Event().wait()

                await dying.listen(hang, hang, name="dies")
                suspend = asyncio.create_task(governor.suspend())
                await asyncio.wait_for(called.wait(), PATIENCE_S)
                wake_lease = await dying.acquire("its last")
                # The kernel closes the descriptors of the dead in the order of their numbers.
                (await dying.connect()).close()
                wake_lease.close()
                await suspend
                await dying.close()
            assert (await governor.status()).aborts == 0

    asyncio.run(main())


def test_at_a_deadline_what_was_let_go_of_is_no_blocker(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer is played, so that the deadline and the hang-up are found together."""

    async def main() -> None:
        async with governing(place) as (service, governor):
            wake_lease = await governor.acquire("upload")
            suspend = asyncio.create_task(governor.suspend(timeout=3600))
            await until(lambda: service.governor.status().requests == 1)
            wake_lease.close()
            late_ns = service.now_ns() + 3601 * NS_PER_S
            monkeypatch.setattr(service, "now_ns", lambda: late_ns)
            service._expire()
            with pytest.raises(SuspendAborted, match="the deadline") as caught:
                await suspend
            assert caught.value.blockers == ()

    asyncio.run(main())


def test_there_is_room_again_for_who_has_made_it(place: Path) -> None:
    async def main() -> None:
        async with governing(place, config=Config(leases_max=2)) as (_, governor):
            with await governor.acquire("stays"):
                for _ in range(ROUNDS):
                    (await governor.acquire("comes and goes")).close()
                with await governor.acquire("second"), pytest.raises(OutOfSpace):
                    await governor.acquire("third")

    asyncio.run(main())


def test_an_acquire_is_answered_before_hang_ups_are_looked_after(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, _):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(service.path)
                await until(lambda: service.connections == 2)
                raw.sendall(encode_call(wire.ACQUIRE, wire.Acquire("first"), id=0))
                await until(lambda: len(service.leases) == 1)
                _, (writing,), _, _ = socket.recv_fds(raw, 4096, 1)
                socket.close(writing)
                raw.sendall(encode_call(wire.ACQUIRE, wire.Acquire("second"), id=1))
                await until(lambda: [each.name for each in service.leases] == ["second"])
                told = [event.kind for event in service.governor.events]
                assert told[-2:] == ["lease-granted", "lease-closed"]

    asyncio.run(main())
