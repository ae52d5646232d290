"""``holdfast demo``: real processes, real deaths; and each of its checks can fail."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
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


def players_of(place: Path) -> list[int]:
    """The processes whose command line names the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(place).encode() in command:
                found.append(int(entry.name))
    return found


def eventually_gone(place: Path) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not players_of(place):
            return True
        time.sleep(0.01)
    return False


def test_every_promise_is_kept_and_has_evidence(place: Path) -> None:
    """K2, K5, K6, K26, K37, K46, K48, K55, K56, K68: with deaths in the middle of everything."""
    code, out, err = run(place, "--seconds", "3", "--seed", "7", "--json")
    assert code == 0, out + err
    result = json.loads(out)
    assert result["kept"] is True
    assert (result["seconds"], result["seed"]) == (3.0, 7)
    of = {promise["name"]: promise["of"] for promise in result["promises"]}
    assert all(promise["seen"] == 0 for promise in result["promises"])
    assert of["torn reads"] > 10_000
    assert of["lost wake-ups, in a stream"] > 100
    assert of["lost wake-ups, one by one"] > 100
    assert of["lost or doubled updates"] > 1000
    assert of["halt at a sampler's death"] >= 1
    assert of["halt at a counter's death"] >= 2
    assert of["half a commit"] > 1000
    assert of["halt at a pairer's death"] >= 2
    assert of["two leaders at once"] > 100
    assert of["commits of a former leader"] > 100
    assert of["halt at a leader's fall"] >= 2
    assert of["versions shown too soon"] > 20
    assert of["last of a burst not shown"] > 3
    assert of["states that do not vanish"] > 5
    assert of["states left behind"] >= 6
    assert any("sampler killed" in event["what"] for event in result["events"])


BROKEN = {
    "torn": "torn reads",
    "back": "versions going back",
    "deaf": "lost wake-ups, in a stream",
    "asleep": "lost wake-ups, one by one",
    "heirless": "halt at a sampler's death",
    "lost": "lost or doubled updates",
    "twice": "lost or doubled updates",
    "sum": "totals that are no sum",
    "held": "halt at a counter's death",
    "fall": "failing processes",
    "half": "half a commit",
    "stuck": "halt at a pairer's death",
    "usurp": "commits of a former leader",
    "two": "two leaders at once",
    "heirs": "halt at a leader's fall",
    "hasty": "versions shown too soon",
    "dozing": "last of a burst not shown",
    "ghost": "states that do not vanish",
    "litter": "states left behind",
}


def test_for_each_promise_there_is_a_saboteur() -> None:
    from holdfast.demo.acts import SABOTAGE

    assert set(BROKEN) == set(SABOTAGE)


@pytest.mark.parametrize("sabotage", BROKEN)
def test_each_check_can_fail(place: Path, sabotage: str) -> None:
    """A check that cannot fail is worth nothing."""
    code, out, err = run(place, "--seconds", "1", "--seed", "7", "--json", "--break", sabotage)
    assert code == 1, out + err
    assert out, err
    broken = [promise["name"] for promise in json.loads(out)["promises"] if not promise["kept"]]
    assert BROKEN[sabotage] in broken


def test_a_state_that_is_left_behind_is_one_whatever_its_files(place: Path) -> None:
    """K26: a state has two."""
    _, out, _ = run(place, "--seconds", "1", "--json", "--break", "litter")
    [left] = [one for one in json.loads(out)["promises"] if one["name"] == "states left behind"]
    assert (left["seen"], left["counts"]["files"]) == (1, 2)


def test_a_broken_promise_is_named_in_the_table(place: Path) -> None:
    code, out, _ = run(place, "--seconds", "1", "--break", "torn")
    assert code == 1
    assert "BROKEN: torn reads" in out.splitlines()[-1]


def test_in_a_pipe_it_tells_a_line_a_second_and_prints_the_table(place: Path) -> None:
    code, out, err = run(place, "--seconds", "2.5")
    assert code == 0, out + err
    assert out.splitlines()[-1] == "All promises were kept."
    assert len([line for line in err.splitlines() if "sampler" in line]) == 2


@pytest.fixture
def playing(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo in the middle of its play."""
    with start(place, "--seconds", "60", process_group=0) as child:
        assert child.stderr
        for line in child.stderr:
            if "sampler" in line:
                break
        assert len(players_of(place)) > 5
        yield child
        child.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_at_once_and_leaves_nothing(
    place: Path, playing: subprocess.Popen[str], number: signal.Signals
) -> None:
    before = time.monotonic()
    os.killpg(playing.pid, number)  # as a terminal does
    out, err = playing.communicate(timeout=20)
    assert time.monotonic() - before < 5
    assert playing.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert players_of(place) == []
    assert list(place.iterdir()) == []


def test_the_players_die_with_a_stage_that_is_killed(
    place: Path, playing: subprocess.Popen[str]
) -> None:
    playing.kill()
    assert eventually_gone(place)


def test_on_a_terminal_there_is_a_live_picture(place: Path) -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"HOLDFAST_STATE_DIR": str(place), "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [*PROGRAM, "--seconds", "1"], stdout=slave, stderr=slave, env=environment
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
    assert b"All promises were kept." in shown


def test_wrong_usage_is_told_as_everywhere(place: Path) -> None:
    code, _, err = run(place, "--seconds", "0")
    assert code == 2
    assert err.startswith("error: ")
    code, out, _ = run(place, "--help")
    assert code == 0
    assert "--seconds" in out
    assert "--break" not in out
