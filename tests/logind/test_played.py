"""What no real logind does when asked to: it is old, late, deaf, stingy, or repeats itself."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from holdfast.errors import NotPermitted, Unavailable
from holdfast.wake import Service, connect_async
from holdfast.wake.backends import logind as logind_module
from holdfast.wake.backends.logind import Logind
from holdfast.wake.model import Failed, Slept
from tests.logind.played import PlayedSide
from tests.logind.sides import Host, until, until_locked, until_said

PATIENCE_S = 50.0


def play(main: Callable[[PlayedSide, Logind, Host], Awaitable[None]], **how: object) -> PlayedSide:
    """Run it with a back-end that is open; `how` says what is wrong with logind."""
    side = PlayedSide()
    for name, value in how.items():
        setattr(side, name, value)

    async def bounded() -> None:
        backend, host = side.backend(), Host(side.transcript)
        async with asyncio.timeout(PATIENCE_S):
            try:
                await backend.open(host)
                await main(side, backend, host)
            finally:
                await backend.close()
                side.close()

    asyncio.run(bounded())
    return side


def test_an_old_logind_is_asked_in_the_old_way() -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        assert isinstance(await backend.suspend(1), Slept)

    side = play(main, old=True)
    assert side.asked["Suspend"] == 1


def test_a_lock_let_go_counts_until_logind_has_seen_that() -> None:
    """The real one looks at hang-ups last: a suspend just after a release would be refused."""

    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        await backend.block(held=True)
        await backend.block(held=False)
        side.blind = side.asked.get("ListInhibitors", 0) + 4
        assert isinstance(await backend.suspend(1), Slept)

    side = play(main)
    assert side.asked["ListInhibitors"] == 5
    assert side.asked["SuspendWithFlags"] == 1


def test_a_lock_let_go_that_is_never_seen_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logind_module, "_PAUSES_S", (0.0, 0.001, 0.002))

    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        await backend.block(held=True)
        await backend.block(held=False)
        side.blind = 1 << 30
        outcome = await backend.suspend(1)
        assert isinstance(outcome, Failed)
        assert "our own block lock" in outcome.sentence
        assert "SuspendWithFlags" not in side.asked

    play(main)


def test_many_short_wake_leases_cost_one_lock() -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        before = side.asked["Inhibit"]
        for _ in range(100):
            await backend.block(held=True)
            await backend.block(held=False)
        assert side.asked["Inhibit"] == before + 1
        await until_locked(side, "delay")  # and it does not stay

    play(main)


def test_a_yes_that_nothing_follows_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logind_module, "_BEGIN_S", 0.05)

    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        outcome = await backend.suspend(1)
        assert isinstance(outcome, Failed)
        assert "has not begun" in outcome.sentence
        side.deaf = False
        assert isinstance(await backend.suspend(2), Slept)

    play(main, deaf=True)


def test_signals_that_come_twice_are_told_once() -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        assert isinstance(await backend.suspend(1), Slept)
        await side.suspend()
        await until_said(side, "host: sleep begins")
        backend.ready_for_sleep()
        await until_said(side, "host: sleep ended")
        assert isinstance(await backend.suspend(2), Slept)
        assert side.transcript.count("host: sleep begins") == 1
        assert len(host.outcomes) == 1

    play(main, twice=True)


def test_without_a_block_lock_a_wake_lease_is_granted_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        side.stingy = {"block"}
        await backend.block(held=True)
        assert backend.trouble == (
            "logind gives no block lock on sleep: Permission denied "
            f"(org.freedesktop.DBus.Error.AccessDenied): user {os.geteuid()} needs the permission "
            "org.freedesktop.login1.inhibit-block-sleep, see polkit(8)"
        )
        side.stingy = set()
        await until(lambda: backend.trouble is None, "the end of the trouble")
        await until_locked(side, "block", "delay")

    with caplog.at_level(logging.WARNING, "holdfast.wake"):
        play(main)
    assert len([said for said in caplog.messages if said.startswith("logind gives no")]) == 1


def test_who_asks_the_governor_why_hears_that_a_lock_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Logind, "available", lambda _: None)  # it would ask the real logind
    side = PlayedSide()

    async def main() -> None:
        path = str(tmp_path / "g")
        async with (
            asyncio.timeout(PATIENCE_S),
            Service(path, side.backend()),
            connect_async(path) as governor,
        ):
            side.stingy = {"block"}
            with await governor.acquire("upload"):  # with the delay, and no more
                trouble = (await governor.status()).trouble
                assert trouble is not None
                assert trouble.startswith("logind gives no block lock on sleep: Permission denied")
                assert f"The back-end logind is in trouble: {trouble}." in await governor.why()
                side.stingy = set()
                await until_locked(side, "block", "delay")  # though nobody asked for it again
                while (await governor.status()).trouble:  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.002)
                assert "trouble" not in await governor.why()

    try:
        asyncio.run(main())
    finally:
        side.close()


def test_a_lock_that_is_refused_is_trouble_until_it_is_given_and_is_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        side.stingy = {"block"}
        for number in range(3):
            await backend.block(held=True)
            await backend.block(held=False)
            assert isinstance(await backend.suspend(number), Slept)
            await until_locked(side, "delay")  # all is there that is wanted now
        assert "gives no block lock" in str(backend.trouble)
        assert not [said for said in caplog.messages if said.startswith("it is over")]
        side.stingy = set()
        await backend.block(held=True)
        await until(lambda: backend.trouble is None, "the end of the trouble")

    with caplog.at_level(logging.WARNING, "holdfast.wake"):
        play(main)
    assert len([said for said in caplog.messages if said.startswith("logind gives no")]) == 1


def test_what_a_logind_has_refused_that_has_ended_is_no_trouble_any_more() -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        side.stingy = {"block"}
        await backend.block(held=True)
        await backend.block(held=False)
        assert "gives no block lock" in str(backend.trouble)
        await side.end_logind()
        await side.begin_logind()
        await until(lambda: backend.trouble is None, "the end of the trouble")

    play(main)


def test_a_lock_that_is_refused_because_a_sleep_begins_just_then_comes_after_it_and_is_no_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        side.before_answer["Inhibit"] = side.wish_to_sleep
        side.stay_down()
        await backend.block(held=True)
        assert backend.trouble is None
        backend.ready_for_sleep()
        await until_said(side, "StartUnit suspend.target")
        side.come_up()
        await until_locked(side, "block", "delay")

    with caplog.at_level(logging.WARNING, "holdfast.wake"):
        play(main)
    assert caplog.messages == []


def test_a_sleep_that_begins_while_the_back_end_is_opened_is_only_waited_for() -> None:
    side = PlayedSide()
    side.before_answer["Inhibit"] = side.wish_to_sleep

    async def main() -> None:
        backend = side.backend()
        async with asyncio.timeout(PATIENCE_S):
            try:
                await backend.open(Host(side.transcript))
                assert side.transcript.lines[:2] == ["PrepareForSleep True", "host: sleep begins"]
                backend.ready_for_sleep()
                await until_locked(side, "delay")
                assert isinstance(await backend.suspend(1), Slept)
            finally:
                await backend.close()
                side.close()

    asyncio.run(main())


def test_several_locks_that_are_refused_again_and_again_are_told_once_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        side.stingy = {"delay", "block"}
        await backend.block(held=True)
        await side.end_logind()
        await side.begin_logind()  # knows of no lock
        asked = side.asked["Inhibit"]
        await until(lambda: side.asked["Inhibit"] > asked + 9, "another question for each")

    with caplog.at_level(logging.WARNING, "holdfast.wake"):
        play(main)
    said = [said.split(":")[0] for said in caplog.messages if said.startswith("logind gives no")]
    locks = ("block lock on sleep", "delay lock on shutdown", "delay lock on sleep")
    assert sorted(said) == [f"logind gives no {lock}" for lock in locks]


def test_a_sleep_of_others_that_begins_as_we_ask_is_ours() -> None:
    """Their listeners are ours, too, and were asked: nobody has to be told."""

    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        side.before_answer["SuspendWithFlags"] = side.wish_to_sleep
        assert isinstance(await backend.suspend(1), Slept)
        assert "host: sleep begins" not in side.transcript.lines

    play(main)


def test_a_bus_that_is_lost_again_while_we_come_back_is_joined_once() -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        await side.end_bus()
        await side.begin_bus()
        side.fragile = 3
        await until(lambda: backend.trouble is None, "the end of the trouble")
        await until_locked(side, "delay")
        assert side.fragile == 0
        assert len([each for each in side.connections if each.open]) == 1

    play(main)


def test_no_delay_lock_no_back_end() -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None: ...

    with pytest.raises(NotPermitted, match=r"permit org\.freedesktop\.login1\.inhibit-delay-sleep"):
        play(main, stingy={"delay"})


def test_no_logind_no_back_end() -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None: ...

    with pytest.raises(Unavailable, match="is systemd-logind running"):
        play(main, owner="")


def test_closing_ends_a_suspend() -> None:
    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        side.stay_down()
        going = asyncio.create_task(backend.suspend(1))
        await until_said(side, "StartUnit suspend.target")
        await backend.close()
        assert await going == Failed("the back-end was closed")

    play(main)


def test_every_descriptor_is_given_back() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main(side: PlayedSide, backend: Logind, host: Host) -> None:
        for number in range(5):
            await backend.block(held=True)
            await side.end_logind()
            await side.begin_logind()
            await until(lambda: backend.trouble is None, "the end of the trouble")
            await backend.block(held=False)
            assert isinstance(await backend.suspend(number), Slept)

    play(main)
    before = descriptors()
    play(main)
    assert descriptors() <= before  # what others have left is collected at any time
