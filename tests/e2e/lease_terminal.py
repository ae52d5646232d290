"""``holdfast lease`` in processes of its own, on a store of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-m", "holdfast", "lease"]
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
    """Runs ``holdfast lease ...`` on a store of its own."""

    def __init__(self, directory: Path, store: str) -> None:
        self.directory = directory
        self.environment = os.environ | {
            "HOLDFAST_STATE_DIR": str(directory / "states"),
            "HOLDFAST_STORE": store,
        }
        self._started: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment | more,
            timeout=PATIENCE_S,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*PROGRAM, *arguments],
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

    def held(self) -> list[str]:
        return [one["name"] for one in self.told("ls") if one["state"] != "vacant"]

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return found

    def close(self) -> None:
        for child in self._started:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def line(child: subprocess.Popen[str], stream: str = "stdout") -> str:
    pipe = getattr(child, stream)
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    assert poll.poll(PATIENCE_S * 1000), "it says nothing"
    return str(pipe.readline()).rstrip("\n")


def both(child: subprocess.Popen[str]) -> tuple[int, int]:
    first, second = line(child).split()
    return int(first), int(second)


def ended(child: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and standard error."""
    _, told = child.communicate(timeout=PATIENCE_S)
    return child.returncode, told


LOCAL = "local:"
SQLITE = "sqlite"


def terminal_on(kind: str, directory: Path) -> contextlib.closing[Terminal]:
    """For a with block: a terminal whose store is one of that kind."""
    if kind == SQLITE:
        (directory / "db").mkdir()
        kind = f"sqlite:///{directory}/db/leases.db"
    return contextlib.closing(Terminal(directory, kind))
