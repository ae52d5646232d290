"""Chains of three processes that pass batons on, and of which one is killed at a random moment.

Whoever has received a message with its baton asks the governor whether the machine may go down: it
may not, though suspends are asked for all the time. What was killed holds nothing afterwards, and
nobody waits for it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError, SuspendAborted
from holdfast.wake import Governor, connect
from tests.kill.waking import GovernorProcess, short_place
from tests.peer import python_path
from tests.unit.ipc.places import PATIENCE_S, until_now

STAGE = """
import socket, sys
from holdfast import wake
from holdfast.errors import WakeError

role, path, listen, follow = sys.argv[1:]
governor = wake.connect(path)

def connection(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock

def broken(what):
    print("broken:", what, flush=True)
    sys.exit(3)

def take(sock):
    data, baton = wake.receive(sock, governor=governor)
    if baton is None:
        broken("a message without its baton")
    status = governor.status()
    if status.wake_lease_count == 0 or status.state == "suspended":
        broken(f"down in spite of a baton: {status}")
    if baton.orphaned:
        broken("a baton of no governor")
    return data, baton

try:
    if role == "head":
        out = connection(follow)
        number = 0
        while True:
            with governor.acquire("event") as wake_lease:
                wake.send(out, b"%d" % number * (1 + number % 3000), wake_lease, index=number)
            number += 1
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(listen)
    listener.listen()
    print("up", flush=True)
    before, _ = listener.accept()
    if role == "middle":
        out = connection(follow)
        while True:
            data, baton = take(before)
            with baton:
                wake.send(out, data, baton)
    while True:
        data, baton = take(before)
        with baton:
            print(len(data), flush=True)
except (EOFError, WakeError, BrokenPipeError, ConnectionResetError):
    pass  # somebody of the chain has gone
"""


class Stage:
    """One process of the chain."""

    def __init__(self, role: str, path: str, listen: str, follow: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STAGE, role, path, listen, follow],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": python_path()},
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        if listen:
            assert self.out.readline() == "up\n"

    def end(self) -> tuple[int, str]:
        """Wait for the end: exit code, and what it has still said."""
        said = self.out.read()
        return self.process.wait(PATIENCE_S), said

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.out.close()


def keep_asking(path: str, over: threading.Event) -> None:
    with connect(path) as governor:
        while not over.is_set():
            try:
                governor.suspend(0.01)
            except SuspendAborted:
                pass
            except HoldfastError:
                return


def run(place: Path, governor: Governor, rng: random.Random) -> tuple[str, int]:
    """One chain; who was killed, and how many messages had come through."""
    second, third = str(place / "m"), str(place / "t")
    tail = Stage("tail", governor.path, third, "")
    middle = Stage("middle", governor.path, second, third)
    head = Stage("head", governor.path, "", second)
    stages = {"head": head, "middle": middle, "tail": tail}
    try:
        came = rng.randint(1, 40)
        for _ in range(came):
            line = tail.out.readline()
            assert line.strip().isdigit(), line
        killed = rng.choice(sorted(stages))
        stages[killed].process.send_signal(signal.SIGKILL)
        for role, stage in stages.items():
            code, said = stage.end()
            assert "broken" not in said, said
            assert code == (-signal.SIGKILL if role == killed else 0)
        return killed, came
    finally:
        for stage in stages.values():
            stage.close()
        for path in (second, third):
            Path(path).unlink(missing_ok=True)


@pytest.mark.timeout(600)  # in full; in short form some seconds
@pytest.mark.parametrize("seed", range(4))
def test_no_baton_is_lost_and_none_left_behind(seed: int, *, full: bool) -> None:
    rng = random.Random(seed)
    with (
        short_place() as place,
        GovernorProcess(place / "g") as server,
        connect(server.path) as governor,
    ):
        over = threading.Event()
        asker = threading.Thread(target=keep_asking, args=(server.path, over))
        asker.start()
        try:
            for _ in range(20 if full else 1):
                run(place, governor, rng)
                until_now(lambda: governor.status().wake_lease_count == 0, "the release")
            before = governor.status().suspends
            until_now(lambda: governor.status().suspends > before, "a suspend")
        finally:
            over.set()
            asker.join(PATIENCE_S)
