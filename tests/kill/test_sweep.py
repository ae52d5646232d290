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


# How many points are left out, in the short form and in full, and what must have been seen: a sweep
# that cut nothing, or only on one side of the publication, has shown nothing.
BOTH_SIDES = ("killed, old", "killed, new", "stopped, old", "stopped, new")
SWEEPS = {
    "commit": (3, 1, BOTH_SIDES),
    "pair": (31, 1, BOTH_SIDES),
    "five": (149, 7, BOTH_SIDES),
    "grow": (31, 1, BOTH_SIDES),
    "subscribe": (1, 1, ("killed, new", "stopped, waited")),
    "delete": (1, 1, ("killed, old", "killed, new", "stopped, waited")),
}


@pytest.mark.serial
@pytest.mark.parametrize("scenario", SWEEPS)
def test_an_act_may_be_killed_or_stopped_anywhere(project: Path, full: bool, scenario: str) -> None:
    """K48, K55, K68: nothing torn, nothing half done, the next one succeeds, who waits wakes."""
    short, long, expected = SWEEPS[scenario]
    done = sweep(project, "--scenario", scenario, "--every", str(long if full else short))
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)[scenario]
    print(scenario, counts)
    for outcome in expected:
        assert counts[outcome] > 0


@pytest.mark.serial
def test_without_the_notice_of_a_death_the_sweep_finds_a_lost_wake_up(project: Path) -> None:
    """K55: the safeguard is IN_CLOSE_WRITE; taken out, a kill before the ring loses the change."""
    done = sweep(project, "--scenario", "commit", "--every", "2", "--without", "death-notice")
    assert done.returncode == 1, done.stdout
    assert "nobody woke the waiter" in done.stderr
