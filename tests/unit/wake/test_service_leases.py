"""Wake leases of a real service: when they are granted, and what ends them."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest

from holdfast.errors import GovernorGone, InvalidArgument, OutOfSpace, Unavailable, Unsupported
from holdfast.wake import Config, Service, connect, connect_async, wire
from holdfast.wake.backends import BackendHost
from holdfast.wake.model import Failed, Slept
from tests.unit.ipc.places import PATIENCE_S, descriptors_open, until
from tests.unit.wake.governors import GovernorThread, Rig, governing


async def count(governor: object) -> int:
    status = await governor.status()  # type: ignore[attr-defined]
    return int(status.wake_lease_count)


def test_it_is_held_when_it_is_answered_and_until_the_last_copy_closes(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            wake_lease = await governor.acquire("upload")
            assert (await governor.status()).wake_leases == ("upload",)
            copy = wake_lease.dup()
            wake_lease.close()
            wake_lease.close()
            assert await count(governor) == 1
            os.write(copy.fileno(), b"what is written ends nothing")
            assert await count(governor) == 1
            copy.close()
            await until(lambda: len(service.leases) == 0)
            assert await count(governor) == 0

    asyncio.run(main())


def test_a_lease_outlives_the_connection_that_it_was_asked_by(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            async with connect_async(service.path) as other:
                wake_lease = await other.acquire("upload")
            await until(lambda: service.connections == 1)
            assert (await governor.status()).wake_leases == ("upload",)
            wake_lease.close()
            await until(lambda: len(service.leases) == 0)

    asyncio.run(main())


def test_while_the_machine_is_down_an_acquire_waits_and_wakes_it(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        async with governing(place, rig) as (service, governor):
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: rig.entered)
            acquire = asyncio.create_task(governor.acquire("event"))
            await until(lambda: rig.woken)
            assert (await governor.status()).state == "suspended"
            (waits,) = await governor.leases()
            assert (waits.name, waits.granted_ns) == ("event", None)
            assert not acquire.done()
            rig.back(Slept(7_000_000))
            with await acquire:
                assert await suspend == 0.007
                (held,) = await governor.leases()
                assert held.granted_ns is not None
            events = [event.kind for event in service.governor.events]
            assert events.index("slept") < events.index("lease-granted")

    asyncio.run(main())


@pytest.mark.parametrize("how", ["cancelled", "disconnected"])
def test_who_does_not_wait_any_more_is_forgotten(place: Path, how: str) -> None:
    async def main() -> None:
        rig = Rig()
        async with governing(place, rig) as (service, governor):
            other = await connect_async(service.path)
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: rig.entered)
            before = descriptors_open()
            acquire = asyncio.create_task(other.acquire("event"))
            await until(lambda: len(service.leases) == 1)
            if how == "cancelled":
                acquire.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await acquire
            else:
                await other.close()
                with pytest.raises(GovernorGone):
                    await acquire
            await until(lambda: len(service.leases) == 0)
            assert descriptors_open() <= before
            rig.back()
            await suspend
            assert not any(event.kind == "lease-granted" for event in service.governor.events)
            await other.close()

    asyncio.run(main())


def test_it_is_not_granted_before_the_back_end_blocks(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        rig.hold_block = asyncio.Event()
        async with governing(place, rig) as (service, governor):
            acquires = [asyncio.create_task(governor.acquire(name)) for name in ("a", "b")]
            await until(lambda: len(service.leases) == 2)
            assert await count(governor) == 2
            assert not any(task.done() for task in acquires)
            rig.hold_block.set()
            for task in acquires:
                (await task).close()
            await until(lambda: rig.blocks == [True, False])

    asyncio.run(main())


def test_a_back_end_that_fails_to_block_delays_nobody_for_ever(place: Path) -> None:
    class Faulty(Rig):
        async def block(self, held: bool) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        async with governing(place, Faulty()) as (_, governor):
            (await governor.acquire("a")).close()

    asyncio.run(main())


def test_names_are_checked_on_both_sides(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            await governor.status()  # connected for good
            for name in ("", "x" * 65, "a\nb", "\N{SNOWMAN}" * 22):
                with pytest.raises(InvalidArgument):
                    await governor.acquire(name)
                connection = await governor.connect()
                before = descriptors_open()
                with pytest.raises(InvalidArgument):
                    await connection.call(wire.ACQUIRE, wire.Acquire(name), wire.Nothing)
                assert descriptors_open() <= before
            (await governor.acquire("x" * 64)).close()
            with pytest.raises(Unsupported, match="no such method"):
                await connection.call("org.holdfast.wake.Sing", {}, wire.Nothing)

    asyncio.run(main())


def test_the_table_is_bounded(place: Path) -> None:
    async def main() -> None:
        async with governing(place, config=Config(leases_max=2)) as (_, governor):
            held = [await governor.acquire("a"), await governor.acquire("b")]
            before = descriptors_open()
            with pytest.raises(OutOfSpace):
                await governor.acquire("c")
            assert descriptors_open() <= before
            for wake_lease in held:
                wake_lease.close()

    asyncio.run(main())


def test_without_descriptors_an_acquire_fails_and_the_governor_lives(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            assert await count(governor) == 0
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            spare = [os.open(os.devnull, os.O_RDONLY)]
            # Above all that are open: else what is closed here would make no room.
            limit = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                while True:
                    spare.append(os.dup(spare[0]))
            except OSError:
                pass
            try:
                first = await governor.acquire("of the pipe that was made in advance")
                with pytest.raises(OutOfSpace, match="no pipe"):
                    await governor.acquire("x")
                assert await count(governor) == 1
                first.close()
            finally:
                for fd in spare:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            (await governor.acquire("x")).close()

    asyncio.run(main())


def test_a_client_may_bring_the_pipe(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            connection = await governor.connect()

            async def bring(fd: int, name: str = "mine") -> None:
                said = wire.Acquire(name)
                await connection.call(wire.ACQUIRE_WITH_TOKEN, said, wire.Nothing, descriptors=[fd])

            reading, writing = os.pipe()
            await bring(os.dup(reading))
            assert (await governor.status()).wake_leases == ("mine",)
            with pytest.raises(InvalidArgument, match="already"):
                await bring(os.dup(reading))
            # Closed by its holder before it is asked for: nothing to keep, whatever its name.
            dead, gone = os.pipe()
            os.close(gone)
            await bring(dead, name="")
            assert await count(governor) == 1
            for wrong in (os.dup(writing), os.dup(0)):
                with pytest.raises(InvalidArgument, match="read end"):
                    await bring(wrong)
            with pytest.raises(InvalidArgument, match="none did"):
                await connection.call(wire.ACQUIRE_WITH_TOKEN, wire.Acquire("x"), wire.Nothing)
            os.close(writing)
            os.close(reading)
            await until(lambda: len(service.leases) == 0)

    asyncio.run(main())


def test_a_pipe_that_is_closed_while_it_waits_is_answered_and_forgotten(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        async with governing(place, rig) as (service, governor):
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: rig.entered)
            reading, writing = os.pipe()
            connection = await governor.connect()
            bring = asyncio.create_task(
                connection.call(
                    wire.ACQUIRE_WITH_TOKEN,
                    wire.Acquire("mine"),
                    wire.Nothing,
                    descriptors=[reading],
                )
            )
            await until(lambda: len(service.leases) == 1)
            assert not bring.done()
            os.close(writing)
            await bring
            assert len(service.leases) == 0
            rig.back()
            await suspend

    asyncio.run(main())


def test_a_thousand_leases_come_and_go_and_leave_nothing(place: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip(f"only {hard} descriptors may be open here")

    async def main() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
        try:
            async with governing(place) as (service, governor):
                (await governor.acquire("first")).close()
                await until(lambda: len(service.leases) == 0)
                before = descriptors_open()
                held = await asyncio.gather(*(governor.acquire(f"{n}") for n in range(1000)))
                assert await count(governor) == 1000
                assert len(await governor.leases()) == 1000
                for wake_lease in held:
                    wake_lease.close()
                await until(lambda: len(service.leases) == 0)
                assert await count(governor) == 0
                assert descriptors_open() <= before
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    asyncio.run(main())


def test_the_end_of_the_governor_is_noticed_by_all(place: Path) -> None:
    with GovernorThread(place) as thread, connect(thread.path) as governor:
        wake_lease = governor.acquire("upload")
        copy = wake_lease.dup()
        assert not wake_lease.orphaned
        assert not wake_lease.wait_orphaned(0)
        thread.close()
        assert wake_lease.wait_orphaned(PATIENCE_S)
        assert copy.orphaned
        with pytest.raises(GovernorGone):
            governor.status()
        wake_lease.close()
        copy.close()


def test_a_back_end_that_cannot_work_here_says_why(place: Path) -> None:
    async def main() -> None:
        before = descriptors_open()
        with pytest.raises(Unsupported, match="no such machine: rig"):
            async with Service(str(place / "g"), Rig(why_not="no such machine")):
                pass
        assert not (place / "g").exists()
        assert descriptors_open() <= before + 1

    asyncio.run(main())


def test_nobody_is_served_before_the_back_end_is_open(place: Path) -> None:
    class Slow(Rig):
        async def open(self, host: BackendHost) -> None:
            await opened.wait()
            await super().open(host)

        async def block(self, held: bool) -> None:
            assert self.host is not None
            await super().block(held)

    opened = asyncio.Event()

    async def main() -> None:
        service = Service(str(place / "g"), Slow())
        opening = asyncio.create_task(service.open())
        await until((place / "g").exists)
        governor = await connect_async(service.path)
        acquire = asyncio.create_task(governor.acquire("early"))
        await asyncio.sleep(0.05)
        assert not acquire.done()
        assert service.connections == 0
        opened.set()
        (await acquire).close()
        await opening
        await governor.close()
        await service.close()

    asyncio.run(main())


def test_a_back_end_that_cannot_be_opened_is_closed_and_nothing_is_left(place: Path) -> None:
    class Broken(Rig):
        async def open(self, host: BackendHost) -> None:
            raise Unavailable("no bus")

    async def main() -> None:
        broken = Broken()
        with pytest.raises(Unavailable, match="no bus"):
            async with Service(str(place / "g"), broken):
                pass
        assert broken.closed == 1
        assert not (place / "g").exists()

    asyncio.run(main())


def test_a_failing_back_end_is_a_failed_attempt(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        async with governing(place, rig) as (_, governor):
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: rig.entered)
            rig.back(Failed("the button is stuck"))
            await until(lambda: len(rig.entered) == 2)  # tried again, by itself
            status = await governor.status()
            assert (status.failures, status.last_failure) == (1, "the button is stuck")
            assert not suspend.done()
            rig.faults = 1  # of the third; the fourth may come before we look again
            rig.back(Failed("again"))
            await until(lambda: len(rig.entered) == 4)
            assert "ZeroDivisionError" in str((await governor.status()).last_failure)
            rig.back()
            assert await suspend == 0.005

    asyncio.run(main())


def test_its_own_end_while_the_machine_is_down_waits_for_the_back_end(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        async with governing(place, rig) as (service, governor):
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: rig.entered)
            await service.close()
            await service.close()
            assert rig.closed == 1
            with pytest.raises(GovernorGone):
                await suspend

    asyncio.run(main())


def test_what_travels_is_a_message_of_varlink(place: Path) -> None:
    """Nothing but a socket and JSON is needed to hold a wake lease."""
    import json
    import socket

    with GovernorThread(place) as thread, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(thread.path)
        sock.sendall(b'{"method":"org.holdfast.wake.Acquire","parameters":{"name":"plain"}}\0')
        data, fds, _, _ = socket.recv_fds(sock, 1000, 4)
        assert json.loads(data.rstrip(b"\0")) == {"parameters": {}}
        with connect(thread.path) as governor:
            assert governor.status().wake_leases == ("plain",)
        os.close(fds[0])
