"""A head and a client as real processes, killed at random, on a machine that suspends all the time.

The machine is the simulated back-end. Whenever it is entered, the table of the processes is looked
at: a message of which the head has heard that it cannot be stranded must have been processed, if
both its head and its client are alive.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.wake import Config, Failed, Service, Simulated, Slept
from holdfast.wake.model import Status
from tests.e2e.wake_sequence_roles import LIVES, SUBSCRIPTIONS, Table, row_of
from tests.peer import python_path

PATIENCE_S = 170.0


class Role:
    """One of the two processes, life after life."""

    def __init__(self, name: str, place: Path) -> None:
        self.name = name
        self.place = place
        self.life = 0
        self.alive = False
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.life += 1
        assert self.life < LIVES
        command = [sys.executable, "-W", "error", "-m", "tests.e2e.wake_sequence_roles"]
        command += [self.name, str(self.place), str(self.life)]
        with (self.place / f"{self.name}.err").open("ab") as errors:
            self.child = subprocess.Popen(
                command, stderr=errors, env=os.environ | {"PYTHONPATH": python_path()}
            )
        self.alive = True

    def kill(self) -> None:
        self.alive = False
        assert self.child is not None
        self.child.send_signal(signal.SIGKILL)
        assert self.child.wait() == -signal.SIGKILL, self.complaints()

    def complaints(self) -> str:
        return (self.place / f"{self.name}.err").read_text()


class Machine(Simulated):
    """Goes down for a moment, and looks before."""

    def __init__(self, head: Role, client: Role, table: Table) -> None:
        super().__init__(sleep=0.001)
        self.head = head
        self.client = client
        self.table = table
        self.entries = 0
        self.checked = 0  # how many subscriptions with messages there were
        self.stranded: list[str] = []
        self.status: Status | None = None  # the governor's, at the end

    async def suspend(self, attempt: int) -> Slept | Failed:
        self.entries += 1
        self.look()
        return await super().suspend(attempt)

    async def seen_down(self) -> None:
        """Wait until it was down once more with messages sent."""
        checked = self.checked
        await until(lambda: self.checked > checked)

    def look(self) -> None:
        if not (self.head.alive and self.client.alive):
            return
        table = self.table
        for epoch in range(1, SUBSCRIPTIONS):
            row = row_of(self.head.life, epoch)
            if table.get("client", row) == self.client.life and table.get("sent", row):
                self.checked += 1
                sent, processed = table.get("sent", row), table.get("processed", row)
                if processed < sent:
                    self.stranded.append(f"{sent - processed} of {sent} in epoch {epoch}")


async def storm(place: Path, *, suspends: int, messages: int, kills: int) -> Machine:
    """Until there were so many of each; then all must come to rest."""
    table = Table(place / "table")
    head, client = Role("head", place), Role("client", place)
    machine = Machine(head, client, table)
    rng = random.Random(7)
    # One after the other, without a pause, whenever nothing forbids it.
    config = Config(auto=True, linger_ns=1, backoff_ns=1, backoff_max_ns=1_000_000)
    async with Service(str(place / "governor"), machine, config=config) as service:
        head.start()
        client.start()
        try:
            killed = 0

            def enough() -> bool:
                sent = sum(table.get("totals", life) for life in range(LIVES))
                return machine.entries >= suspends and sent >= messages and killed >= kills

            while not enough():
                # Each life is left alone until the machine was down in it with messages sent.
                await machine.seen_down()
                await asyncio.sleep(rng.random() * 0.1)
                if killed < kills:
                    role = rng.choice([head, client])
                    role.kill()
                    role.start()
                    killed += 1
            (place / "stop").touch()
            entries = machine.entries
            await until(lambda: machine.entries > entries + 20)
            await until(lambda: not service.governor.status().wake_leases)
            machine.status = service.governor.status()
        finally:
            for role in (head, client):
                role.kill()
        for role in (head, client):
            assert role.complaints() == ""
        for life in range(1, head.life + 1):
            # One for each attempt, and one at the start, before it was known that it is awake.
            assert table.get("acquired", life) <= table.get("flushes", life) + 1
    table.close()
    return machine


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - other processes do not tell
        await asyncio.sleep(0.005)


@pytest.mark.timeout(3600)  # in full; in short form some seconds
def test_nothing_is_stranded_whoever_dies(tmp_path: Path, full: bool) -> None:
    many = {"suspends": 10_000, "messages": 1_000_000, "kills": 100}
    few = {"suspends": 100, "messages": 3_000, "kills": 5}
    work = storm(tmp_path, **(many if full else few))
    machine = asyncio.run(asyncio.wait_for(work, 3000 if full else PATIENCE_S))
    print(f"{machine.entries} entries, {machine.checked} with messages sent")
    assert machine.stranded == []
    assert machine.checked > 0
    assert machine.status is not None
    assert machine.status.stranded == 0, "by the accounts there was nothing either"
    assert machine.status.saved >= machine.status.saved_by > 0
