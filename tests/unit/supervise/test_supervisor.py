"""The supervisor, with real processes: commands that end, and commands that are stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.supervise.wardens import (
    DEAF,
    PATIENCE_S,
    RUNAWAY,
    SHELL,
    WARDEN,
    Start,
    lives,
    python,
    state_of,
    until,
)

# -- endings of the command itself ----------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 90, 255])
def test_the_exit_code_passes_through(start: Start, code: int) -> None:
    seen, outcome = start("sh", "-c", f"exit {code}").end()
    assert seen == code
    assert (outcome["ending"], outcome["code"], outcome["signal"]) == ("exited", code, None)
    assert outcome["started"]
    assert not outcome["lost"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_signal_becomes_128_and_its_number(start: Start, number: int) -> None:
    seen, outcome = start("sh", "-c", f"kill -{int(number)} $$").end()
    assert seen == 128 + number
    assert (outcome["code"], outcome["signal"]) == (None, number)


def test_what_cannot_be_executed_is_126_and_what_is_missing_127(
    start: Start, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    code, outcome = start(str(script)).end()
    assert (code, outcome["ending"], outcome["started"]) == (127, "broken", False)
    script.write_text("#!/etc\n")
    code, outcome = start(str(script)).end()
    assert (code, outcome["ending"], outcome["started"]) == (126, "broken", False)


def test_a_script_without_a_first_line_is_the_shells(start: Start, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo $1\n")
    script.chmod(0o755)
    one = start(str(script), "word")
    assert one.line() == "word"
    assert one.end()[0] == 0


def test_the_command_is_itself(start: Start) -> None:
    """No wrapper stays between: its parent is the supervisor, its name and arguments its own."""
    one = start(*python("import os, sys; print(os.getpid(), os.getppid(), os.getpgrp())"))
    pid, parent, group = one.numbers()
    assert parent == one.process.pid
    assert group == pid
    assert one.end()[0] == 0


def test_the_command_finds_signals_as_they_were(start: Start) -> None:
    """The interpreter ignores SIGPIPE and SIGXFSZ; the command must not inherit that."""
    one = start("sh", "-c", "grep SigIgn /proc/self/status; grep SigBlk /proc/self/status")
    ignored = int(one.line().split()[1], 16)
    assert int(one.line().split()[1], 16) == 0
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
        assert not ignored & 1 << (number - 1)
    one.end()


def test_descriptors_of_the_caller_reach_the_command_and_ours_do_not(start: Start) -> None:
    one = start("ls", "/proc/self/fd", lose=True)  # the pipe of the loss is the caller's
    seen = []
    while line := one.line():
        seen.append(int(line))
    assert one.end()[0] == 0
    assert len(seen) == 5  # standard ones, the caller's, and that of ls itself


def test_a_closed_standard_input_disturbs_nobody(start: Start, tmp_path: Path) -> None:
    settings = json.dumps({"result": str(tmp_path / "result.json")})
    one = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, WARDEN, settings, "echo", "hello"],
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert (one.returncode, one.stdout) == (0, b"hello\n")


# -- who is left behind ---------------------------------------------------------------------------


def test_who_ends_soon_after_the_command_is_let_end(start: Start) -> None:
    one = start("sh", "-c", "(sleep 0.3; echo late) & exit 5", grace=60, drain=60)
    assert one.line() == "late"
    code, outcome = one.end()
    assert code == 5
    assert outcome["ran_s"] >= 0.3


def test_who_is_left_of_the_group_is_stopped(start: Start) -> None:
    one = start("sh", "-c", "sleep 1000 & echo $$ $!; exit 5", grace=0.2)
    _, left = one.numbers()
    code, outcome = one.end()
    assert (code, outcome["ending"]) == (5, "exited")
    assert not lives(left)
    assert one.complaint() == "warden is up"
    assert str(left) in one.complaint()


def test_a_daemon_is_left_alone_when_the_command_ends_well(start: Start) -> None:
    one = start(*python(RUNAWAY))
    _, daemon = one.numbers()
    try:
        assert one.end()[0] == 0
        assert lives(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)


# -- loss -----------------------------------------------------------------------------------------


def test_a_loss_stops_the_whole_group(start: Start) -> None:
    one = start("sh", "-c", SHELL, lose=True)
    shell, sleep = one.numbers()
    assert lives(sleep)
    one.lose()
    code, outcome = one.end()
    assert code == 90
    assert (outcome["ending"], outcome["lost"], outcome["started"]) == ("lost", True, True)
    assert outcome["signal"] == signal.SIGTERM
    assert not lives(shell)
    assert not lives(sleep)


def test_who_ignores_sigterm_is_killed_after_the_grace(start: Start) -> None:
    one = start("sh", "-c", DEAF, lose=True, grace=0.5)
    shell, sleep = one.numbers()
    before = time.monotonic()
    one.lose()
    code, outcome = one.end()
    assert (code, outcome["signal"]) == (90, signal.SIGKILL)
    assert time.monotonic() - before >= 0.5
    assert not lives(shell)
    assert not lives(sleep)


def test_a_grandchild_that_outlives_its_parent_is_killed_too(start: Start) -> None:
    source = '(trap "" TERM; echo $$ $(exec sh -c "echo \\$PPID"); sleep 1000; sleep 1000) & wait'
    one = start("sh", "-c", source, lose=True, grace=0.5)
    shell, deaf = one.numbers()
    one.lose()
    assert one.end()[0] == 90
    assert not lives(shell)
    assert not lives(deaf)


def test_who_has_left_the_group_is_stopped_by_a_loss(start: Start) -> None:
    one = start(*python(RUNAWAY + "time.sleep(1000)"), lose=True)
    child, runaway = one.numbers()
    assert os.getpgid(runaway) != child
    one.lose()
    assert one.end()[0] == 90
    assert until(lambda: not lives(runaway))


def test_a_stopped_command_hears_of_the_loss(start: Start) -> None:
    one = start("sh", "-c", SHELL, lose=True)
    shell, sleep = one.numbers()
    os.kill(shell, signal.SIGSTOP)
    os.kill(sleep, signal.SIGSTOP)
    assert until(lambda: state_of(sleep) == "T")
    assert one.process.poll() is None
    one.lose()
    code, outcome = one.end()
    assert (code, outcome["signal"]) == (90, signal.SIGTERM)


def test_a_command_that_ends_in_its_own_way_while_it_is_stopped(start: Start) -> None:
    one = start("sh", "-c", "trap 'sleep 0.2; exit 7' TERM; echo 1; sleep 1000 & wait", lose=True)
    assert one.line() == "1"
    one.lose()
    code, outcome = one.end()
    assert (code, outcome["code"], outcome["lost"]) == (90, 7, True)


def test_a_deadline_that_passes_is_a_loss_though_nobody_says_so(
    start: Start, tmp_path: Path
) -> None:
    lapse = tmp_path / "lapse"
    one = start("sh", "-c", SHELL, lose=True, lapse=str(lapse))
    _, sleep = one.numbers()
    assert lives(sleep)
    lapse.touch()
    code, outcome = one.end()
    assert (code, outcome["ending"]) == (90, "lost")
    assert not lives(sleep)


def test_what_was_lost_before_the_start_is_never_started(start: Start, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code, outcome = start("touch", str(mark), lose=True, deadline=-1.0).end()
    assert (code, outcome["started"], outcome["lost"]) == (90, False, True)
    assert not mark.exists()


# -- the time limit -------------------------------------------------------------------------------


def test_the_time_limit_is_124(start: Start) -> None:
    one = start("sh", "-c", SHELL, limit=2.0)
    pids = one.numbers()  # none, if the machine took all of the time to start it
    code, outcome = one.end()
    assert (code, outcome["ending"], outcome["lost"]) == (124, "limit", False)
    assert len(pids) == 2 * outcome["started"]
    assert not any(lives(pid) for pid in pids)


# -- arguments ------------------------------------------------------------------------------------


def test_arguments_pass_unchanged(start: Start) -> None:
    words = ["", "two words", "ümläut", "-x", "--", "$HOME", "a\nb"]
    one = start(*python("import sys; print(ascii(sys.argv[1:]))"), *words)
    assert one.line() == ascii(words)
    assert one.end()[0] == 0
