"""On a terminal, under a real shell with job control: keys, Ctrl-C, Ctrl-Z, fg and bg."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WARDEN = str(Path(__file__).with_name("warden.py"))
PATIENCE_S = 30.0


# It says so when it waits already. In the instant in which a shell starts a program (vfork) it
# cannot be stopped, with us or without.
BUSY = "(sleep 0.5; echo rea''dy) & sleep 1000"


class Shell:
    """``bash`` on a terminal of its own."""

    def __init__(self, directory: Path) -> None:
        self._result = str(directory / "result.json")
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(PS1="", PS2="", TERM="dumb", HISTFILE="/dev/null")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
        self.seen = ""
        self.type("stty -echo; bind 'set enable-bracketed-paste off'; echo be''gin")
        self.expect("begin")

    def type(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")

    def key(self, letter: str) -> None:
        os.write(self._fd, bytes([ord(letter) - 64]))

    def expect(self, text: str) -> None:
        """Read until this was shown; what comes later is for the next."""
        end = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            assert poll.poll(max(0, end - time.monotonic()) * 1000), f"no {text!r}: {self.seen!r}"
            self.seen += os.read(self._fd, 4096).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def expect_in_front(self, name: str) -> None:
        """Wait until a program of that name leads the foreground group, and is not stopped.

        In the instant in which the terminal is lent a key is lost, as with fg.
        """
        end = time.monotonic() + PATIENCE_S
        facts = ""
        while not facts.endswith(f"({name}) S"):
            assert time.monotonic() < end, f"no {name!r}: {facts!r}"
            time.sleep(0.01)
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stat = Path(f"/proc/{os.tcgetpgrp(self._fd)}/stat").read_text()
                facts = stat[: stat.rindex(")") + 3]

    def supervised(self, *argv: str, **settings: object) -> str:
        told = json.dumps({"result": self._result, **settings})
        return shlex.join([sys.executable, WARDEN, told, *argv])

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with contextlib.closing(Shell(tmp_path)) as one:
        yield one


def test_the_command_reads_the_terminal_and_the_shell_gets_it_back(shell: Shell) -> None:
    shell.type(shell.supervised("sh", "-c", "read x; echo got $x") + "; echo code $?")
    shell.expect("warden is up")
    shell.type("keys")
    shell.expect("got keys")
    shell.expect("code 0")
    shell.type("echo still he''re")
    shell.expect("still here")


def test_ctrl_c_is_for_the_command(shell: Shell) -> None:
    command = "trap 'echo heard; exit 6' INT; echo rea''dy; while :; do sleep 0.1; done"
    shell.type(shell.supervised("sh", "-c", command) + "; echo code $?")
    shell.expect("ready")
    shell.key("C")
    shell.expect("heard")
    shell.expect("code 6")


def test_ctrl_z_stops_the_job_and_fg_goes_on(shell: Shell) -> None:
    shell.type(shell.supervised("sh", "-c", "echo rea''dy; read x; echo got $x"))
    shell.expect("ready")
    shell.key("Z")
    shell.expect("Stopped")
    shell.type("echo mean''while")
    shell.expect("meanwhile")
    shell.type("fg; echo code $?")
    shell.expect("warden")
    shell.type("more")
    shell.expect("got more")
    shell.expect("code 0")


def test_in_the_background_the_command_does_not_take_the_terminal(shell: Shell) -> None:
    shell.type(shell.supervised("sh", "-c", "echo rea''dy; read x; echo got $x") + " &")
    shell.expect("ready")
    shell.type("echo mean''while")
    shell.expect("meanwhile")
    shell.type("wait %1; echo")  # it reads, and so the kernel stops it, and it stops us
    shell.type("fg; echo code $?")
    shell.expect("warden")
    shell.type("more")
    shell.expect("got more")
    shell.expect("code 0")


def test_bg_lets_a_stopped_job_go_on_without_the_terminal(shell: Shell) -> None:
    shell.type(
        shell.supervised("sh", "-c", "(sleep 0.5; echo rea''dy) & sleep 1000; echo after; wait")
    )
    shell.expect("ready")
    shell.key("Z")
    shell.expect("Stopped")
    shell.type("bg")
    shell.expect("after")
    shell.type("echo mean''while")
    shell.expect("meanwhile")
    shell.type("kill %1; wait %1; echo code $?")
    shell.expect("code 143")


def test_a_pause_within_a_pipeline_stops_all_of_it(shell: Shell) -> None:
    """Others of our group may need the terminal: the command gets it when it reads from it."""
    shell.type(shell.supervised("sh", "-c", "echo rea''dy; read x; echo got $x") + " | cat")
    shell.expect("ready")
    shell.expect_in_front("sh")
    shell.key("Z")
    shell.expect("Stopped")
    shell.type("fg")
    shell.type("more")
    shell.expect("got more")


def test_in_a_pipeline_that_it_does_not_lead_ctrl_z_and_ctrl_c_reach_it(shell: Shell) -> None:
    """Standard input is no terminal: the signals come to us, and are passed on."""
    command = shell.supervised("sh", "-c", BUSY)
    shell.type(f"sleep 1000 | {command}; echo code $?")
    shell.expect("ready")
    shell.key("Z")
    shell.expect("Stopped")
    shell.type("fg")
    shell.expect_in_front("sleep")
    shell.key("C")
    shell.type("echo code $?")
    shell.expect("code 130")


def test_who_comes_next_in_a_pipeline_may_read_the_keys(shell: Shell) -> None:
    """As the pager behind a report does it."""
    pager = "sh -c 'read y; echo $y; read x < /dev/tty; echo turned $x'"
    shell.type(shell.supervised("sh", "-c", "echo rea''dy; sleep 1000") + f" | {pager}")
    shell.expect("ready")
    shell.type("the page")
    shell.expect("turned the page")
    shell.key("C")


def test_a_script_gets_back_the_terminal_that_the_command_has_borrowed(shell: Shell) -> None:
    command = shell.supervised("sh", "-c", "echo rea''dy; read x; echo got $x")
    shell.type(f"({command}; echo next; read y; echo after $y)")
    shell.expect("ready")
    shell.type("word")
    shell.expect("got word")
    shell.expect("next")
    shell.type("more")
    shell.expect("after more")


def test_a_command_whose_input_is_a_pipe_may_ask_on_the_terminal(shell: Shell) -> None:
    command = shell.supervised("sh", "-c", "echo rea''dy; read x < /dev/tty; echo got $x")
    shell.type(f"echo data | {command}; echo code $?")
    shell.expect("ready")
    shell.type("word")
    shell.expect("got word")
    shell.expect("code 0")


def test_where_nobody_can_continue_us_a_pause_is_taken_back(tmp_path: Path) -> None:
    """Without a shell our group is orphaned: the kernel does not stop us."""
    told = json.dumps({"result": str(tmp_path / "result.json")})
    pid, fd = pty.fork()
    if pid == 0:
        command = "echo ready; read x; echo got $x"
        os.execv(sys.executable, [sys.executable, WARDEN, told, "sh", "-c", command])
    seen = b""
    try:
        while b"ready" not in seen:
            seen += os.read(fd, 4096)
        os.write(fd, b"\x1a")
        time.sleep(0.3)
        os.write(fd, b"on\n")
        while b"got on" not in seen:
            seen += os.read(fd, 4096)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(fd)
