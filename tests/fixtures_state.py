"""Fixtures for whatever uses states: a namespace of one's own, other processes, scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.state import Namespace
from tests.peer import Peer, python_path

MakePeer = Callable[..., Peer]
RunScript = Callable[..., str]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A place for a namespace: in shared memory, private, gone after the test."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    above = tempfile.mkdtemp(prefix="holdfast-test-", dir=base)
    yield Path(above) / "states"
    shutil.rmtree(above, ignore_errors=True)


@pytest.fixture
def namespace(directory: Path) -> Iterator[Namespace]:
    with Namespace(directory) as opened:
        yield opened


@pytest.fixture
def peer(directory: Path) -> Iterator[MakePeer]:
    """Starts other processes with a namespace of the same directory; ends them after the test."""
    started: list[Peer] = []

    def start(**settings: Any) -> Peer:
        started.append(Peer(directory, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def script(directory: Path, request: pytest.FixtureRequest) -> RunScript:
    """Runs source in an interpreter of its own, where ``sys.argv[1]`` is the directory.

    What it prints is the result; a script that fails makes the test fail with its traceback. It has
    nearly as long as the test, so that one that hangs is told from a test that does.
    """
    marked = request.node.get_closest_marker("timeout")
    limit = request.config.getoption("timeout", None) or request.config.getini("timeout")
    patience_s = float(marked.args[0] if marked else limit or 600) - 10

    def run(source: str, *arguments: str, before: tuple[str, ...] = ()) -> str:
        interpreter = [sys.executable, "-W", "error", "-c"]
        done = subprocess.run(
            [*before, *interpreter, textwrap.dedent(source), str(directory), *arguments],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": python_path()},
            timeout=patience_s,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    return run
