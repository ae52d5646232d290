"""Two machines that the same tests go through: a real logind, and one that is played in process.

The real one shows that we read logind aright. The played one is there on every machine, and can do
what no real logind does when it is asked to: be late, contradict itself, know of no new method.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from holdfast.wake.backends.logind import Logind
from holdfast.wake.model import Failed, Slept
from tests.logind.machine import Machine
from tests.logind.systemd1 import Transcript

PATIENCE_S = 30.0
SLEEP_NS = 1_000_000_000
_NO_PASSWORD = False
Lock = tuple[str, str, str]  # what, who, mode
OURS = {
    "delay": [("sleep", "delay"), ("shutdown", "delay")],
    "shutdown": [("shutdown", "delay")],
    "block": [("sleep", "block")],
}


class SleepClock:
    """A clock that says that a machine slept which has not."""

    def __init__(self) -> None:
        self.slept_ns = 0

    def boottime_ns(self) -> int:
        return time.monotonic_ns() + self.slept_ns

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def realtime_ns(self) -> int:
        return time.time_ns()

    def sleep(self) -> None:
        self.slept_ns += SLEEP_NS


class Host:
    """A host that writes down what it is told."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.outcomes: list[Slept | Failed] = []

    def sleep_begins(self) -> None:
        self.transcript.say("host: sleep begins")

    def sleep_ended(self, outcome: Slept | Failed) -> None:
        self.outcomes.append(outcome)
        self.transcript.say("host: sleep ended")

    def shutdown_begins(self) -> None:
        self.transcript.say("host: shutdown begins")

    def shutdown_ended(self) -> None:
        self.transcript.say("host: shutdown ended")


class Side(Protocol):
    """A machine with a logind, and others who use it."""

    transcript: Transcript
    clock: SleepClock

    def backend(self) -> Logind: ...
    def stay_down(self) -> None:
        """The next sleep lasts until `come_up`."""

    def come_up(self) -> None: ...
    def refuse_to_sleep(self) -> None:
        """From now on the machine comes back from each sleep without having slept."""

    async def suspend(self) -> None:
        """Somebody else asks logind; a no is a RuntimeError with the name of the error."""

    async def suspend_unprivileged(self) -> None:
        """The same by somebody who may suspend, and may not pass over a block."""

    async def power_off(self) -> None: ...
    async def locks(self) -> list[Lock]: ...
    def blocking(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Somebody else has a block lock on sleep, in the name of ``backup``."""

    async def forge(self, member: str) -> None:
        """Somebody who is not logind sends this signal of logind's to everybody."""

    def freeze_logind(self) -> None:
        """It answers nobody until `thaw_logind`."""

    def thaw_logind(self) -> None: ...
    async def end_logind(self) -> None: ...
    async def begin_logind(self) -> None: ...
    async def end_bus(self) -> None: ...
    async def begin_bus(self) -> None: ...


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} has not come about"
        await asyncio.sleep(0.002)


async def until_said(side: Side, line: str, times: int = 1) -> None:
    await until(lambda: side.transcript.count(line) >= times, f"{line!r}, {times} times")


async def until_locked(side: Side, *names: str) -> None:
    """Wait until we have these locks, and no others."""
    wanted = sorted(lock for name in names for lock in OURS[name])
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = sorted((what, mode) for what, who, mode in await side.locks() if who == "holdfast")
        if found == wanted:
            return
        assert time.monotonic() < deadline, f"locks are {found}, not {wanted}"
        await asyncio.sleep(0.002)


async def until_nobody_blocks(side: Side) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while [who for _, who, mode in await side.locks() if mode == "block"]:
        assert time.monotonic() < deadline, "somebody still blocks"
        await asyncio.sleep(0.002)


def suspend_as_nobody(machine: Machine) -> subprocess.CompletedProcess[str]:
    """Ask logind as somebody who is not root."""
    words = ["busctl", f"--address={machine.address}", "call", "org.freedesktop.login1"]
    words += ["/org/freedesktop/login1", "org.freedesktop.login1.Manager", "Suspend", "b", "false"]
    return subprocess.run(
        words,
        user=pwd.getpwnam("nobody").pw_uid,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


class RealSide:
    """A real logind."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.transcript = machine.systemd.transcript
        self.clock = SleepClock()
        machine.systemd.on_sleep = self.clock.sleep

    def backend(self) -> Logind:
        return Logind(address=self._machine.address, clock=self.clock)

    def stay_down(self) -> None:
        self._machine.systemd.awake.clear()

    def come_up(self) -> None:
        self._machine.systemd.awake.set()

    def refuse_to_sleep(self) -> None:
        self._machine.systemd.result = "failed"

    async def suspend(self) -> None:
        await asyncio.to_thread(self._machine.systemd.call, "Suspend", "b", _NO_PASSWORD)

    async def suspend_unprivileged(self) -> None:
        """PolicyKit decides about who is not root, and our stand-in plays it."""
        self._machine.systemd.permitted = {"org.freedesktop.login1.suspend"}
        done = await asyncio.to_thread(suspend_as_nobody, self._machine)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    async def power_off(self) -> None:
        await asyncio.to_thread(self._machine.systemd.call, "PowerOff", "b", _NO_PASSWORD)

    async def locks(self) -> list[Lock]:
        (found,) = await asyncio.to_thread(self._machine.systemd.call, "ListInhibitors")
        return [(what, who, mode) for what, who, _, mode, _, _ in found]

    @contextlib.asynccontextmanager
    async def blocking(self) -> AsyncIterator[None]:
        words = ["systemd-inhibit", "--what=sleep", "--mode=block", "--who=backup", "--why=tape"]
        program = await asyncio.create_subprocess_exec(
            *words,
            "cat",
            stdin=subprocess.PIPE,
            env=os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": self._machine.address},
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while ("sleep", "backup", "block") not in await self.locks():
                assert time.monotonic() < deadline, "systemd-inhibit does not take its lock"
                await asyncio.sleep(0.002)
            yield
        finally:
            assert program.stdin is not None
            program.stdin.close()
            await asyncio.wait_for(program.wait(), PATIENCE_S)

    async def forge(self, member: str) -> None:
        await asyncio.to_thread(self._machine.systemd.forge, member)

    def freeze_logind(self) -> None:
        self._machine.signal_logind(signal.SIGSTOP)

    def thaw_logind(self) -> None:
        self._machine.signal_logind(signal.SIGCONT)

    async def end_logind(self) -> None:
        await asyncio.to_thread(self._machine.stop_logind)

    async def begin_logind(self) -> None:
        await asyncio.to_thread(self._machine.start_logind)

    async def end_bus(self) -> None:
        await asyncio.to_thread(self._machine.stop_everything)

    async def begin_bus(self) -> None:
        await asyncio.to_thread(self._machine.start_everything)
        self._machine.systemd.on_sleep = self.clock.sleep
