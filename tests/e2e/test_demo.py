"""``holdfast demo``: real processes, real deaths; and each of its checks can fail."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.serial, pytest.mark.timeout(120)]

PROGRAM = [sys.executable, "-m", "holdfast", "demo"]


@pytest.fixture
def place(directory: Path) -> Path:
    """Where the demo makes its own directory; it must be empty again afterwards."""
    directory.mkdir()
    return directory


def start(place: Path, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HOLDFAST_STATE_DIR": str(place)},
        **more,
    )


def run(place: Path, *arguments: str) -> tuple[int, str, str]:
    with start(place, *arguments) as child:
        out, err = child.communicate(timeout=100)
    assert list(place.iterdir()) == [], "something was left behind"
    assert players_of(place) == []
    return child.returncode, out, err


def players_of(place: Path, role: str = "") -> list[int]:
    """The processes whose command line names the directory, and the role."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(place).encode() in command and f"\0{role}\0".encode() in command + b"\0\0":
                found.append(int(entry.name))
    return found


def eventually_gone(place: Path) -> bool:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if not players_of(place):
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """What all acts together have shown."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="holdfast-test-", dir=memory) as place:
        code, out, err = run(Path(place), "--seconds", "5", "--seed", "7", "--json")
    assert code == 0, out + err
    result: dict[str, Any] = json.loads(out)
    return result


def test_every_promise_is_kept_and_has_evidence(whole: dict[str, Any]) -> None:
    """K2, K5, K6, K26, K37, K46, K48, K55, K56, K68: with deaths in the middle of everything."""
    result = whole
    assert result["kept"] is True
    assert (result["seconds"], result["seed"]) == (5.0, 7)
    of = {promise["name"]: promise["of"] for promise in result["promises"]}
    assert all(promise["seen"] == 0 for promise in result["promises"])
    assert of["torn reads"] > 1000
    assert of["lost wake-ups, in a stream"] > 10
    assert of["lost wake-ups, one by one"] > 10
    assert of["lost or doubled updates"] > 100
    assert of["halt at a sampler's death"] >= 1
    assert of["halt at a counter's death"] >= 1
    assert of["half a commit"] > 100
    assert of["halt at a pairer's death"] >= 1
    assert of["two leaders at once"] > 10
    assert of["commits of a former leader"] > 10
    assert of["halt at a leader's fall"] >= 2
    assert of["versions shown too soon"] > 2
    assert of["last of a burst not shown"] >= 1
    assert of["states that do not vanish"] >= 1
    assert of["live hosts called dead"] > 5
    assert of["deaths heard of too late"] >= 4
    assert of["two hosts sampling at once"] > 2
    assert of["halt at a host's fall"] >= 1
    assert of["views that differ"] >= 10
    assert of["stranded across suspend"] >= 1
    assert of["wake leases while awake"] >= 1
    assert of["wake leases left behind"] >= 1
    assert of["halt at a pipeline's death"] >= 1
    assert of["states left behind"] >= 6
    happened = [event["what"] for event in result["events"]]
    assert any("sampler killed" in what for what in happened)
    assert any("4 of 4 have heard" in what for what in happened)
    assert any("worker 0 of the pipeline killed" in what for what in happened)


def test_one_act_is_played_alone(place: Path) -> None:
    code, out, err = run(place, "--seconds", "1", "--act", "rallying", "--json")
    assert code == 0, out + err
    names = [promise["name"] for promise in json.loads(out)["promises"]]
    assert names == ["lost wake-ups, one by one", "failing processes", "states left behind"]


def test_a_host_that_was_stopped_finds_out_and_is_a_member_again(whole: dict[str, Any]) -> None:
    """The first trouble is a death; then a host is stopped until another one samples."""
    [dead] = [one for one in whole["promises"] if one["name"] == "live hosts called dead"]
    assert dead["counts"]["kills"] >= 1
    assert dead["counts"]["stops"] >= 1
    # More, if the machine has kept a host from its processors for so long that it was called dead.
    assert dead["counts"]["told"] >= 4 * (dead["counts"]["kills"] + dead["counts"]["stops"])
    happened = [event["what"] for event in whole["events"]]
    [stopped, heard, back] = [what for what in happened if "host" in what][3:6]
    name = stopped.partition(",")[0]
    assert stopped == f"{name}, which samples, is stopped"
    assert heard.startswith(f"{name} stopped: 4 of 4 have heard, ")
    assert back == f"{name} is back: all see the same"


def test_a_machine_suspends_amid_a_pipeline_whose_members_die(whole: dict[str, Any]) -> None:
    """By turns a worker and the head; at most one wake lease for each time that it is asked."""
    counts = {promise["name"]: promise["counts"] for promise in whole["promises"]}
    assert counts["stranded across suspend"]["suspends"] >= 3
    assert counts["stranded across suspend"]["in_flight"] > 0
    kills = counts["halt at a pipeline's death"]["kills"]
    leases = counts["wake leases while awake"]
    assert 0 < leases["taken"] <= leases["asked"] + 1 + kills


def test_the_table_of_the_readme_has_the_promises_of_the_demo(
    whole: dict[str, Any], project: Path
) -> None:
    names = [promise["name"] for promise in whole["promises"]]
    readme = (project / "README.md").read_text()
    [table] = re.findall(r"^```\n(promised: no.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    rows = [line for line in table.splitlines()[1:] if " of " in line]
    assert [line.split("  ")[0] for line in rows] == names
    assert table.count(" kept ") == len(names)


# What is spoilt, in which act, and the promise that it breaks: that one, and no other.
BROKEN = {
    "torn": ("sampling", "torn reads"),
    "back": ("sampling", "versions going back"),
    "deaf": ("sampling", "lost wake-ups, in a stream"),
    "heirless": ("sampling", "halt at a sampler's death"),
    "asleep": ("rallying", "lost wake-ups, one by one"),
    "lost": ("counting", "lost or doubled updates"),
    "twice": ("counting", "lost or doubled updates"),
    "sum": ("counting", "totals that are no sum"),
    "held": ("counting", "halt at a counter's death"),
    "fall": ("counting", "failing processes"),
    "half": ("pairing", "half a commit"),
    "stuck": ("pairing", "halt at a pairer's death"),
    "usurp": ("leading", "commits of a former leader"),
    "two": ("leading", "two leaders at once"),
    "heirs": ("leading", "halt at a leader's fall"),
    "hasty": ("pacing", "versions shown too soon"),
    "dozing": ("pacing", "last of a burst not shown"),
    "ghost": ("vanishing", "states that do not vanish"),
    "litter": ("vanishing", "states left behind"),
    "hang": ("gathering", "live hosts called dead"),
    "deafened": ("gathering", "deaths heard of too late"),
    "trusting": ("gathering", "two hosts sampling at once"),
    "unheeded": ("gathering", "halt at a host's fall"),
    "stray": ("gathering", "views that differ"),
    "loose": ("waking", "stranded across suspend"),
    "greedy": ("waking", "wake leases while awake"),
    "hoard": ("waking", "wake leases left behind"),
    "barren": ("waking", "halt at a pipeline's death"),
}

# Who spoil the same play: each in another act, so that it is certain who broke which promise. Those
# whose deed is a halt, which takes long to see, do it at the same time.
PLAYS = (
    ("heirless", "held", "stuck", "heirs", "dozing", "stray", "barren", "litter"),
    ("deaf", "asleep", "lost", "half", "usurp", "hasty", "unheeded", "hoard"),
    ("torn", "twice", "two", "ghost", "deafened", "loose"),
    ("back", "sum", "hang", "greedy"),
    ("fall", "trusting"),
)


def test_for_each_promise_there_is_a_saboteur(whole: dict[str, Any]) -> None:
    from holdfast.demo.acts.playbill import ACTS, SABOTAGE

    assert set(BROKEN) == set(SABOTAGE)
    assert {act for act, _ in BROKEN.values()} == set(ACTS)
    promised = {promise["name"] for promise in whole["promises"]}
    assert promised == {promise for _, promise in BROKEN.values()}


def test_each_saboteur_has_an_act_of_a_play_to_itself() -> None:
    assert sorted(itertools.chain(*PLAYS)) == sorted(BROKEN)
    for play in PLAYS:
        acts = [BROKEN[sabotage][0] for sabotage in play]
        assert len(set(acts)) == len(acts)


@pytest.mark.parametrize("play", PLAYS, ids=" ".join)
def test_each_check_can_fail(place: Path, play: tuple[str, ...]) -> None:
    """A check that cannot fail is worth nothing, and one that others make fail not much."""
    options = ["--seconds", "1", "--seed", "7", "--json"]
    for sabotage in play:
        options += ["--act", BROKEN[sabotage][0], "--break", sabotage]
    code, out, err = run(place, *options)
    assert out, err
    promises = {promise["name"]: promise for promise in json.loads(out)["promises"]}
    broken = {name for name, promise in promises.items() if not promise["kept"]}
    assert broken == {BROKEN[sabotage][1] for sabotage in play}, out + err
    assert all(promises[name]["seen"] > 0 for name in broken), out + err
    assert code == 1
    if "litter" in play:  # a state has two files (K26), and is one nevertheless
        left = promises["states left behind"]
        assert (left["seen"], left["counts"]["files"]) == (1, 2)
    if "fall" in play:
        failing = promises["failing processes"]
        assert (failing["seen"], failing["evidence"]) == (1, "counter: RuntimeError: told to fall")


def test_broken_promises_are_named_in_the_table_with_the_last_words_of_the_fallen(
    place: Path,
) -> None:
    acts = ("--act", "sampling", "--act", "counting")
    code, out, _ = run(place, "--seconds", "1", *acts, "--break", "torn", "--break", "fall")
    assert code == 1
    assert out.splitlines()[-1] == "BROKEN: torn reads, failing processes"
    [row] = [line for line in out.splitlines() if line.startswith("failing processes")]
    assert row.endswith("  counter: RuntimeError: told to fall")


def test_in_a_pipe_it_tells_a_line_a_second_and_prints_the_table(place: Path) -> None:
    code, out, err = run(place, "--seconds", "2.5", "--act", "sampling", "--act", "gathering")
    assert code == 0, out + err
    assert out.splitlines()[-1] == "All promises were kept."
    # In 2.5 s; one is late, or missing, if the machine was. That they come the next tests wait for.
    assert len([line for line in err.splitlines() if " reader " in line]) <= 3
    told = [line for line in err.splitlines() if " s  host" in line]
    assert "is killed" in told[0]
    assert "have heard" in told[1]
    assert "is back: all see the same" in told[2]


@pytest.fixture
def playing(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo in the middle of its play."""
    acts = ("sampling", "leading", "vanishing", "gathering", "waking")
    options = [word for act in acts for word in ("--act", act)]
    with start(place, "--seconds", "60", *options, process_group=0) as child:
        assert child.stderr
        for line in child.stderr:
            if " reader " in line:
                break
        assert len(players_of(place)) > 10
        yield child
        child.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_at_once_and_leaves_nothing(
    place: Path, playing: subprocess.Popen[str], number: signal.Signals
) -> None:
    os.killpg(playing.pid, number)  # as a terminal does
    out, err = playing.communicate(timeout=30)  # it would play for a minute
    assert playing.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert eventually_gone(place)  # a player's child dies with it, and may not have done so yet
    assert list(place.iterdir()) == []


def test_the_players_die_with_a_stage_that_is_killed(
    place: Path, playing: subprocess.Popen[str]
) -> None:
    playing.kill()
    assert eventually_gone(place)


def test_what_a_killed_stage_has_left_the_next_one_removes(place: Path) -> None:
    """But nothing of one that lives, or that has just begun."""
    left = {name: place / f"holdfast-demo-{name}" for name in ("dead", "living", "young")}
    for path in left.values():
        (path / "states").mkdir(parents=True)
    living = os.open(left["living"], os.O_RDONLY)
    fcntl.flock(living, fcntl.LOCK_EX)
    for name in ("dead", "living"):
        os.utime(left[name], (0, 0))
    with start(place, "--seconds", "1", "--act", "vanishing") as child:
        child.communicate(timeout=100)
    os.close(living)
    assert sorted(place.iterdir()) == [left["living"], left["young"]]


# A process of the demo's session takes over its orphans: then the kernel does not end those of them
# that are stopped, as it otherwise does (setpgid(2), on orphaned process groups).
FOSTER = """
import subprocess, sys
from holdfast.supervise.launcher import PR_SET_CHILD_SUBREAPER, prctl

assert prctl(PR_SET_CHILD_SUBREAPER, 1)
with subprocess.Popen(sys.argv[1:], process_group=0) as demo:
    print(demo.pid, flush=True)
sys.stdin.read()
"""


def test_a_player_that_is_stopped_dies_with_the_stage_too(place: Path) -> None:
    """It cannot read that its input has ended."""
    demo = [*PROGRAM, "--seconds", "60", "--act", "sampling"]
    with subprocess.Popen(
        [sys.executable, "-c", FOSTER, *demo],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HOLDFAST_STATE_DIR": str(place)},
    ) as foster:
        assert foster.stdin
        assert foster.stdout
        assert foster.stderr
        pid = int(foster.stdout.readline())
        for line in foster.stderr:
            if " reader " in line:
                break
        [reader] = players_of(place, "reader")
        os.kill(reader, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        gone = eventually_gone(place)
        foster.stdin.close()
    assert gone


def test_on_a_terminal_there_is_a_live_picture(place: Path) -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"HOLDFAST_STATE_DIR": str(place), "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [*PROGRAM, "--seconds", "1", "--act", "gathering"],
        stdout=slave,
        stderr=slave,
        env=environment,
    ) as child:
        os.close(slave)
        shown = b""
        try:
            while chunk := os.read(master, 1 << 16):
                shown += chunk
        except OSError:  # the other end of a terminal was closed
            pass
    os.close(master)
    assert child.returncode == 0, shown
    assert b"a second" in shown
    assert b"sees 0 1 2 3 4" in shown
    assert b"which samples, is killed" in shown
    assert b"s after" in shown
    assert b"All promises were kept." in shown
    assert b"states left behind" not in shown, "there are none in this act"


def test_wrong_usage_is_told_as_everywhere(place: Path) -> None:
    code, _, err = run(place, "--seconds", "0")
    assert code == 2
    assert err.startswith("error: ")
    code, out, _ = run(place, "--help")
    assert code == 0
    assert "--seconds" in out
    assert "--break" not in out
