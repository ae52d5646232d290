"""``holdfast lease run`` as a user meets it: commands that die, hang and lose their lease."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import lease
from tests.e2e.lease_terminal import LOCAL, PROGRAM, SQLITE, Terminal, terminal_on
from tests.e2e.terminal import PATIENCE_S, both, ended, line, lives, until

# A command with a child in its group; it tells both pids.
TWO = ["sh", "-c", "sleep 1000 & echo $$ $!; wait"]


@pytest.fixture(params=[LOCAL, SQLITE])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    with terminal_on(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Terminal]:
    with terminal_on(LOCAL, tmp_path) as one:
        yield one


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Terminal]:
    with terminal_on(SQLITE, tmp_path) as one:
        yield one


def database_of(terminal: Terminal) -> Path:
    return terminal.directory / "db" / "leases.db"


def others_can_write(terminal: Terminal) -> bool:
    """Whether nobody has the lock of SQLite's writers, or of those who make files there."""
    try:
        if database_of(terminal).exists():
            with contextlib.closing(sqlite3.connect(database_of(terminal), timeout=0)) as database:
                database.execute("BEGIN IMMEDIATE")
        else:
            with open(terminal.directory / "states" / ".lock", "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (sqlite3.OperationalError, BlockingIOError):
        return False
    return True


def stop(child: subprocess.Popen[str], terminal: Terminal) -> None:
    """Stop it, but not in the midst of a renewal: everybody would wait for it to go on."""

    def stopped_outside() -> bool:
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        if others_can_write(terminal):
            return True
        child.send_signal(signal.SIGCONT)
        return False

    assert until(stopped_outside)


# -- run: the command -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_passes_through(terminal: Terminal, code: int) -> None:
    result = str(terminal.directory / "result.json")
    done = terminal.run("run", "x", "--result", result, "--", "sh", "-c", f"echo hi; exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "hi\n", "")
    told = terminal.result()
    assert (told["outcome"], told["exit_code"], told["code"]) == ("exited", code, code)
    assert (told["signal"], told["lost"], told["name"]) == (None, False, "x")
    assert told["fencing_token"] >= 1
    assert told["ran_s"] > 0
    assert terminal.held() == []


def test_a_signal_is_128_and_its_number(local: Terminal) -> None:
    result = str(local.directory / "result.json")
    done = local.run("run", "x", "--result", result, "--", "sh", "-c", "kill -9 $$")
    assert done.returncode == 137
    told = local.result()
    assert (told["outcome"], told["code"], told["signal"]) == ("signaled", None, 9)
    assert local.held() == []


def test_the_command_finds_the_lease_in_its_environment(local: Terminal) -> None:
    source = (
        "import json, os, time; print(json.dumps({k: v for k, v in os.environ.items()"
        " if k.startswith('HOLDFAST')} | {'now': time.clock_gettime_ns(time.CLOCK_BOOTTIME)}))"
    )
    command = ["--holder", "me", "--duration", "60", "--", sys.executable, "-c", source]
    seen = json.loads(local.run("run", "db/migrate", *command).stdout)
    assert seen["HOLDFAST_LEASE"] == "db/migrate"
    assert seen["HOLDFAST_LEASE_HOLDER"] == "me"
    assert int(seen["HOLDFAST_FENCING_TOKEN"]) >= 1
    assert 0 < int(seen["HOLDFAST_LEASE_DEADLINE_NS"]) - seen["now"] <= 60_000_000_000
    assert seen["HOLDFAST_STORE"] == local.environment["HOLDFAST_STORE"]
    again = json.loads(local.run("run", "db/migrate", *command).stdout)
    assert int(again["HOLDFAST_FENCING_TOKEN"]) > int(seen["HOLDFAST_FENCING_TOKEN"])


def test_the_lease_is_renewed_as_long_as_the_command_runs(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = terminal.start("run", "x", "--duration", "9", "--", "sh", "-c", "echo on; read y")
    assert line(child) == "on"
    monkeypatch.setenv("HOLDFAST_STATE_DIR", terminal.environment["HOLDFAST_STATE_DIR"])
    starts: set[int] = set()

    def renewed_twice() -> bool:
        starts.add(leases.records()["x"].start_ns)
        return len(starts) > 2

    with lease.open(terminal.environment["HOLDFAST_STORE"]) as leases:
        assert until(renewed_twice)
    refused = terminal.run("run", "-n", "x", "--", "echo", "never")
    assert (refused.returncode, refused.stdout) == (75, "")
    child.communicate("\n", timeout=PATIENCE_S)
    assert child.returncode == 0


def test_what_cannot_be_started_claims_nothing(local: Terminal) -> None:
    result = str(local.directory / "result.json")
    script = local.directory / "script"
    script.write_text("#!/bin/sh\n")
    for command, code in ("no-such-command", 127), (str(script), 126), ("/", 126):
        done = local.run("run", "x", "--result", result, "--", command)
        assert done.returncode == code
        assert done.stderr.startswith("error: ")
        assert (local.result()["outcome"], local.result()["exit_code"]) == ("error", code)
        assert local.result()["fencing_token"] is None
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    done = local.run("run", "x", "--result", result, "--", str(script))
    assert (done.returncode, local.result()["outcome"]) == (127, "error")
    assert "could not be executed" in done.stderr
    assert local.held() == []


def test_the_time_limit_is_124(local: Terminal) -> None:
    result = str(local.directory / "result.json")
    for limit in ("1s", "5s", "20s"):
        done = local.run("run", "x", "--max-time", limit, "--result", result, "--", *TWO)
        assert done.returncode == 124
        assert "time limit" in done.stderr
        assert (local.result()["outcome"], local.result()["lost"]) == ("timeout", False)
        assert local.held() == []
        if done.stdout:  # else it was stopped before it could tell who it is
            break
    shell, sleep = (int(word) for word in done.stdout.split())
    assert not lives(shell)
    assert not lives(sleep)


def test_a_signal_for_us_is_one_for_the_command(local: Terminal) -> None:
    child = local.start("run", "x", "--", *TWO)
    _, sleep = both(child)
    child.terminate()
    assert ended(child) == (143, "")
    assert not lives(sleep)
    assert local.held() == []


def test_an_old_flock_line_needs_no_dashes(local: Terminal) -> None:
    done = local.run("run", "-w", "5", "-E", "9", "x", "sh", "-c", "echo $1; exit 7", "sh", "-w")
    assert (done.returncode, done.stdout) == (7, "-w\n")


def watches_a_file(pid: int) -> bool:
    """Whether it has a descriptor of inotify(7): so a lease in shared memory is waited for."""
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed while we looked
            if one.readlink().name == "anon_inode:inotify":
                return True
    return False


def test_a_closed_standard_error_does_not_stop_the_command(local: Terminal) -> None:
    read, write = os.pipe()
    os.close(read)
    holding = local.start("run", "x", "--", "sh", "-c", "echo on; read x")
    assert line(holding) == "on"
    waiting = subprocess.Popen(
        [*PROGRAM, "run", "x", "--", "echo", "done"],
        stdout=subprocess.PIPE,
        stderr=write,
        text=True,
        env=local.environment,
    )
    os.close(write)
    assert until(lambda: watches_a_file(waiting.pid)), "it waits, and so it has told for whom"
    assert waiting.poll() is None
    holding.communicate("\n", timeout=PATIENCE_S)
    assert waiting.communicate(timeout=PATIENCE_S)[0] == "done\n"
    assert waiting.returncode == 0


# -- run: one after the other ---------------------------------------------------------------------


def test_two_on_one_name_run_one_after_the_other(terminal: Terminal) -> None:
    log = terminal.directory / "log"
    source = f"echo begin >> {log}; sleep 0.5; echo end >> {log}"
    children = [terminal.start("run", "x", "--", "sh", "-c", source) for _ in range(3)]
    assert [ended(child)[0] for child in children] == [0, 0, 0]
    assert log.read_text().split() == ["begin", "end"] * 3


def test_who_waits_is_told_for_whom_and_when_that_changes(local: Terminal) -> None:
    first = local.start("run", "x", "--why", "schema 42", "--", "sh", "-c", "echo on; read y")
    assert line(first) == "on"
    waiting = local.start("run", "x", "--", "echo", "mine")
    told = line(waiting, "stderr")
    assert told.startswith("waiting for x: held by ")
    assert f"pid {first.pid} (" in told
    assert "echo on" in told
    assert "why: schema 42" in told
    local.run("release", "x", "--force")
    local.run("claim", "x", "--holder", "somebody else", "--duration", "1s", "-w", "9")
    told = line(waiting, "stderr")
    if "somebody else" in told:  # or the waiter was faster
        told = line(waiting, "stderr")
    assert told.startswith("x is ours after ")
    assert ended(waiting)[0] == 0


@pytest.mark.parametrize("options", [["-n"], ["-w", "0.3"], ["--wait", "300ms"]])
def test_who_does_not_get_it_says_whose_it_is(local: Terminal, options: list[str]) -> None:
    local.run("claim", "x", "--holder", "me", "--duration", "10m")
    result = str(local.directory / "result.json")
    done = local.run("run", "x", *options, "--result", result, "--", "echo", "never")
    assert (done.returncode, done.stdout) == (75, "")
    assert "held by 'me'" in done.stderr
    assert (local.result()["outcome"], local.result()["exit_code"]) == ("busy", 75)
    done = local.run("run", "x", *options, "-E", "1", "--", "echo", "never")
    assert (done.returncode, done.stdout) == (1, "")


def test_killed_the_first_takes_its_command_along_and_the_second_follows(
    terminal: Terminal,
) -> None:
    first = terminal.start("run", "x", "--duration", "6", "--", *TWO)
    shell, sleep = both(first)
    second = terminal.start("run", "x", "--", "echo", "mine")
    assert "waiting for x" in line(second, "stderr")
    first.kill()
    assert until(lambda: not lives(shell) and not lives(sleep))
    assert line(second) == "mine"
    assert ended(second)[0] == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_wait_and_leaves_nothing_behind(
    local: Terminal, number: int, code: int
) -> None:
    local.run("claim", "x", "--holder", "me", "--duration", "10m")
    result = str(local.directory / "result.json")
    waiting = local.start("run", "x", "--result", result, "--", "echo", "never")
    assert "waiting for x" in line(waiting, "stderr")
    waiting.send_signal(number)
    out, told = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, out, told) == (code, "", "")
    assert (local.result()["outcome"], local.result()["signal"]) == ("interrupted", number)
    assert local.result()["waited_s"] > 0
    local.run("release", "x", "--holder", "me")
    assert local.held() == []


def test_a_signal_at_any_instant_of_the_beginning_leaves_nothing_behind(local: Terminal) -> None:
    """Before the claim, between claim and start, at the start: sooner or later in many runs."""
    mark = local.directory / "mark"
    for number in range(12):
        child = local.start("run", "x", "--", "sh", "-c", f"echo > {mark}; sleep 1000")
        time.sleep(0.06 + 0.02 * number)
        child.terminate()
        code, told = ended(child)
        assert code in {143, -signal.SIGTERM}, told  # the latter is Python before our first line
        assert local.held() == []
        assert not (code < 0 and mark.exists())
        mark.unlink(missing_ok=True)


# -- run: loss ------------------------------------------------------------------------------------


def test_a_lease_that_somebody_took_away_stops_the_whole_group(terminal: Terminal) -> None:
    result = str(terminal.directory / "result.json")
    child = terminal.start("run", "x", "--duration", "6", "--result", result, "--", *TWO)
    shell, sleep = both(child)
    assert terminal.run("release", "x", "--force").returncode == 0
    code, told = ended(child)
    assert code == 90
    assert "x is lost, and the command was stopped" in told
    assert not lives(shell)
    assert not lives(sleep)
    seen = terminal.result()
    assert (seen["outcome"], seen["lost"], seen["exit_code"]) == ("lost", True, 90)
    assert seen["signal"] == signal.SIGTERM
    assert seen["why"]


def test_the_grace_ends_with_sigkill(local: Terminal) -> None:
    deaf = 'trap "" TERM; sleep 1000 & echo $$ $!; while :; do wait; sleep 1; done'
    command = ["--duration", "6", "--grace", "0.5", "--", "sh", "-c", deaf]
    child = local.start("run", "x", *command)
    shell, sleep = both(child)
    local.run("release", "x", "--force")
    assert ended(child)[0] == 90
    assert not lives(shell)
    assert not lives(sleep)


def test_a_store_that_is_gone_stops_the_command_at_the_deadline(sqlite: Terminal) -> None:
    result = str(sqlite.directory / "result.json")
    child = sqlite.start("run", "x", "--duration", "5", "--result", result, "--", *TWO)
    shell, sleep = both(child)
    with contextlib.closing(sqlite3.connect(database_of(sqlite), timeout=30)) as database:
        database.execute("DROP TABLE holdfast_term")
    code, told = ended(child)
    assert code == 90, told
    assert not lives(shell)
    assert not lives(sleep)
    assert (sqlite.result()["outcome"], sqlite.result()["lost"]) == ("lost", True)


def test_a_store_that_hangs_stops_the_command_at_the_deadline(sqlite: Terminal) -> None:
    """Somebody's transaction never ends: renewals wait for it, and the deadline does not."""
    child = sqlite.start("run", "x", "--duration", "5", "--", *TWO)
    shell, sleep = both(child)
    holding = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys, time\n"
            "c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n"
            "c.execute('BEGIN EXCLUSIVE'); print('locked', flush=True); time.sleep(1000)",
            str(database_of(sqlite)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert line(holding) == "locked"
        code, told = ended(child)
        assert code == 90, told
        assert not lives(shell)
        assert not lives(sleep)
    finally:
        holding.kill()
        holding.communicate()


def test_who_was_stopped_past_the_deadline_stops_the_command_first(terminal: Terminal) -> None:
    """SIGSTOP: nothing can be done meanwhile; when we go on, the loss is the first we see."""
    child = terminal.start("run", "x", "--duration", "5", "--", *TWO)
    _, sleep = both(child)
    stop(child, terminal)
    other = terminal.run("run", "x", "-w", "30", "--", "echo", "mine")
    assert other.stdout == "mine\n"
    assert lives(sleep)  # what fencing tokens are for
    os.kill(child.pid, signal.SIGCONT)
    assert ended(child)[0] == 90
    assert not lives(sleep)
