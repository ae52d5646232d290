"""The kill sweep in its short form; `make kill` does every instruction."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kill.tracer import supported

pytestmark = [
    pytest.mark.skipif(not supported(), reason="the registers of this machine are not known here"),
    pytest.mark.timeout(1800),
]


def sweep(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.kill.sweep", "--json", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=1800,
    )


@pytest.mark.serial
def test_a_commit_may_be_killed_or_stopped_after_every_instruction(
    project: Path, full: bool
) -> None:
    """K48, K55: no torn read, the next writer succeeds, whoever waits wakes."""
    done = sweep(project, "--scenario", "commit", "--every", "1" if full else "3")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["commit"]
    print(counts)
    # A sweep that cut nothing, or only one side of the publication, has shown nothing.
    for outcome in ("killed, old", "killed, new", "stopped, old", "stopped, new"):
        assert counts[outcome] > 0


@pytest.mark.serial
def test_without_the_notice_of_a_death_the_sweep_finds_a_lost_wake_up(project: Path) -> None:
    """K55: the safeguard is IN_CLOSE_WRITE; taken out, a kill before the ring loses the change."""
    done = sweep(project, "--scenario", "commit", "--every", "2", "--without", "death-notice")
    assert done.returncode == 1, done.stdout
    assert "nobody woke the waiter" in done.stderr
