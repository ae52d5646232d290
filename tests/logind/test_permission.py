"""A governor of somebody who is not root: what logind refuses him, and what he is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.logind.machine import Machine, MachineMissing, needed
from tests.logind.sides import RealSide
from tests.peer import python_path

PATIENCE_S = 50.0
NAME = "org.freedesktop.login1"
DELAYS = {f"{NAME}.inhibit-delay-sleep", f"{NAME}.inhibit-delay-shutdown"}
NOBODY = 65534

# All is imported before root is given up: who is not root may not be able to read it.
ASKING = """
import asyncio, os, sys
import jeepney.auth, jeepney.bus
from holdfast.errors import HoldfastError
from holdfast.wake.backends.logind import Logind
from tests.logind.patience import be_patient
from tests.logind.sides import Host
from tests.logind.systemd1 import Transcript

def say(what):
    print(str(what).replace("\\n", " "), flush=True)

async def main(backend):
    say(backend.available())
    try:
        await backend.open(Host(Transcript()))
    except HoldfastError as error:
        say(f"{type(error).__name__}: {error}")
        return
    say(backend.trouble)
    await backend.block(held=True)
    say(backend.trouble)
    await backend.block(held=False)
    say(await backend.suspend(1))
    await backend.close()

be_patient()
os.setgroups([])
os.setresgid(*[int(sys.argv[2])] * 3)
os.setresuid(*[int(sys.argv[2])] * 3)
asyncio.run(main(Logind(address=sys.argv[1])))
"""


@dataclass
class Told:
    """What somebody was told: None where all was well, "" where it did not come so far."""

    available: str | None
    opened: str | None = ""
    blocked: str | None = ""
    suspended: str | None = ""


def told(machine: Machine) -> Told:
    """Ask as nobody."""
    words = [sys.executable, "-W", "error", "-c", ASKING, machine.address]
    done = subprocess.run(
        [*words, str(NOBODY)],
        env=os.environ | {"PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return Told(*[None if line == "None" else line for line in done.stdout.splitlines()])


def user_needs(action: str) -> str:
    return f"user {NOBODY} needs the permission {NAME}.{action}, see polkit(8)"


@pytest.fixture
def without_polkit() -> Iterator[Machine]:
    with contextlib.ExitStack() as exits:
        try:
            needed()
            machine = exits.enter_context(Machine(polkit=False))
        except MachineMissing as reason:
            pytest.skip(str(reason))
        yield machine


def test_without_polkit_only_root_is_listened_to(without_polkit: Machine) -> None:
    said = told(without_polkit)
    assert said.available is not None
    assert f"user {NOBODY}" in said.available
    assert "run the governor as root" in said.available
    assert said.opened is not None
    assert said.opened.startswith("NotPermitted: logind refuses user")
    assert f"permit {NAME}.inhibit-delay-sleep by a rule" in said.opened
    assert "is systemd-logind running" not in said.opened


def test_who_may_not_suspend_is_told_which_permission_is_wanted(machine: Machine) -> None:
    assert told(machine).available == (
        f"logind does not let user {NOBODY} suspend the machine: run the governor as root, "
        f"or permit {NAME}.suspend by a rule, see polkit(8)"
    )


def test_who_may_suspend_with_a_password_is_told_that_too(machine: Machine) -> None:
    machine.systemd.challenged = {f"{NAME}.suspend", *DELAYS}
    said = told(machine)
    assert said.available is not None
    assert "would ask user" in said.available
    assert f"permit {NAME}.suspend" in said.available
    assert said.opened is not None
    assert said.opened.startswith("NotPermitted: ")


def test_whoever_may_delay_hears_of_others_and_is_told_what_else_is_wanted(
    machine: Machine,
) -> None:
    """That much polkit permits everybody. One lock for sleep and shutdown would not be."""
    machine.systemd.permitted = DELAYS
    said = told(machine)
    assert said.opened is None
    assert said.blocked is not None
    assert said.blocked.startswith("logind gives no block lock on sleep: ")
    assert said.blocked.endswith(user_needs("inhibit-block-sleep"))
    assert said.suspended is not None
    assert user_needs("suspend") in said.suspended


def test_who_may_not_delay_a_shutdown_can_suspend_all_the_same(machine: Machine) -> None:
    wanted = {"inhibit-delay-sleep", "inhibit-block-sleep", "suspend"}
    machine.systemd.permitted = {f"{NAME}.{action}" for action in wanted}
    said = told(machine)
    assert said.available is None
    assert said.opened is not None
    assert said.opened.startswith("logind gives no delay lock on shutdown: ")
    assert said.opened.endswith(user_needs("inhibit-delay-shutdown"))
    assert said.suspended is not None
    assert "did not sleep" in said.suspended  # the clock is real: it went through all of it
    assert machine.systemd.transcript.count("StartUnit suspend.target") == 1


def test_who_has_every_permission_has_no_trouble(machine: Machine) -> None:
    wanted = {f"{NAME}.inhibit-block-sleep", f"{NAME}.suspend"}
    machine.systemd.permitted = DELAYS | wanted
    said = told(machine)
    assert (said.available, said.opened, said.blocked) == (None, None, None)
    assert machine.systemd.transcript.count("StartUnit suspend.target") == 1


def test_that_somebody_blocks_just_now_is_not_taken_for_a_want_of_permission(
    machine: Machine,
) -> None:
    """Before systemd 257 logind then answers no. Later it says that it is for the block."""
    machine.systemd.permitted = DELAYS | {f"{NAME}.suspend"}
    side = RealSide(machine)

    async def main() -> Told:
        async with side.blocking():
            return await asyncio.to_thread(told, machine)

    said = asyncio.run(main()).available
    assert said is None or "for as long as it is blocked by backup (pid " in said
