"""The benchmarks of wake leases run, with and without logind; never how quick."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.test_benchmarks import check_result, only, run
from tests.logind.machine import MachineMissing, needed

RAW = "logind, ready-made bytes"


def test_wake_leases_beside_logind(tmp_path: Path) -> None:
    try:
        needed()
    except MachineMissing as reason:
        pytest.skip(str(reason))
    names = ("hold", "hold.beside1", "release", "hold.through.logind")
    done = run(tmp_path, *only(*names), part="wake")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "wake.json").read_text())
    assert report["missing"] == {}
    results = {result["name"]: result for result in report["results"]}
    assert results.keys() == {*names, "hold.beside100", "hold.beside1000"}  # `hold` is a family too
    for result in results.values():
        check_result(result)
        measured = [peer["name"] for peer in result["peers"]]
        assert measured == (["logind"] if result["name"] == "release" else ["logind", RAW])
    (bar,) = report["bars"]
    assert bar["number"] == 13
    assert bar["reached"] in {True, False}


def test_without_logind_its_bar_is_not_measured(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for wheel in ("jeepney", "matplotlib"):
        (hidden / f"{wheel}.py").write_text("raise ImportError('hidden by a test')\n")
    done = run(tmp_path, *only("hold", "release"), part="wake", hidden=hidden)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "wake.json").read_text())
    assert "jeepney is not installed" in report["missing"]["logind"]
    assert report["missing"].keys() == {"logind", "through"}
    for result in report["results"]:
        check_result(result)
        assert result["peers"] == []
    (bar,) = report["bars"]
    assert bar["reached"] is None
    assert bar["measured"] == "not measured"
