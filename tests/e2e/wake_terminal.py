"""``holdfast wake`` in processes of its own, with a governor of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast import wake
from holdfast.wake.wire import Located
from tests.e2e.lease_terminal import PATIENCE_S, line, until

PROGRAM = [sys.executable, "-m", "holdfast", "wake"]


class Terminal:
    """Runs ``holdfast wake ...``; what was started ends with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = str(directory / "g")
        self.environment = os.environ | {
            "HOLDFAST_WAKE_SOCKET": self.socket,
            "HOLDFAST_RUN_DIR": str(directory / "run"),
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

    def start(self, *arguments: str, program: list[str] = PROGRAM) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self._started.append(child)
        return child

    def govern(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a governor, and wait until it answers."""
        governor = self.start("serve", *arguments)
        assert line(governor).startswith("serving\t")
        return governor

    def told(self, *arguments: str) -> Any:
        """What a verb says in JSON."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    # The state of the governor, without a process for each look.

    def held(self) -> list[str]:
        with wake.connect(self.socket) as governor:
            return [lease.name for lease in governor.leases()]

    def where(self) -> list[Located]:
        with wake.connect(self.socket) as governor:
            return governor.where()

    def status(self) -> wake.Status:
        with wake.connect(self.socket) as governor:
            return governor.status()

    def is_by(self, command: str) -> bool:
        """Wait until a process of that name holds the only wake lease."""

        def seen() -> bool:
            return command in {holder.command for one in self.where() for holder in one.holders}

        return until(seen)

    def comes_to(self, *names: str) -> bool:
        """Wait until these wake leases, and no others, are held."""
        return until(lambda: self.held() == list(names))

    def close(self) -> None:
        for child in self._started:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


@contextlib.contextmanager
def a_terminal() -> Iterator[Terminal]:
    """With a directory whose name is short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="hf-"))
    try:
        with contextlib.closing(Terminal(directory)) as terminal:
            yield terminal
    finally:
        shutil.rmtree(directory, ignore_errors=True)
