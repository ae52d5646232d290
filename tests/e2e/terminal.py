"""The command line in processes of its own, and what tests wait for."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE_S = 40.0


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(b")") + 2 :][:1] not in b"ZX"


def until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


class Terminal:
    """Runs ``holdfast NOUN ...``; what was started ends with it.

    Args:
        directory: Where it may write.
        noun: Which part of the command line.
        environment: What its processes find, beside ours.
    """

    def __init__(self, directory: Path, noun: str, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.environment = os.environ | environment
        self.program = (sys.executable, "-m", "holdfast", noun)
        self._started: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment | more,
            timeout=PATIENCE_S,
        )

    def start(self, *arguments: str, program: Sequence[str] | None = None) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*(self.program if program is None else program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self._started.append(child)
        return child

    def told(self, *arguments: str) -> Any:
        """What a verb says in JSON."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def close(self) -> None:
        for child in self._started:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def line(child: subprocess.Popen[str], stream: str = "stdout") -> str:
    """The next line. What stands behind it stays in the pipe, for the next line and for `ended`."""
    pipe = getattr(child, stream).fileno()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    told = b""
    while not told.endswith(b"\n"):
        assert poll.poll(PATIENCE_S * 1000), f"it says nothing after {told!r}"
        more = os.read(pipe, 1)
        if not more:
            break
        told += more
    return told.decode().rstrip("\n")


def both(child: subprocess.Popen[str]) -> tuple[int, int]:
    first, second = line(child).split()
    return int(first), int(second)


def ended(child: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and standard error."""
    _, told = child.communicate(timeout=PATIENCE_S)
    return child.returncode, told
