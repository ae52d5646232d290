"""Supervisors in processes of their own, and the commands that tests give them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARDEN = str(Path(__file__).with_name("warden.py"))
PATIENCE_S = 30.0


def state_of(pid: int) -> str:
    """The letter of /proc; "" if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat[stat.rindex(b")") + 2 :][:1].decode()


def lives(pid: int) -> bool:
    return state_of(pid) not in {"", "Z", "X"}


def until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


class Warden:
    """One supervisor in a process of its own, and what it writes."""

    def __init__(self, directory: Path, *argv: str, lose: bool = False, **settings: Any) -> None:
        self.result = directory / "result.json"
        self.pids = directory / "pids"
        self._write = -1
        self._told: list[int] = []
        passed: tuple[int, ...] = ()
        if lose:
            read, self._write = os.pipe()
            settings["fd"] = read
            passed = (read,)
        settings["result"] = str(self.result)
        self.process = subprocess.Popen(
            [sys.executable, WARDEN, json.dumps(settings), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=passed,
            env=os.environ | {"PIDS": str(self.pids)},
            # SIGTSTP stops nobody in an orphaned process group (setpgid(2)); in a container ours
            # may be one. That of a child in a group of its own is not, as long as we live.
            process_group=0,
        )
        for fd in passed:
            os.close(fd)

    def lose(self) -> None:
        os.write(self._write, b"!")

    def line(self) -> str:
        """What the command writes next."""
        assert self.process.stdout
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        assert poll.poll(PATIENCE_S * 1000), "the command says nothing"
        return self.process.stdout.readline().decode().rstrip("\n")

    def numbers(self) -> list[int]:
        numbers = [int(word) for word in self.line().split()]
        self._told += numbers
        return numbers

    def complaint(self) -> str:
        assert self.process.stderr
        return self.process.stderr.readline().decode().rstrip("\n")

    def end(self) -> tuple[int, dict[str, Any]]:
        """Its exit code, and the outcome."""
        code = self.process.wait(PATIENCE_S)
        return code, json.loads(self.result.read_text())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()
        for pid in self._told:  # where the test has failed
            if lives(pid):
                os.kill(pid, signal.SIGKILL)
        if self._write >= 0:
            os.close(self._write)


Start = Callable[..., Warden]


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


# A shell that waits with a child in its group, and tells both pids.
SHELL = 'sleep 1000 & echo $$ $!; trap "" PIPE; wait'
# The same two, who ignore what asks them to end.
DEAF = 'trap "" TERM INT HUP; sleep 1000 & echo $$ $!; while :; do wait; sleep 1; done'
# A child that leaves the group; its pid comes second.
RUNAWAY = """
import os, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"%d" % os.getpid())
        time.sleep(1000)
    os._exit(0)
os.wait()
print(os.getpid(), os.read(read, 20).decode(), flush=True)
"""
