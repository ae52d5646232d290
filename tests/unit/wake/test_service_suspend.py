"""Suspends of a real service: requests, listeners, and what can be seen."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InvalidArgument, OutOfSpace, SuspendAborted
from holdfast.ipc.messages import encode_call
from holdfast.wake import Config, WakeLease, connect_async, wire
from holdfast.wake.model import Slept
from tests.unit.ipc.places import until
from tests.unit.wake.governors import Rig, governing


def test_a_suspend_waits_for_the_last_lease_and_returns_after_the_resume(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            wake_lease = await governor.acquire("upload")
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: service.governor.status().requests == 1)
            assert not suspend.done()
            wake_lease.close()
            assert await suspend > 0
            status = await governor.status()
            assert (status.state, status.suspends, status.requests) == ("awake", 1, 0)
            assert status.last_sleep == status.total_sleep > 0

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_at_its_time_out_it_names_the_blockers(place: Path, timeout: float) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            with await governor.acquire("upload"), await governor.acquire("backup"):
                with pytest.raises(SuspendAborted) as caught:
                    await governor.suspend(timeout)
                assert caught.value.blockers == ("upload", "backup")
                assert (await governor.status()).requests == 0

    asyncio.run(main())


@pytest.mark.parametrize("how", ["cancelled", "disconnected"])
def test_who_goes_withdraws_his_request(place: Path, how: str) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            wake_lease = await governor.acquire("upload")
            other = await connect_async(service.path)
            suspend = asyncio.create_task(other.suspend())
            await until(lambda: service.governor.status().requests == 1)
            if how == "cancelled":
                suspend.cancel()
            else:
                await other.close()
            await until(lambda: service.governor.status().requests == 0)
            await asyncio.gather(suspend, return_exceptions=True)
            wake_lease.close()
            await until(lambda: len(service.leases) == 0)
            assert (await governor.status()).suspends == 0
            assert service.clients.requests == {}
            await other.close()

    asyncio.run(main())


def test_a_negative_time_out_is_refused(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            with pytest.raises(InvalidArgument):
                await governor.suspend(-1)
            connection = await governor.connect()
            with pytest.raises(InvalidArgument, match="negative"):
                await connection.call(wire.SUSPEND, {"timeout_ns": -1}, wire.Slept)

    asyncio.run(main())


def test_what_needs_an_answer_cannot_be_asked_for_without(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            with await governor.acquire("upload"):
                connection = await governor.connect()
                for method in (wire.SUSPEND, wire.WATCH, wire.ACQUIRE):
                    frame = encode_call(method, {"name": "x"}, more=True, oneway=True)
                    connection.send(frame)
                status = await governor.status()
                assert (status.requests, status.wake_lease_count) == (0, 1)
                assert not service.watchers

    asyncio.run(main())


# -- listeners ------------------------------------------------------------------------------------


class Diary:
    """Two callbacks, and what became of them."""

    def __init__(self, *, hold: bool = False) -> None:
        self.said: list[str] = []
        self.go = asyncio.Event()
        if not hold:
            self.go.set()

    async def before(self) -> None:
        self.said.append("before")
        await self.go.wait()
        self.said.append("ready")

    async def after(self) -> None:
        self.said.append("after")


def test_a_listener_is_called_before_and_after(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            diary = Diary(hold=True)
            listener = await governor.listen(diary.before, diary.after, name="diary")
            assert (await governor.status()).listeners == ("diary",)
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: diary.said == ["before"])
            assert (await governor.status()).state == "suspending"
            assert not suspend.done()
            diary.go.set()
            await suspend
            assert diary.said == ["before", "ready", "after"]
            listener.close()
            listener.close()
            await listener.wait_closed()
            assert (listener.closed, listener.gone) == (True, False)
            await governor.suspend()
            assert diary.said == ["before", "ready", "after"]
            assert (await governor.status()).listeners == ()

    asyncio.run(main())


def test_a_lease_acquired_in_before_suspend_prevents_it(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            held: list[WakeLease] = []

            async def before() -> None:
                if not held:
                    held.extend([await governor.acquire(f"{n}") for n in range(10)])
                    with pytest.raises(InvalidArgument, match="callback"):
                        await governor.application_activity("here")

            diary = Diary()
            async with connect_async(service.path) as other:
                await governor.listen(before, diary.after)
                suspend = asyncio.create_task(other.suspend())
                await until(lambda: diary.said == ["after"])
                assert (await other.status()).suspends == 0
                for wake_lease in held:
                    wake_lease.close()
                assert await suspend > 0

    asyncio.run(main())


def test_a_before_suspend_that_raises_keeps_the_machine_up(place: Path) -> None:
    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with governing(place) as (service, governor):
            faults = [ZeroDivisionError("first")]

            async def before() -> None:
                if faults:
                    raise faults.pop()

            async def after() -> None:
                raise ZeroDivisionError("after")

            await governor.listen(before, after, name="n" * 64)
            await governor.suspend()
            attempts = service.governor.attempts
            assert [attempt.entered_ns is None for attempt in attempts] == [True, False]
            (blocker,) = attempts[0].blockers
            assert blocker.name == "n" * 57 + " failed"
            assert [str(context["exception"]) for context in told] == ["first", "after", "after"]
            await until(lambda: len(service.leases) == 0)

    asyncio.run(main())


def test_a_listener_out_of_time_may_be_evicted(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            diary = Diary(hold=True)
            listener = await governor.listen(
                diary.before, diary.after, name="slow", timeout=0.02, on_timeout="evict"
            )
            assert await governor.suspend() > 0
            await listener.wait_closed()
            assert "evicted" in listener.reason
            assert (await governor.status()).listeners == ()

    asyncio.run(main())


def test_who_is_out_of_time_is_told_of_the_resume_when_that_has_come(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            diary = Diary(hold=True)
            await governor.listen(diary.before, diary.after, timeout=0.02, on_timeout="go_on")
            assert await governor.suspend() > 0
            # That call has its time-out, too: who asked may hear first that it is over.
            await until(lambda: "after" in diary.said)
            diary.go.set()
            await governor.status()
            assert diary.said == ["before", "after"]  # and never "ready": it was cancelled

    asyncio.run(main())


def test_a_listener_that_dies_has_answered(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            other = await connect_async(service.path)
            diary = Diary(hold=True)
            listener = await other.listen(diary.before, diary.after)
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: diary.said == ["before"])
            await other.close()
            assert await suspend > 0
            assert (listener.closed, listener.gone) == (True, True)
            assert (await governor.status()).listeners == ()
            assert service.governor.attempts[-1].calls[0].ending is not None
            assert service.governor.attempts[-1].calls[0].ending.value == "gone"

    asyncio.run(main())


def test_one_that_registers_during_the_calls_waits_for_the_next(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            first, second = Diary(hold=True), Diary()
            await governor.listen(first.before, first.after, name="a")
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: first.said == ["before"])
            await governor.listen(second.before, second.after, name="b")
            first.go.set()
            await suspend
            assert second.said == []
            await governor.suspend()
            assert second.said == ["before", "ready", "after"]

    asyncio.run(main())


def test_what_cannot_be_called_is_refused(place: Path) -> None:
    async def main() -> None:
        async with governing(place, config=Config(listeners_max=1)) as (_, governor):
            with pytest.raises(InvalidArgument, match="coroutine function"):
                await governor.listen(lambda: None, None)  # type: ignore[arg-type,return-value]
            with pytest.raises(InvalidArgument):
                await governor.listen(None, None, name="\n")
            with pytest.raises(ValueError, match="sing"):
                await governor.listen(None, None, on_timeout="sing")  # type: ignore[arg-type]
            await governor.listen(None, None)
            with pytest.raises(OutOfSpace):
                await governor.listen(None, None)
            assert await governor.suspend() > 0

    asyncio.run(main())


def test_a_listen_that_is_cancelled_is_none(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            await governor.status()
            for turns in range(6):
                task = asyncio.create_task(governor.listen(None, None))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                listened = (await asyncio.gather(task, return_exceptions=True))[0]
                if not isinstance(listened, BaseException):
                    listened.close()
            await until(lambda: service.governor.status().listeners == ())

    asyncio.run(main())


def test_the_end_of_the_governor_closes_listeners(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            listener = await governor.listen(None, None)
            await service.close()
            await listener.wait_closed()
            assert listener.gone

    asyncio.run(main())


# -- what the machine does of itself --------------------------------------------------------------


def test_a_machine_that_goes_down_of_itself_is_let_go_when_all_have_answered(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        async with governing(place, rig) as (service, governor):
            assert rig.host is not None
            diary = Diary(hold=True)
            await governor.listen(diary.before, diary.after)
            rig.host.sleep_begins()
            await until(lambda: diary.said == ["before"])
            assert rig.said == []
            diary.go.set()
            await until(lambda: rig.said == ["ready for sleep"])
            rig.host.sleep_ended(Slept(3))
            await until(lambda: diary.said == ["before", "ready", "after"])
            rig.host.shutdown_begins()
            await until(lambda: rig.said == ["ready for sleep", "ready for shutdown"])
            assert (await governor.status()).state == "stopping"
            rig.host.shutdown_ended()
            await until(lambda: service.governor.status().state.value == "awake")

    asyncio.run(main())


def test_timers_fire_in_the_service(place: Path) -> None:
    async def main() -> None:
        config = Config(auto=True, linger_ns=1_000_000)
        async with governing(place, config=config) as (service, governor):
            await until(lambda: service.governor.status().suspends >= 3, "three suspends")
            assert (await governor.status()).suspends >= 3

    asyncio.run(main())


# -- what can be seen -----------------------------------------------------------------------------


def test_the_list_and_the_reasons_say_who_holds_what(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (_, governor):
            assert "nobody has asked" in await governor.why()
            with await governor.acquire("upload", unmonitored=True) as wake_lease:
                (listed,) = await governor.leases()
                assert listed.name == "upload"
                assert listed.kind == "unmonitored"
                assert listed.inode == wake_lease.inode
                assert (listed.pid, listed.uid) == (os.getpid(), os.geteuid())
                assert listed.command
                assert listed.granted_ns is not None
                assert listed.asked_ns <= listed.granted_ns
                answers = await asyncio.gather(governor.why(), governor.why())
                one, other = (re.sub(r"[\d.]+ m?s ago", "", answer) for answer in answers)
                assert one == other
                assert "upload" in answers[0]
                assert str(os.getpid()) in answers[0]

    asyncio.run(main())


def test_a_hop_that_was_told_is_in_the_reasons(place: Path) -> None:
    import socket

    from holdfast.wake import receive_async, send_async

    async def main() -> None:
        async with governing(place) as (service, governor):
            near, far = socket.socketpair()
            with near, far:
                near.settimeout(0)
                far.settimeout(0)
                with await governor.acquire("upload") as wake_lease:
                    await send_async(near, b"event", wake_lease, index=812)
                assert "nobody has received" in await governor.why()
                data, baton = await receive_async(far, governor=governor)
                assert data == b"event"
                assert baton is not None
                with baton:
                    assert "812" in await governor.why()
                await until(lambda: len(service.leases) == 0)

    asyncio.run(main())


def test_a_back_end_in_trouble_is_told_of(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        async with governing(place, rig) as (_, governor):
            assert "trouble" not in await governor.why()
            rig.trouble = "the bus is gone"
            assert "The back-end rig is in trouble: the bus is gone." in await governor.why()

    asyncio.run(main())


@pytest.mark.parametrize(("timeout", "told"), [(6, True), (5, False), (None, False)])
def test_a_listener_that_may_outlast_the_machines_patience_is_told_of(
    place: Path, caplog: pytest.LogCaptureFixture, timeout: float | None, told: bool
) -> None:
    """A machine that goes down of itself does not wait for ever: logind.conf(5)."""

    async def nothing() -> None:
        pass

    async def main() -> None:
        rig = Rig()
        rig.delay_budget_ns = 5 * 10**9
        async with governing(place, rig) as (_, governor):
            with caplog.at_level("WARNING", "holdfast.wake"):
                listener = await governor.listen(nothing, nothing, name="db", timeout=timeout)
                listener.close()
            assert ("may take 6 s, but" in caplog.text) is told

    asyncio.run(main())


def test_what_the_machine_does_after_the_end_is_of_no_interest(place: Path) -> None:
    """A signal that was on its way may come when the back-end is closed."""

    async def main() -> None:
        rig = Rig()
        async with governing(place, rig):
            host = rig.host
        assert host is not None
        host.sleep_begins()
        host.shutdown_begins()
        assert rig.said == []

    asyncio.run(main())
