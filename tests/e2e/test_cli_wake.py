"""``holdfast wake`` as a user meets it: governors, holds, and who is to blame."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from holdfast import wake
from holdfast.cli.main import run as holdfast
from holdfast.errors import Unavailable
from tests.e2e.terminal import PATIENCE_S, ended, line, until
from tests.e2e.wake_terminal import Terminal, a_terminal

NO_PID = (1 << 22) + 1  # no kernel gives so high a number: PID_MAX_LIMIT
VERBS = ("serve", "run", "ls", "why", "watch", "suspend", "attach")

# Acquires a wake lease, starts a child that inherits it for no reason, and ends.
LEAKING = """
import os, subprocess, sys
from holdfast import wake
os.setsid()  # so that its child is known for its, whoever takes the child in
governor = wake.connect()
lease = governor.acquire("upload")
os.set_inheritable(lease.fileno(), True)
child = subprocess.Popen(["sleep", "1000"], close_fds=False, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
if sys.argv[1] == "wait":
    input()
lease.close()
child.returncode = 0
"""

# Hands a baton to itself, and says how far it is.
WORKING = """
import socket
from holdfast import wake
governor = wake.connect()
ours, theirs = socket.socketpair()
with governor.acquire("upload") as lease:
    wake.send(ours, b"event", lease, index=812)
data, baton = wake.receive(theirs, governor=governor)
baton.progress(790)
governor.status()
print("working", flush=True)
input()
baton.close()
"""


@pytest.fixture
def alone() -> Iterator[Terminal]:
    with a_terminal() as one:
        yield one


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with a_terminal() as one:
        one.govern()
        yield one


# -- without a governor ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["why"],
        ["watch"],
        ["attach", "{pid}"],
        ["run", "--", "touch", "{mark}"],
        ["run", "--mode", "delay", "--", "touch", "{mark}"],
    ],
    ids=" ".join,
)
def test_without_a_governor_it_is_said_what_to_do(alone: Terminal, arguments: list[str]) -> None:
    mark = alone.directory / "mark"
    done = alone.run(*(word.format(mark=mark, pid=os.getpid()) for word in arguments))
    assert (done.returncode, done.stdout) == (69, "")
    first, second, third = done.stderr.splitlines()
    assert first == "error: no governor is running"
    assert second == f"  on: {alone.socket}"
    assert "holdfast wake serve" in third
    assert not mark.exists()


def test_without_a_governor_programs_are_told_as_well(alone: Terminal) -> None:
    done = alone.run("ls", "--json")
    assert (done.returncode, done.stdout) == (69, "")
    assert json.loads(done.stderr)["error"]["code"] == "unavailable"


def test_a_governor_that_was_killed_is_none_and_another_takes_its_place(alone: Terminal) -> None:
    first = alone.govern()
    first.kill()
    first.wait()
    assert alone.run("ls").returncode == 69
    alone.govern()
    assert alone.held() == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert holdfast(["wake", verb, "--help"]) == 0
    told = capsys.readouterr().out
    assert f"holdfast wake {verb}" in told.split("Example:")[1]
    assert "exit code" in told or verb in {"serve", "ls", "why"}
    assert "--json" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--", "true"],
        ["serve", "--backend", "nothing"],
        ["serve", "--backend", "logind", "--sleep", "1"],
        ["serve", "--max-time", "1"],
        ["attach"],
        ["attach", "0"],
        ["watch", "--count", "0"],
        ["suspend", "--timeout", "soon"],
        ["run", "-t", "1", "--", "true"],
        ["run", "-w", "1", "--", "true"],
        ["run", "--mode", "delay"],
        ["run", "--signal", "KILL", "--", "true"],
        ["dance"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert holdfast(["wake", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")


# -- serve ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_governor_tells_where_it_is_and_ends_in_good_order(alone: Terminal, number: int) -> None:
    governor = alone.start("serve", "--json")
    told = json.loads(line(governor))
    assert told == {"what": "serving", "socket": alone.socket, "backend": "simulated"}
    governor.send_signal(number)
    assert ended(governor) == (0, "")
    assert not os.path.exists(alone.socket)


def test_the_usual_place_is_made_if_it_is_missing(alone: Terminal) -> None:
    del alone.environment["HOLDFAST_WAKE_SOCKET"]
    governor = alone.start("serve")
    where = alone.directory / "run" / "wake.sock"
    assert line(governor) == f"serving\t{where}\tsimulated"
    assert alone.run("ls", "--socket", str(where)).returncode == 0


def test_two_governors_cannot_share_a_socket(terminal: Terminal) -> None:
    done = terminal.run("serve")
    assert (done.returncode, done.stdout) == (1, "")
    assert terminal.socket in done.stderr
    assert terminal.held() == []


def test_with_auto_the_machine_sleeps_when_nothing_forbids_it(alone: Terminal) -> None:
    alone.govern("--auto", "--sleep", "10ms")
    done = alone.run("watch", "--since", "0", "--json", "--count", "30")
    kinds = [json.loads(each)["kind"] for each in done.stdout.splitlines()]
    assert kinds.count("slept") >= 2
    hold = alone.start("run", "--name", "busy")
    assert alone.comes_to("busy")
    assert until(lambda: alone.status().state == "awake"), "it was granted, and nothing sleeps"
    hold.kill()
    hold.wait()
    before = alone.status().suspends
    assert until(lambda: alone.status().suspends > before)


def test_a_drain_runs_the_command_once_nothing_forbids_it(alone: Terminal) -> None:
    mark = alone.directory / "mark"
    alone.govern("--backend", "command", "--", "touch", str(mark))
    hold = alone.start("run", "--name", "busy")
    assert alone.comes_to("busy")
    assert alone.run("suspend", "--timeout", "0").returncode == 75
    assert not mark.exists()
    hold.kill()
    hold.wait()
    assert alone.run("suspend", "--timeout", "30").returncode == 0
    assert mark.exists()


# -- ls and why -----------------------------------------------------------------------------------


def test_nothing_held_is_nothing_listed(terminal: Terminal) -> None:
    assert terminal.run("ls").stdout == ""
    assert terminal.told("ls") == []
    done = terminal.run("why")
    assert done.stdout.splitlines() == [
        "The governor is awake.",
        "Nothing forbids a suspend, and nobody has asked for one.",
    ]


def test_who_holds_it_and_who_cannot_let_go(terminal: Terminal) -> None:
    hold = terminal.start("run", "--name", "upload", "--", "sleep", "1000")
    assert terminal.comes_to("upload")
    assert terminal.is_by("sleep")
    name, acquirer, holder, age, state = terminal.run("ls").stdout.rstrip("\n").split("\t")
    who = f"sleep ({hold.pid})"
    assert (name, acquirer, holder, state) == ("upload", who, who, "held")
    assert float(age) >= 0
    [told] = terminal.told("ls")
    assert told["acquirer"]["pid"] == told["holders"][0]["pid"] == hold.pid
    assert told["holders"][0]["announced"] is True
    assert isinstance(told["granted_ns"], str)
    os.kill(hold.pid, signal.SIGSTOP)
    assert until(lambda: terminal.where()[0].holders[0].state == "frozen")
    [told] = terminal.told("ls")
    assert (told["state"], told["holders"][0]["halt"]) == ("frozen", "stopped")
    assert f"cannot let go before `kill -CONT {hold.pid}`" in terminal.run("why").stdout
    os.kill(hold.pid, signal.SIGCONT)
    assert until(lambda: terminal.where()[0].holders[0].state == "holding")


def test_a_leak_is_named_with_who_is_to_blame(terminal: Terminal) -> None:
    program = [sys.executable, "-c", LEAKING]
    uploader = terminal.start("wait", program=program)
    sleep = int(line(uploader))
    try:
        [told] = terminal.told("ls")
        assert told["state"] == "leaked"
        states = {one["pid"]: (one["state"], one["heir_of"]) for one in told["holders"]}
        assert states == {uploader.pid: ("holding", None), sleep: ("leaked", uploader.pid)}
        assert uploader.stdin is not None
        uploader.stdin.write("\n")
        uploader.stdin.flush()
        assert until(lambda: len(terminal.where()[0].holders) == 1)
        told = terminal.told("why")
        [sentence] = [each for each in told["lines"] if "upload" in each]
        assert f"is now held by pid {sleep} (sleep), which never announced" in sentence
        assert "probably leaked into a child of pid" in sentence
        assert told["status"]["wake_leases"] == ["upload"]
        assert told["wake_leases"][0]["state"] == "leaked"
    finally:
        os.kill(sleep, signal.SIGKILL)
    assert terminal.comes_to()


def test_who_works_is_told_with_how_far_it_is(terminal: Terminal) -> None:
    worker = terminal.start(program=[sys.executable, "-c", WORKING])
    assert line(worker) == "working"
    _, _, holder, _, state = terminal.run("ls").stdout.rstrip("\n").split("\t")
    assert (holder.split()[-1], state) == ("790/812", "held")
    [told] = terminal.told("ls")
    assert (told["holders"][0]["index"], told["holders"][0]["processed"]) == (812, 790)
    assert told["hops"][0]["processed_ns"] is not None
    assert "until it has processed message 812 (it had processed 790, as it said " in (
        terminal.run("why").stdout
    )


def test_why_tells_of_the_last_attempt(terminal: Terminal) -> None:
    assert terminal.run("suspend").returncode == 0
    told = terminal.told("why")
    assert any(each.startswith("The machine slept for ") for each in told["lines"])
    assert (told["status"]["suspends"], told["wake_leases"]) == (1, [])
    assert (told["stoppers"], told["pipelines"], told["status"]["stranded"]) == ([], [], 0)


def test_of_a_governor_that_was_stopped_nobody_waits_for_ever(alone: Terminal) -> None:
    """It lives, and does not answer; that says nothing about its wake leases."""
    terminal, governor = alone, alone.govern()
    with (
        wake.connect(terminal.socket, timeout=0.2) as client,
        client.acquire("held", timeout=PATIENCE_S) as held,
    ):
        os.kill(governor.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unavailable, match=r"lives, and has not answered for 0\.2 s"):
                client.status()
            with pytest.raises(Unavailable, match="has not answered for 0 s"):
                client.acquire("not held", timeout=0)
            assert not held.orphaned
        finally:
            os.kill(governor.pid, signal.SIGCONT)
        assert terminal.comes_to("held")
        with client.acquire("again", timeout=PATIENCE_S):
            assert terminal.comes_to("held", "again")


# -- suspend --------------------------------------------------------------------------------------


def test_a_suspend_returns_when_the_machine_is_back(terminal: Terminal) -> None:
    done = terminal.run("suspend")
    assert (done.returncode, done.stderr) == (0, "")
    name, value = done.stdout.split()
    assert (name, float(value) > 0) == ("slept_s", True)
    assert terminal.told("suspend")["slept_s"] > 0


def test_a_suspend_that_is_forbidden_says_by_whom(terminal: Terminal) -> None:
    terminal.start("run", "--name", "upload")
    assert terminal.comes_to("upload")
    done = terminal.run("suspend", "--timeout", "100ms")
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.startswith("waiting for 'upload'\nerror: ")
    assert "upload" in done.stderr.splitlines()[1]
    done = terminal.run("suspend", "--timeout", "0", "--json")
    assert json.loads(done.stderr)["error"]["code"] == "suspend_aborted"


def test_ctrl_c_withdraws_a_suspend(terminal: Terminal) -> None:
    hold = terminal.start("run", "--name", "upload")
    assert line(hold, "stderr") == "wake lease 'upload' is held"  # and signals are caught
    asking = terminal.start("suspend")
    assert line(asking, "stderr") == "waiting for 'upload'"
    assert until(lambda: terminal.status().requests == 1)
    asking.send_signal(signal.SIGINT)
    assert ended(asking)[0] == 130
    assert until(lambda: terminal.status().requests == 0)
    hold.terminate()
    assert ended(hold)[0] == 143
    assert terminal.status().suspends == 0


# -- watch ----------------------------------------------------------------------------------------


def test_what_happens_is_shown_as_it_happens(terminal: Terminal) -> None:
    watching = terminal.start("watch", "--since", "0")
    terminal.run("run", "--name", "upload", "--", "true")
    assert watching.stdout is not None
    seen: list[list[str]] = []
    while not seen or seen[-1][2] != "lease-closed":
        seen.append(watching.stdout.readline().rstrip("\n").split("\t"))
    assert [each[1] for each in seen] == [str(number) for number in range(len(seen))]
    assert {each[2] for each in seen} >= {"lease-granted", "lease-closed"}
    assert seen[-1][3] == "upload"
    watching.send_signal(signal.SIGINT)
    assert ended(watching)[0] == 130


def test_a_watch_ends_by_count_or_by_time(terminal: Terminal) -> None:
    terminal.run("run", "--name", "upload", "--", "true")
    done = terminal.run("watch", "--since", "0", "--count", "2", "--json")
    first, second = (json.loads(each) for each in done.stdout.splitlines())
    assert (done.returncode, first["number"], second["number"]) == (0, 0, 1)
    assert isinstance(first["at_ns"], str)
    done = terminal.run("watch", "--count", "1", "--timeout", "100ms")
    assert (done.returncode, done.stdout) == (75, "")
    assert terminal.run("watch", "--timeout", "100ms").returncode == 0


def test_a_watch_ends_with_the_governor(alone: Terminal) -> None:
    governor = alone.govern()
    watching = alone.start("watch", "--since", "0")
    alone.run("run", "--", "true")
    assert line(watching)
    governor.kill()
    code, told = ended(watching)
    assert code == 69
    assert "error: " in told


# -- attach ---------------------------------------------------------------------------------------


def test_a_process_that_runs_already_keeps_the_machine_up(terminal: Terminal) -> None:
    sleep = subprocess.Popen(["sleep", "1000"])
    try:
        holding = terminal.start("attach", str(sleep.pid))
        name = f"sleep ({sleep.pid})"
        assert line(holding, "stderr") == f"wake lease {name!r} is held"
        [seen] = terminal.where()
        assert (seen.lease.name, seen.lease.pid) == (name, holding.pid)
    finally:
        sleep.kill()
        sleep.wait()
    assert ended(holding) == (0, "")
    assert terminal.held() == []


def test_a_process_that_is_not_there_is_told(terminal: Terminal) -> None:
    told = terminal.run("attach", str(NO_PID))
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("error: there is no such process")


def test_attached_we_end_by_a_signal_and_let_go(terminal: Terminal) -> None:
    for number, code in (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9):
        holding = terminal.start("attach", str(os.getpid()), "--name", "tests", "--json")
        assert json.loads(line(holding))["name"] == "tests"
        assert terminal.held() == ["tests"]
        holding.send_signal(number)
        assert ended(holding)[0] == code
        assert terminal.comes_to()


def test_attached_we_notice_that_the_governor_has_gone(alone: Terminal) -> None:
    governor = alone.govern()
    holding = alone.start("attach", str(os.getpid()))
    assert "is held" in line(holding, "stderr")
    governor.kill()
    out, told = holding.communicate(timeout=PATIENCE_S)
    assert (holding.returncode, out) == (69, "")
    assert "the governor has gone: nothing keeps the machine up any more" in told
