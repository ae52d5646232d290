"""A governor and programs with wake leases, each a process of its own that can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from holdfast.closing import Closing
from tests.peer import Peer, python_path

SERVE = """
import asyncio, sys
from holdfast import wake
def ready(path):
    print(path, flush=True)

asyncio.run(wake.serve(sys.argv[1], wake.Simulated(0.01), ready=ready))
"""


class GovernorProcess(Closing):
    """`wake.serve` in a process."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, self.path],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": python_path()},
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said.decode().strip() == self.path

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a deadly signal; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def short_place() -> Iterator[Path]:
    """A directory whose path is short enough for a Unix socket."""
    directory = Path(tempfile.mkdtemp(prefix="hf-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Program(Peer):
    """A process with a connection to the governor, called ``governor`` there."""

    def __init__(self, place: Path, path: str) -> None:
        super().__init__(place / "states")
        self("import asyncio, os, signal, socket, subprocess, sys, time")
        self("from holdfast import wake")
        self(f"governor = wake.connect({path!r})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
