"""Who stops one attempt after the other is named, and who does it now and then is not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from holdfast.errors import SuspendAborted
from holdfast.wake import Config, MessageChannel, MessageSource, SequenceClient, SequenceServer
from holdfast.wake.model import Phase
from holdfast.wake.saboteurs import in_a_sentence, saboteurs
from tests.unit.wake.governors import governing
from tests.unit.wake.stage import SECOND, Stage
from tests.unit.wake.strategies.small import until
from tests.unit.wake.strategies.test_sequence_server import on_a_loop


def story(*attempts: str) -> Stage:
    """An attempt for each text: what was acquired in it, or "" for one that succeeded."""
    stage = Stage(backoff_ns=1, backoff_max_ns=1)
    stage.listen("l", timeout=5)
    for saboteur in attempts:
        stage.suspend()
        if saboteur == "late":
            stage.wait(5)
        else:
            if saboteur:
                stage.acquire(saboteur, by="head.py")
            stage.answer("l")
        if stage.state == "suspended":
            stage.done("broken" if saboteur == "fails" else 1.0)
        stage.answer("l")
        stage.withdraw()
        if saboteur not in {"", "late"}:
            stage.close(saboteur)
        stage.wait(1)
    return stage


def told(stage: Stage, holders: dict[int, str] | None = None) -> list[str]:
    return [in_a_sentence(each, holders or {}) for each in saboteurs(stage.governor.attempts)]


def test_who_takes_a_wake_lease_in_each_attempt_is_named_with_the_count() -> None:
    assert told(story(*["packets"] * 8)) == [
        "head.py (42) has taken the wake lease packets in 8 of the last 8 attempts."
    ]


def test_only_the_last_attempts_count_and_several_are_told_the_worst_first() -> None:
    stage = story(*[""] * 9, *["packets", "late", "packets", "packets"] * 2)
    assert told(stage) == [
        "head.py (42) has taken the wake lease packets in 6 of the last 8 attempts."
    ]
    stage = story(*["late"] * 8)
    assert told(stage) == ["Listener l did not answer in time in 8 of the last 8 attempts."]


@pytest.mark.parametrize(
    "attempts",
    [
        ["packets"] * 2,
        ["packets", ""] * 8,  # what wake leases are for: the next attempt goes down
        ["a", "b", "c"] * 3,
        [""] * 8,
        [],
    ],
)
def test_who_does_it_now_and_then_is_no_saboteur(attempts: list[str]) -> None:
    assert told(story(*attempts)) == []


def test_an_attempt_that_goes_on_and_one_that_nobody_wants_are_not_counted() -> None:
    stage = story(*["packets"] * 3)
    for _ in range(8):
        stage.suspend()
        stage.withdraw()
        stage.answer("l")
        stage.answer("l")
        stage.wait(1)
    stage.suspend()
    assert [(each.times, each.of) for each in saboteurs(stage.governor.attempts)] == [(3, 3)]


def test_a_back_end_that_fails_and_a_machine_that_does_not_wait_are_told_as_well() -> None:
    stage = Stage(backoff_ns=1, backoff_max_ns=SECOND)
    stage.suspend()
    for _ in range(4):
        stage.wait(2)
        stage.done("no space")
    assert told(stage) == ["The back-end failed in 4 of the last 4 attempts."]
    stage = Stage()
    stage.listen("l")
    for _ in range(3):
        stage.sleep_begins()
        stage.sleep_ended()
        stage.answer("l")
        stage.answer("l")
    assert told(stage) == ["In 3 of the last 3 attempts the machine did not wait for listener l."]


def test_who_was_the_last_to_hold_it_is_told() -> None:
    stage = story(*["packets"] * 4)
    [found] = saboteurs(stage.governor.attempts)
    assert len(found.leases) == 4
    holders = dict.fromkeys(found.leases, "pid 812 (c)")
    assert told(stage, holders)[0].endswith("; pid 812 (c) was the last to hold it, each time.")
    holders[found.leases[0]] = ""
    assert told(stage, holders)[0].endswith("; pid 812 (c) was the last to hold it, 3 times.")


@on_a_loop
async def test_a_pipeline_that_keeps_the_machine_up_is_named_with_its_head_and_its_client(
    place: Path,
) -> None:
    quick = Config(backoff_ns=1, backoff_max_ns=1)
    async with governing(place, config=quick) as (service, governor):
        server = SequenceServer(governor, name="packets")
        running = server.manage()[1]
        await server.ready()
        with MessageSource(str(place / "s"), server) as source:
            channel = await MessageChannel.connect(source.path, reporter=governor)
            client = SequenceClient(channel)
            asking = client.run()
            await source.wait_clients()
            for _ in range(4):
                await source.send(b"event")
                with pytest.raises(SuspendAborted):
                    await governor.suspend(0)
                await until(lambda: client.holding)
                await governor.status()
                client.process_message()
                await until(lambda: not len(service.leases))
                await until(lambda: service.governor.status().state is Phase.AWAKE)
            told = (await governor.why()).splitlines()[-1]
            assert f"({os.getpid()}) has taken the wake lease packets in 4 of the last 4" in told
            assert f"; pid {os.getpid()} (" in told
            assert told.endswith("was the last to hold it, each time.")
            [stopper] = (await governor.reasons()).stoppers
            assert (stopper.cause, stopper.name) == ("wake_lease", "packets")
            assert (stopper.times, stopper.of) == (4, 4)
            client.close()
            await channel.close()
            await asyncio.gather(asking, return_exceptions=True)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
