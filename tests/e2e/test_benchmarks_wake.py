"""The benchmark of the strategies runs, and counts what it should; never how quick."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)  # six processes, one after the other
def test_every_strategy_is_measured_and_the_optimistic_one_takes_a_lease_for_an_attempt(
    tmp_path: Path,
) -> None:
    words = ["--quick", "--only", "message.unpaced", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.wake.strategies", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "wake.strategies.json").read_text())
    [ours] = found["results"]
    counts = {one["name"]: one["counts"] for one in ours["peers"]} | {"ours": ours["counts"]}
    assert counts["none"]["wake leases a message"] == 0
    assert counts["baton passing"]["wake leases a message"] == 1
    assert counts["interlock"]["wake leases a message"] == 2
    assert 0 < counts["time-out"]["wake leases a message"] <= 1
    assert 0 < counts["ours"]["wake leases a message"] < 1
    assert counts["ours"]["wake leases an attempt"] <= 1
    assert all(one["messages a second"] > 0 for one in counts.values())
    assert (tmp_path / "wake.strategies.svg").exists() or "no picture" in done.stderr
