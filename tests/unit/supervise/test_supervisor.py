"""The supervisor, with real processes: children that obey, and children that do not."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WARDEN = str(Path(__file__).with_name("warden.py"))
PATIENCE_S = 30.0


def state_of(pid: int) -> str:
    """The letter of /proc; "" if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat[stat.rindex(b")") + 2 :][:1].decode()


def lives(pid: int) -> bool:
    return state_of(pid) not in {"", "Z", "X"}


def until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


class Warden:
    """One supervisor in a process of its own, and what it writes."""

    def __init__(self, directory: Path, *argv: str, lose: bool = False, **settings: Any) -> None:
        self.result = directory / "result.json"
        self.pids = directory / "pids"
        self._write = -1
        passed: tuple[int, ...] = ()
        if lose:
            read, self._write = os.pipe()
            settings["fd"] = read
            passed = (read,)
        settings["result"] = str(self.result)
        self.process = subprocess.Popen(
            [sys.executable, WARDEN, json.dumps(settings), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=passed,
            env=os.environ | {"PIDS": str(self.pids)},
        )
        for fd in passed:
            os.close(fd)

    def lose(self) -> None:
        os.write(self._write, b"!")

    def line(self) -> str:
        """What the command writes next."""
        assert self.process.stdout
        poll = select.poll()
        poll.register(self.process.stdout, select.POLLIN)
        assert poll.poll(PATIENCE_S * 1000), "the command says nothing"
        return self.process.stdout.readline().decode().rstrip("\n")

    def numbers(self) -> list[int]:
        return [int(word) for word in self.line().split()]

    def complaint(self) -> str:
        assert self.process.stderr
        return self.process.stderr.readline().decode().rstrip("\n")

    def end(self) -> tuple[int, dict[str, Any]]:
        """Its exit code, and the outcome."""
        code = self.process.wait(PATIENCE_S)
        return code, json.loads(self.result.read_text())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        if self._write >= 0:
            os.close(self._write)


Start = Callable[..., Warden]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def make(*argv: str, **settings: Any) -> Warden:
            one = Warden(tmp_path, *argv, **settings)
            stack.callback(one.close)
            return one

        yield make


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


# A shell that waits with a child in its group, and tells both pids.
SHELL = 'sleep 1000 & echo $$ $!; trap "" PIPE; wait'
# The same two, who ignore what asks them to end.
DEAF = 'trap "" TERM INT HUP; sleep 1000 & echo $$ $!; while :; do wait; sleep 1; done'
# A child that leaves the group; its pid comes second.
RUNAWAY = """
import os, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"%d" % os.getpid())
        time.sleep(1000)
    os._exit(0)
os.wait()
print(os.getpid(), os.read(read, 20).decode(), flush=True)
"""


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
    one = start("sh", "-c", "(sleep 0.3; echo late) & exit 5", grace=10)
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


def test_a_deadline_that_passes_is_a_loss_though_nobody_says_so(start: Start) -> None:
    one = start("sh", "-c", SHELL, lose=True, deadline=1.5)
    _, sleep = one.numbers()
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
    one = start("sh", "-c", SHELL, limit=0.7)
    shell, sleep = one.numbers()
    code, outcome = one.end()
    assert (code, outcome["ending"], outcome["lost"]) == (124, "limit", False)
    assert not lives(shell)
    assert not lives(sleep)


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
    one = start("touch", str(mark), hesitate=1.0)
    assert one.complaint() == "warden is up"
    one.process.send_signal(number)
    code, outcome = one.end()
    assert code == 128 + number
    assert (outcome["ending"], outcome["started"]) == ("signal", False)
    assert not mark.exists()


def test_a_second_signal_ends_at_once_who_hangs_before_the_start(start: Start) -> None:
    one = start("true", hesitate=1000)
    assert one.complaint() == "warden is up"
    one.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert one.process.poll() is None
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(PATIENCE_S) == -signal.SIGTERM


def test_who_asks_us_to_pause_pauses_the_command_and_us(start: Start) -> None:
    one = start("sh", "-c", SHELL)
    shell, sleep = one.numbers()
    one.process.send_signal(signal.SIGTSTP)
    assert until(lambda: state_of(one.process.pid) == "T")
    assert state_of(shell) == state_of(sleep) == "T"
    one.process.send_signal(signal.SIGCONT)
    assert until(lambda: state_of(sleep) == "S")
    one.process.send_signal(signal.SIGTERM)
    assert one.end()[0] == 128 + signal.SIGTERM


def test_after_a_pause_the_loss_comes_before_the_command_goes_on(start: Start) -> None:
    source = "trap 'echo cont' CONT; sleep 1000 & echo $$ $!; while :; do wait; done"
    one = start("sh", "-c", source, lose=True, deadline=3.0)
    shell, sleep = one.numbers()
    one.process.send_signal(signal.SIGTSTP)
    assert until(lambda: state_of(one.process.pid) == "T")
    time.sleep(3.2)
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
    assert state_of(one.process.pid) == "S"
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


def test_the_guard_goes_when_all_is_done(start: Start) -> None:
    one = start("sh", "-c", "echo 1; read x")
    assert one.line() == "1"
    guards = guards_of(one.process.pid)
    assert one.end()[0] == 1
    assert len(guards) == 1
    assert not any(lives(pid) for pid in guards)


def test_the_guard_holds_nothing_open(start: Start) -> None:
    one = start("sh", "-c", SHELL)
    one.numbers()
    (guard,) = guards_of(one.process.pid)
    assert os.readlink(f"/proc/{guard}/cwd") == "/"
    open_files = [os.readlink(path) for path in Path(f"/proc/{guard}/fd").iterdir()]
    assert sorted(path for path in open_files if path != "/dev/null") == [
        path for path in open_files if path.startswith("pipe:")
    ]
    assert len([path for path in open_files if path != "/dev/null"]) == 1


def guards_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"launcher.py" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_the_entries_of_orphans_are_taken_away(start: Start) -> None:
    source = "for i in 1 2 3; do (sleep 0 &); done; echo $$; read x; sleep 1000"
    one = start("sh", "-c", source)
    one.numbers()
    children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children")
    assert until(lambda: not any(state_of(int(pid)) == "Z" for pid in children.read_text().split()))


# -- arguments ------------------------------------------------------------------------------------


def test_arguments_pass_unchanged(start: Start) -> None:
    words = ["", "two words", "ümläut", "-x", "--", "$HOME", "a\nb"]
    one = start(*python("import sys; print(ascii(sys.argv[1:]))"), *words)
    assert one.line() == ascii(words)
    assert one.end()[0] == 0
