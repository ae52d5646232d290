"""The back-end "command": drained, then a command is run or the governor ends."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from holdfast.errors import InvalidArgument
from holdfast.wake.backends import Backend
from holdfast.wake.backends import command as command_module
from holdfast.wake.backends.command import Command
from holdfast.wake.model import Failed, Slept

PATIENCE_S = 50.0


class Host:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def sleep_begins(self) -> None:
        self.told.append("sleep begins")

    def sleep_ended(self, outcome: Slept | Failed) -> None:
        self.told.append("sleep ended")

    def shutdown_begins(self) -> None:
        self.told.append("shutdown begins")

    def shutdown_ended(self) -> None:
        self.told.append("shutdown ended")


def play(backend: Command, main: Callable[[Command, Host], Awaitable[None]]) -> None:
    checked: Backend = backend

    async def bounded() -> None:
        host = Host()
        async with asyncio.timeout(PATIENCE_S):
            await checked.open(host)
            try:
                await main(backend, host)
            finally:
                await checked.close()
                await checked.close()

    asyncio.run(bounded())


def outcome_of(*words: str, timeout: float | None = None) -> Slept | Failed:
    found: list[Slept | Failed] = []

    async def main(backend: Command, host: Host) -> None:
        found.append(await backend.suspend(1))
        assert host.told == []

    play(Command(words, timeout=timeout), main)
    return found[0]


async def until_written(path: Path) -> None:
    while not path.exists() or not path.read_text():  # noqa: ASYNC110 - another process does it
        await asyncio.sleep(0.002)


def test_a_command_that_ends_well_was_a_sleep() -> None:
    before_ns = time.monotonic_ns()
    outcome = outcome_of("sh", "-c", "sleep 0.05")
    assert isinstance(outcome, Slept)
    assert 50_000_000 <= outcome.duration_ns <= time.monotonic_ns() - before_ns
    assert outcome.reason == "`sh -c 'sleep 0.05'` has ended"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "`sh -c 'exit 3'` ended with exit code 3"),
        ("kill -INT $$", "`sh -c 'kill -INT $$'` was ended by SIGINT"),
    ],
)
def test_a_command_that_ends_badly_was_none(script: str, words: str) -> None:
    assert outcome_of("sh", "-c", script) == Failed(words)


def test_a_command_that_is_not_there() -> None:
    backend = Command(["no-such-command-here"])
    assert backend.available() == "there is no command no-such-command-here here; see PATH"
    outcome = outcome_of("no-such-command-here")
    assert isinstance(outcome, Failed)
    assert "cannot be started" in outcome.sentence


def test_what_can_be_run_can_work_here() -> None:
    assert Command(["sh"]).available() is None
    assert Command().available() is None


@pytest.mark.parametrize("argv", ["", "sh", []])
def test_what_is_no_command(argv: str | list[str]) -> None:
    with pytest.raises(InvalidArgument, match="sequence of words"):
        Command(argv)


def test_a_command_does_not_wait_for_input() -> None:
    assert isinstance(outcome_of("cat"), Slept)


def test_a_command_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    outcome = outcome_of("sleep", "1000", timeout=0.05)
    assert outcome == Failed("`sleep 1000` was ended by SIGTERM and had not ended in 0.05 s")


def test_a_command_that_ignores_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_module, "GRACE_S", 0.05)
    said = tmp_path / "said"
    script = f"trap '' TERM; echo begun > {said}; while :; do sleep 0.01; done"

    async def main(backend: Command, host: Host) -> None:
        going = asyncio.create_task(backend.suspend(1))
        await until_written(said)
        await backend.close()
        outcome = await going
        assert isinstance(outcome, Failed)
        assert "was ended by SIGKILL" in outcome.sentence

    play(Command(["sh", "-c", script]), main)


def test_who_asks_for_a_wake_lease_stops_the_command(tmp_path: Path) -> None:
    said = tmp_path / "said"

    async def main(backend: Command, host: Host) -> None:
        going = asyncio.create_task(backend.suspend(7))
        await until_written(said)
        backend.wake(7)
        outcome = await going
        assert isinstance(outcome, Failed)
        assert outcome.sentence.endswith("was ended by SIGTERM; somebody asked for a wake lease")

    # Its children, too: SIGTERM goes to all of its group.
    play(Command(["sh", "-c", f"echo begun > {said}; sleep 1000"]), main)


def test_who_asked_in_an_attempt_that_is_over_does_not_stop_the_command(tmp_path: Path) -> None:
    said, go = tmp_path / "said", tmp_path / "go"

    async def main(backend: Command, host: Host) -> None:
        going = asyncio.create_task(backend.suspend(7))
        await until_written(said)
        backend.wake(6)
        go.write_text("go")
        assert isinstance(await going, Slept)

    script = f"echo begun > {said}; while ! test -s {go}; do sleep 0.01; done"
    play(Command(["sh", "-c", script]), main)


def test_a_command_may_end_in_its_own_time(tmp_path: Path) -> None:
    said = tmp_path / "said"
    script = f"trap 'exit 0' TERM; echo begun > {said}; while :; do sleep 0.01; done"

    async def main(backend: Command, host: Host) -> None:
        going = asyncio.create_task(backend.suspend(7))
        await until_written(said)
        backend.wake(7)
        assert isinstance(await going, Slept)

    play(Command(["sh", "-c", script]), main)


def test_who_asks_before_the_command_began_keeps_it_from_beginning(tmp_path: Path) -> None:
    said = tmp_path / "said"

    async def main(backend: Command, host: Host) -> None:
        backend.wake(7)
        outcome = await backend.suspend(7)
        assert isinstance(outcome, Failed)
        assert "before the command began" in outcome.sentence
        assert not said.exists()
        assert isinstance(await backend.suspend(8), Slept)
        assert said.exists()

    play(Command(["touch", str(said)]), main)


def test_closing_stops_the_command(tmp_path: Path) -> None:
    said = tmp_path / "said"

    async def main(backend: Command, host: Host) -> None:
        going = asyncio.create_task(backend.suspend(1))
        await until_written(said)
        await backend.close()
        assert isinstance(await going, Failed)
        with pytest.raises(ProcessLookupError):
            os.killpg(int(said.read_text()), 0)
        assert await backend.suspend(2) == Failed("the back-end is closed")

    play(Command(["sh", "-c", f"echo $$ > {said}; exec sleep 1000"]), main)


def test_without_a_command_the_governor_ends_once_it_is_ready() -> None:
    ended: list[str] = []

    async def main(backend: Command, host: Host) -> None:
        outcome = await backend.suspend(1)
        assert outcome == Slept(0, "drained")
        assert host.told == ["shutdown begins"]  # before the outcome: nobody resumes
        assert ended == []
        backend.ready_for_shutdown()
        assert ended == []  # the answer to who asked goes out first
        await asyncio.sleep(0)
        assert ended == ["end"]

    play(Command(end=lambda: ended.append("end")), main)


def test_by_default_it_ends_by_sigterm() -> None:
    async def main(backend: Command, host: Host) -> None:
        caught = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, caught.set)
        await backend.suspend(1)
        backend.ready_for_shutdown()
        await caught.wait()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    play(Command(), main)
