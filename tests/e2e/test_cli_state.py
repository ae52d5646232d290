"""``holdfast state`` as a user meets it: real processes, between two terminals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.main import run as holdfast
from holdfast.state import Namespace

PROGRAM = [sys.executable, "-m", "holdfast", "state"]
PATIENCE_S = 50.0  # with one command, which takes a second or two


class Terminal:
    """Runs ``holdfast state ...`` on a namespace of its own."""

    def __init__(self, directory: Path) -> None:
        self.environment = os.environ | {"HOLDFAST_STATE_DIR": str(directory)}

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*PROGRAM, *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment,
            timeout=PATIENCE_S,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "states"


@pytest.fixture
def terminal(directory: Path) -> Terminal:
    return Terminal(directory)


@pytest.fixture
def watching(terminal: Terminal) -> Iterator[subprocess.Popen[bytes]]:
    """A watcher of ``greeting`` that has printed its first line, ``first``."""
    terminal.run("set", "greeting", "first")
    with terminal.start("watch", "greeting", "--json") as child:
        assert child.stdout
        assert json.loads(child.stdout.readline())["value"] == "first"
        yield child
        child.kill()


def test_what_one_terminal_sets_another_gets(terminal: Terminal) -> None:
    made = terminal.run("set", "greeting", "hello")
    assert (made.returncode, made.stdout, made.stderr) == (0, b"", b"")
    got = terminal.run("get", "greeting")
    assert (got.returncode, got.stdout, got.stderr) == (0, b"hello", b"")


def test_a_longer_value_replaces_a_shorter_one_and_back(terminal: Terminal) -> None:
    for value in ("hi", "good morning", "x"):
        assert terminal.run("set", "greeting", value).returncode == 0
        assert terminal.run("get", "greeting").stdout == value.encode()


def test_get_raw_gives_every_byte(terminal: Terminal) -> None:
    terminal.run("set", "imu", "-", "--size", "8", stdin=b"\xff\x00ab")
    assert terminal.run("get", "imu", "--raw").stdout == b"\xff\x00ab\0\0\0\0"
    assert terminal.run("get", "imu").stdout == b"\xff\x00ab"


def test_get_json_says_version_time_and_writer(terminal: Terminal) -> None:
    terminal.run("set", "greeting", "hello", "--size", "16")
    told = json.loads(terminal.run("get", "greeting", "--json").stdout)
    assert told["name"] == "greeting"
    assert told["value"] == "hello"
    assert told["size"] == 16
    assert told["version"] == 1
    assert int(told["time_ns"]) > 0
    terminal.run("set", "greeting", "-", stdin=b"\xff")
    told = json.loads(terminal.run("get", "greeting", "--json").stdout)
    assert told["value"] == {"b64": "/w=="}
    assert told["version"] == 2


def test_on_a_terminal_control_characters_are_escaped(terminal: Terminal) -> None:
    terminal.run("set", "greeting", "red\x1b[31m\nline two")
    parent, child = pty.openpty()
    subprocess.run([*PROGRAM, "get", "greeting"], stdout=child, env=terminal.environment)
    os.close(child)
    shown = b""
    with contextlib.suppress(OSError):  # EIO is how Linux says that the other end is closed
        while piece := os.read(parent, 4096):
            shown += piece
    os.close(parent)
    assert shown == b"red\\x1b[31m\r\nline two\r\n"


def test_set_if_version_lets_one_of_two_win(terminal: Terminal) -> None:
    assert terminal.run("set", "n", "one", "--if-version", "0").returncode == 0
    assert terminal.run("set", "n", "two", "--if-version", "1").returncode == 0
    late = terminal.run("set", "n", "three", "--if-version", "1", "--json")
    assert late.returncode == 75
    error = json.loads(late.stderr)["error"]
    assert (error["code"], error["on"]) == ("conflict", "n")
    assert terminal.run("get", "n").stdout == b"two"


def test_a_value_may_begin_with_a_dash_after_two(terminal: Terminal) -> None:
    assert terminal.run("set", "offset", "--", "-5").returncode == 0
    assert terminal.run("get", "offset").stdout == b"-5"


def test_a_value_that_is_too_long_is_refused_and_changes_nothing(terminal: Terminal) -> None:
    terminal.run("set", "small", "abc", "--size", "4")
    refused = terminal.run("set", "small", "abcde")
    assert refused.returncode == 2
    assert b"5 bytes, the state 4" in refused.stderr
    assert terminal.run("get", "small").stdout == b"abc"


@pytest.mark.parametrize("verb", ["get", "stat", "rm"])
def test_a_state_that_does_not_exist_is_an_error_and_is_not_made(
    terminal: Terminal, verb: str
) -> None:
    missing = terminal.run(verb, "nothing")
    assert missing.returncode == 1
    assert missing.stdout == b""
    assert missing.stderr.startswith(b"error: ")
    assert b"  on: " in missing.stderr
    assert b"nothing" in missing.stderr
    assert b"Traceback" not in missing.stderr
    assert terminal.run("ls").stdout == b""


def test_a_bad_name_is_wrong_usage(terminal: Terminal) -> None:
    assert terminal.run("set", "no/slash", "x").returncode == 2


def test_watch_prints_the_present_and_each_change(
    terminal: Terminal, watching: subprocess.Popen[bytes]
) -> None:
    assert watching.stdout
    for number in range(3):
        terminal.run("set", "greeting", f"number {number}")
        told = json.loads(watching.stdout.readline())
        assert told["value"] == f"number {number}"
        assert told["version"] == number + 2


def test_ctrl_c_ends_a_watch_silently(watching: subprocess.Popen[bytes]) -> None:
    watching.send_signal(signal.SIGINT)
    _, told = watching.communicate(timeout=PATIENCE_S)
    assert told == b""
    assert watching.returncode == 130


def test_watch_ends_after_count_and_prints_columns(terminal: Terminal) -> None:
    terminal.run("set", "greeting", "a\tb")
    seen = terminal.run("watch", "greeting", "--count", "1", "--timeout", "40")
    assert seen.returncode == 0
    instant, version, value = seen.stdout.decode().rstrip("\n").split("\t")
    assert instant.endswith("Z")
    assert (version, value) == ("1", "a\\tb")


def test_watch_gives_up_at_its_time_limit(terminal: Terminal) -> None:
    waited = terminal.run("watch", "nobody.writes", "--timeout", "0.2")
    assert waited.returncode == 75
    assert waited.stdout == b""
    assert waited.stderr == b"waiting for the first commit to nobody.writes\n"


def test_watch_every_shows_the_last_of_a_burst_and_not_before_its_time(
    terminal: Terminal, directory: Path
) -> None:
    terminal.run("set", "n", "0")
    began = time.monotonic()
    with (
        Namespace(directory) as namespace,
        terminal.start(
            "watch", "n", "--every", "2", "--count", "2", "--timeout", "50", "--json"
        ) as child,
    ):
        state = namespace.subscribe("n", "rw")
        assert child.stdout
        first = json.loads(child.stdout.readline())
        child.send_signal(signal.SIGSTOP)  # its two seconds may be over before we have committed
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        for number in range(1, 4):
            state.transact(lambda txn, value=b"%d" % number: txn.write(0, value))  # type: ignore[misc]
        child.send_signal(signal.SIGCONT)
        second = json.loads(child.stdout.readline())
        assert time.monotonic() - began > 2
    assert (first["value"], second["value"], second["version"]) == ("0", "3", 4)
    assert child.returncode == 0


def test_watch_every_prints_nothing_too_soon_even_at_the_end(terminal: Terminal) -> None:
    terminal.run("set", "n", "0")
    with terminal.start("watch", "n", "--every", "60", "--timeout", "3") as child:
        assert child.stdout
        assert child.stdout.readline().endswith(b"\t1\t0\n")
        terminal.run("set", "n", "1")
        assert child.stdout.read() == b""
    assert child.returncode == 0


def test_a_watcher_may_come_first(terminal: Terminal) -> None:
    with terminal.start("watch", "early", "--count", "1", "--timeout", "50") as child:
        assert child.stderr
        child.stderr.readline()  # it waits now
        terminal.run("set", "early", "bird")
        told, _ = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 0
    assert told.endswith(b"\t1\tbird\n")


def test_a_watch_into_a_pipe_that_closes_ends_quietly(terminal: Terminal) -> None:
    terminal.run("set", "greeting", "one")
    with terminal.start("watch", "greeting") as child:
        assert child.stdout
        assert child.stderr
        child.stdout.readline()
        child.stdout.close()
        terminal.run("set", "greeting", "two")
        assert child.wait(timeout=PATIENCE_S) == 141
        assert child.stderr.read() == b""


def test_ls_lists_what_is_there(terminal: Terminal, directory: Path) -> None:
    terminal.run("set", "b", "x", "--size", "64")
    terminal.run("set", "a", "x", "--size", "32")
    rows = [line.split("\t")[:3] for line in terminal.run("ls").stdout.decode().splitlines()]
    assert rows == [["a", "32", "1"], ["b", "64", "1"]]
    told = json.loads(terminal.run("ls", "--json").stdout)
    assert [(one["name"], one["size"], one["version"]) for one in told] == [
        ("a", 32, 1),
        ("b", 64, 1),
    ]
    elsewhere = Terminal(directory.parent / "elsewhere")
    assert elsewhere.run("ls").stdout == b""
    assert elsewhere.run("ls", "--dir", str(directory)).stdout.startswith(b"a\t32\t1\t")


def test_ls_names_what_is_no_state_and_lists_the_rest(terminal: Terminal, directory: Path) -> None:
    terminal.run("set", "a", "x", "--size", "32")
    terminal.run("set", "b", "x", "--size", "32")
    (state,) = directory.glob("a.*state*")
    state.write_bytes(b"something else entirely" * 1000)
    listed = terminal.run("ls")
    assert listed.returncode == 1
    damaged, sound = listed.stdout.splitlines()
    assert damaged == b"a\t0\t0\t-\tdamaged"
    assert sound.startswith(b"b\t32\t1\t")
    assert sound.endswith(b"\tretained")
    assert b"error: " in listed.stderr
    assert b"Traceback" not in listed.stderr


def test_stat_tells_facts(terminal: Terminal) -> None:
    terminal.run("set", "greeting", "hello", "--size", "64")
    told = json.loads(terminal.run("stat", "greeting", "--json").stdout)
    assert told["name"] == "greeting"
    assert told["size"] == 64
    assert told["version"] == 1
    lines = terminal.run("stat", "greeting").stdout.decode().splitlines()
    assert "name\tgreeting" in lines


def test_rm_removes_and_names_what_it_could_not(terminal: Terminal) -> None:
    terminal.run("set", "a", "x")
    terminal.run("set", "b", "x")
    removed = terminal.run("rm", "a", "b", "--json")
    assert removed.returncode == 0
    assert json.loads(removed.stdout) == {"deleted": ["a", "b"]}
    assert terminal.run("ls").stdout == b""


def test_rm_refuses_what_somebody_watches(
    terminal: Terminal, watching: subprocess.Popen[bytes]
) -> None:
    refused = terminal.run("rm", "greeting")
    assert refused.returncode == 75
    assert watching.poll() is None
    assert terminal.run("get", "greeting").stdout == b"first"


@pytest.mark.parametrize("verb", ["get", "set", "watch", "ls", "stat", "rm"])
def test_the_help_of_each_verb_has_an_example(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert holdfast(["state", verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"\n    holdfast state {verb}" in shown


def test_names_are_completed(terminal: Terminal) -> None:
    terminal.run("set", "greeting", "hello")
    asked = subprocess.run(
        [*PROGRAM[:3]],
        capture_output=True,
        env=terminal.environment
        | {
            "_HOLDFAST_COMPLETE": "bash_complete",
            "COMP_WORDS": "holdfast state get gr",
            "COMP_CWORD": "3",
        },
    )
    assert asked.stdout == b"plain,greeting\n"
