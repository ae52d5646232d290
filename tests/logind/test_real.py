"""What only a real logind, on a real bus, can show."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import Unavailable
from holdfast.wake.backends import bus as bus_module
from holdfast.wake.backends.bus import Bus, Called, Refused
from holdfast.wake.backends.logind import Logind
from holdfast.wake.model import Slept
from tests.logind.machine import Machine
from tests.logind.sides import Host, RealSide, until_locked, until_said
from tests.peer import python_path

PATIENCE_S = 50.0
MANAGER = Called(
    "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
)


HOLDER = """
import asyncio, sys
from holdfast.wake.backends.logind import Logind
from tests.logind.sides import Host
from tests.logind.systemd1 import Transcript

async def main():
    backend = Logind(address=sys.argv[1])
    await backend.open(Host(Transcript()))
    await backend.block(held=True)
    print("held", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


PATIENT = """
from holdfast.cli.main import main
from tests.logind.patience import be_patient
be_patient()
main()
"""


def test_the_locks_end_with_the_process_that_took_them(machine: Machine) -> None:
    """The kernel closes descriptors: a governor that was killed stands in nobody's way."""
    side = RealSide(machine)
    words = [sys.executable, "-c", HOLDER, machine.address]
    environment = os.environ | {"PYTHONPATH": python_path()}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"held\n"
            asyncio.run(until_locked(side, "block", "delay"))
        finally:
            child.kill()
    asyncio.run(until_locked(side))


def test_the_command_goes_down_through_logind(machine: Machine, place: Path) -> None:
    """From the command line to logind's own list; the clock is real, so that nothing slept."""
    side = RealSide(machine)
    environment = os.environ | {
        "PYTHONPATH": python_path(),
        "DBUS_SYSTEM_BUS_ADDRESS": machine.address,
        "HOLDFAST_WAKE_SOCKET": str(place / "g"),
    }
    holdfast = [sys.executable, "-m", "holdfast", "wake"]
    serve = [sys.executable, "-c", PATIENT, "wake", "serve", "--backend", "logind"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, env=environment) as governor:
        try:
            assert governor.stdout is not None
            assert governor.stdout.readline().startswith(b"serving")
            asyncio.run(until_locked(side, "delay"))
            run = [*holdfast, "run", "--", "cat"]
            with subprocess.Popen(run, stdin=subprocess.PIPE, env=environment) as child:
                asyncio.run(until_locked(side, "block", "delay"))
                child.communicate(timeout=PATIENCE_S)
            asyncio.run(until_locked(side, "delay"))
            suspend = [*holdfast, "suspend", "--timeout", "0"]
            done = subprocess.run(
                suspend, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
            )
            assert done.returncode == 75
            assert "did not sleep" in done.stderr
            assert machine.systemd.transcript.count("StartUnit suspend.target") == 1
        finally:
            governor.terminate()
    assert governor.returncode == 0
    asyncio.run(until_locked(side))


def test_it_can_work_here(machine: Machine) -> None:
    assert Logind(address=machine.address).available() is None


def test_it_cannot_work_on_a_machine_that_cannot_be_suspended(machine: Machine) -> None:
    with Machine(states="") as other:
        why_not = Logind(address=other.address).available()
    assert why_not == "logind says that this machine cannot be suspended; see /sys/power/state"


def test_it_cannot_work_without_logind(machine: Machine) -> None:
    machine.stop_logind()
    backend = Logind(address=machine.address)
    assert "logind does not answer" in str(backend.available())
    with pytest.raises(Unavailable, match="is systemd-logind running"):
        asyncio.run(backend.open(Host(machine.systemd.transcript)))


def test_a_logind_that_hangs_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the bus, which answers."""
    connect = Bus.connect

    async def connected(*given: Any) -> Bus:
        bus = await connect(*given)
        monkeypatch.setattr(bus_module, "_REPLY_S", 0.2)
        return bus

    monkeypatch.setattr(Bus, "connect", connected)
    machine.signal_logind(signal.SIGSTOP)
    try:
        why_not = Logind(address=machine.address).available()
    finally:
        machine.signal_logind(signal.SIGCONT)
    assert why_not == (
        "logind does not answer on the system bus: org.freedesktop.login1 has not answered in "
        "0.2 s; is systemd-logind running? `systemctl status systemd-logind`"
    )


def test_the_bus_and_its_descriptors(machine: Machine) -> None:
    """A descriptor that came is not inherited, and one that nobody waits for is closed."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> None:
        bus = await Bus.connect(machine.address, lambda _: None, lambda _: None)
        words = ("sleep", "test", "to see its descriptor", "delay")
        (fd,) = await bus.call(MANAGER, "Inhibit", "ssss", words)
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(fd)
        before = descriptors()
        for _ in range(5):
            asking = asyncio.create_task(bus.call(MANAGER, "Inhibit", "ssss", words))
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        with pytest.raises(Refused, match="InvalidArgs"):  # and is behind all of these
            await bus.call(MANAGER, "Inhibit", "ssss", ("nonsense", *words[1:]))
        assert descriptors() <= before  # what others have left is collected at any time
        bus.close()
        bus.close()
        with pytest.raises(Unavailable):
            await bus.call(MANAGER, "ListInhibitors")

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_an_independent_client_sees_every_cycle_in_order(machine: Machine) -> None:
    side = RealSide(machine)
    cycles = 20

    async def main() -> None:
        backend = side.backend()
        await backend.open(Host(side.transcript))
        for number in range(cycles):
            assert isinstance(await backend.suspend(number), Slept)
        await backend.close()
        await until_said(side, "PrepareForSleep False", cycles)

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))
    seen = [line for line in side.transcript.lines if "logind" not in line]
    assert seen == cycles * [
        "PrepareForSleep True",
        "StartUnit suspend.target",
        "JobRemoved suspend.target done",
        "PrepareForSleep False",
    ]
