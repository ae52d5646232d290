"""The supervisor, with real processes: signals that it gets, and its own death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.supervise.wardens import (
    DEAF,
    PATIENCE_S,
    SHELL,
    WARDEN,
    Start,
    lives,
    python,
    state_of,
    until,
)

# -- signals --------------------------------------------------------------------------------------

TRAPS = """
import os, signal, sys, time
def say(number, _):
    print(signal.Signals(number).name, flush=True)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), say)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize(
    "name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"]
)
def test_signals_are_passed_on(start: Start, name: str) -> None:
    one = start(*python(TRAPS), name)
    assert one.line() == "ready"
    one.process.send_signal(getattr(signal, name))
    assert one.line() == name
    assert one.process.poll() is None  # the command decides what follows


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_ends_the_command_ends_its_group(start: Start, number: int) -> None:
    source = "sleep 1000 & echo $$ $!; wait"
    one = start(*python(f"import os; os.execvp('bash', ['bash', '-c', {source!r}])"))
    _, sleep = one.numbers()
    one.process.send_signal(number)
    code, outcome = one.end()
    assert code == 128 + number
    assert outcome["ending"] == "exited"
    assert not lives(sleep)


def test_user_signals_are_for_the_command_alone(start: Start) -> None:
    one = start("sh", "-c", 'trap "echo heard" USR1; sleep 1000 & echo $$ $!; wait; wait')
    _, sleep = one.numbers()
    one.process.send_signal(signal.SIGUSR1)
    assert one.line() == "heard"
    time.sleep(0.5)
    assert lives(sleep)


def test_what_was_ignored_stays_ignored(start: Start, tmp_path: Path) -> None:
    settings = json.dumps({"result": str(tmp_path / "result.json")})
    with subprocess.Popen(
        ["nohup", sys.executable, WARDEN, settings, *python(TRAPS + "#"), "SIGUSR1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGUSR1)
        assert child.stdout.readline() == b"SIGUSR1\n"
        assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_S) == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_nothing_is_started_once_a_signal_has_come(
    start: Start, tmp_path: Path, number: int
) -> None:
    mark = tmp_path / "mark"
    gate = tmp_path / "gate"
    one = start("touch", str(mark), gate=str(gate))
    assert one.complaint() == "warden is up"
    one.process.send_signal(number)
    gate.touch()
    code, outcome = one.end()
    assert code == 128 + number
    assert (outcome["ending"], outcome["started"]) == ("signal", False)
    assert not mark.exists()


def test_a_second_signal_ends_at_once_who_hangs_before_the_start(
    start: Start, tmp_path: Path
) -> None:
    one = start("true", gate=str(tmp_path / "never"))
    assert one.complaint() == "warden is up"
    one.process.send_signal(signal.SIGTERM)
    assert one.complaint() == "told to end"  # else the second might be lost in the first
    time.sleep(0.2)
    assert one.process.poll() is None
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(PATIENCE_S) == -signal.SIGTERM


def test_who_asks_us_to_pause_pauses_the_command_and_us(start: Start) -> None:
    one = start("sh", "-c", SHELL)
    shell, sleep = one.numbers()
    one.process.send_signal(signal.SIGTSTP)
    assert until(lambda: state_of(one.process.pid) == "T")
    assert until(lambda: state_of(shell) == state_of(sleep) == "T")
    one.process.send_signal(signal.SIGCONT)
    assert until(lambda: state_of(sleep) == "S")
    one.process.send_signal(signal.SIGTERM)
    assert one.end()[0] == 128 + signal.SIGTERM


def test_after_a_pause_the_loss_comes_before_the_command_goes_on(
    start: Start, tmp_path: Path
) -> None:
    lapse = tmp_path / "lapse"
    source = "trap 'echo cont' CONT; sleep 1000 & echo $$ $!; while :; do wait; done"
    one = start("sh", "-c", source, lose=True, lapse=str(lapse))
    shell, sleep = one.numbers()
    one.process.send_signal(signal.SIGTSTP)
    assert until(lambda: state_of(one.process.pid) == "T")
    lapse.touch()
    assert state_of(shell) == "T"
    one.process.send_signal(signal.SIGCONT)
    code, outcome = one.end()
    assert (code, outcome["signal"]) == (90, signal.SIGTERM)
    assert one.line() == ""  # it never went on: the end was the first that it heard
    assert not lives(sleep)


def test_a_command_that_stops_itself_is_not_our_pause(start: Start) -> None:
    """Nobody asked us, and no terminal is there: we stay, and renew."""
    one = start("sh", "-c", "echo $$; kill -STOP $$; exit 4")
    (shell,) = one.numbers()
    assert until(lambda: state_of(shell) == "T")
    time.sleep(0.2)
    assert until(lambda: state_of(one.process.pid) == "S")  # and not T, in which it would stay
    os.kill(shell, signal.SIGCONT)
    assert one.end()[0] == 4


# -- our own death --------------------------------------------------------------------------------


def test_killed_with_sigkill_we_take_the_whole_group_along(start: Start) -> None:
    one = start("sh", "-c", DEAF)
    shell, sleep = one.numbers()
    one.process.kill()
    assert until(lambda: not lives(shell))
    assert until(lambda: not lives(sleep))


def test_the_command_dies_with_us_even_without_the_guard(start: Start) -> None:
    one = start("sh", "-c", DEAF)
    shell, sleep = one.numbers()
    for pid in guards_of(one.process.pid):
        os.kill(pid, signal.SIGKILL)
    one.process.kill()
    assert until(lambda: not lives(shell))
    os.kill(sleep, signal.SIGKILL)  # whom only the guard would have reached


def test_the_guard_kills_whom_the_kernel_does_not(start: Start) -> None:
    """The exec of a set-user-ID program resets the parent's death signal; here it is reset."""
    reset = "import ctypes; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0);"
    one = start(*python(f"{reset} import os; os.execvp('sh', ['sh', '-c', {DEAF!r}])"))
    shell, sleep = one.numbers()
    one.process.kill()
    assert until(lambda: not lives(shell))
    assert until(lambda: not lives(sleep))


def test_the_guard_goes_when_all_is_done(start: Start, tmp_path: Path) -> None:
    word = tmp_path / "word"
    os.mkfifo(word)
    one = start("sh", "-c", f"echo 1; read x < {word}; exit 4")
    assert one.line() == "1"
    guards = guards_of(one.process.pid)
    assert len(guards) == 1
    word.write_text("go\n")
    assert one.end()[0] == 4
    assert not any(lives(pid) for pid in guards)


def test_the_guard_holds_nothing_open(start: Start) -> None:
    one = start("sh", "-c", SHELL)
    one.numbers()
    (guard,) = guards_of(one.process.pid)
    assert until(lambda: len(open_in(guard)) == 1), "it lets go when the command may run already"
    assert open_in(guard)[0].startswith("pipe:")
    assert os.readlink(f"/proc/{guard}/cwd") == "/"


def open_in(pid: int) -> list[str]:
    """What the process has open, but for the null device."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed while we looked
            found.append(os.readlink(path))
    return [path for path in found if path != "/dev/null"]


def children_of(pid: int) -> list[int]:
    """Whose parent it is. /proc/PID/task/TID/children may leave some out, proc(5): not used."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            _, _, facts = (entry / "stat").read_text().rpartition(")")
            if int(facts.split()[1]) == pid:
                found.append(int(entry.name))
    return found


def guards_of(pid: int) -> list[int]:
    found = []
    for child in children_of(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"launcher.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def test_the_entries_of_orphans_are_taken_away(start: Start) -> None:
    source = "for i in 1 2 3; do (sleep 0 &); done; echo $$; read x; sleep 1000"
    one = start("sh", "-c", source)
    one.numbers()
    mine = one.process.pid
    assert until(lambda: not any(state_of(pid) == "Z" for pid in children_of(mine)))
