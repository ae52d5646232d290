"""``holdfast wake run`` as a user meets it: the hold ends with the last who has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.terminal import ended, line, lives, until
from tests.e2e.wake_terminal import Terminal, a_terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with a_terminal() as one:
        one.govern("--sleep", "10ms")
        yield one


# -- block ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill $$", -15)]
)
def test_the_end_of_the_command_is_ours(terminal: Terminal, command: str, code: int) -> None:
    done = terminal.run("run", "--", "sh", "-c", f"echo hi; {command}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "hi\n", "")
    assert terminal.comes_to()


def test_what_cannot_be_started_holds_nothing(terminal: Terminal) -> None:
    script = terminal.directory / "script"
    script.write_text("#!/no/such/interpreter\n")
    for command, code in ("no-such-command", 127), (str(script), 126), ("/", 126):
        done = terminal.run("run", "--", command)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith("error: ")
    script.chmod(0o755)
    done = terminal.run("run", "--", str(script))
    assert done.returncode == 127
    assert "could not be executed" in done.stderr
    assert terminal.comes_to()


def test_a_script_without_a_first_line_is_the_shells(terminal: Terminal) -> None:
    script = terminal.directory / "script"
    script.write_text('echo "$1"\nexit 5\n')
    script.chmod(0o755)
    done = terminal.run("run", str(script), "-t")
    assert (done.returncode, done.stdout) == (5, "-t\n")


def test_the_hold_lasts_as_long_as_any_descendant(terminal: Terminal) -> None:
    """Also as one that has left the group, with nobody left of those who started it."""
    source = "setsid sleep 1000 >/dev/null 2>&1 & echo $!"
    done = terminal.run("run", "--name", "upload", "--", "sh", "-c", source)
    assert done.returncode == 0
    sleep = int(done.stdout)
    try:
        assert terminal.is_by("sleep")
        [told] = terminal.told("ls")
        assert (told["name"], told["state"]) == ("upload", "held")
        assert terminal.run("suspend", "--timeout", "0").returncode == 75
    finally:
        os.kill(sleep, signal.SIGKILL)
    assert terminal.run("suspend", "--timeout", "30").returncode == 0
    assert terminal.held() == []


def test_children_hold_it_as_was_meant_and_are_no_leak(terminal: Terminal) -> None:
    child = terminal.start("run", "--", "sh", "-c", "sleep 1000 & echo $!; wait")
    sleep = int(line(child))
    try:
        assert terminal.is_by("sleep")
        [told] = terminal.told("ls")
        assert told["state"] == "held"
        found = {one["pid"]: (one["state"], one["heir_of"]) for one in told["holders"]}
        assert found == {child.pid: ("holding", None), sleep: ("holding", child.pid)}
        assert "as was meant" in terminal.run("why").stdout
    finally:
        os.kill(sleep, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_killed_it_lets_go(terminal: Terminal, number: int) -> None:
    child = terminal.start("run", "--name", "upload", "--", "sleep", "1000")
    assert terminal.comes_to("upload")
    assert terminal.is_by("sleep"), "it is the command by now"
    child.send_signal(number)
    assert ended(child)[0] == -number
    assert terminal.comes_to()


def test_a_pipeline_holds_where_it_says_so(terminal: Terminal) -> None:
    program = f"{sys.executable} -m holdfast wake run -- seq 3 | sort -r"
    done = subprocess.run(
        ["sh", "-c", program], capture_output=True, text=True, env=terminal.environment, check=True
    )
    assert done.stdout == "3\n2\n1\n"


def test_the_command_is_as_if_nobody_had_been_before_it(terminal: Terminal) -> None:
    """No signal is ignored that was not, and its standard streams are ours."""
    plain = subprocess.run(
        ["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True
    )
    done = terminal.run("run", "--", "grep", "SigIgn", "/proc/self/status")
    ours, theirs = (int(each.stdout.split()[1], 16) for each in (done, plain))
    # subprocess gives SIGPIPE and SIGXFSZ back to its children; so must we.
    assert ours == theirs
    child = terminal.start("run", "--", "cat")
    assert child.communicate("through\n", timeout=40)[0] == "through\n"


def test_the_command_finds_the_wake_lease_in_its_environment(terminal: Terminal) -> None:
    source = (
        "import json, os; from holdfast import wake; environ = dict(os.environ);"
        " lease = wake.from_environment(); governor = wake.connect();"
        " [seen] = governor.where(); lease.close();"
        " print(json.dumps([lease.name, lease.inode == seen.lease.inode,"
        " environ['HOLDFAST_WAKE_SOCKET']]))"
    )
    done = terminal.run("run", "--name", "upload", "--", sys.executable, "-c", source)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["upload", True, terminal.socket]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "sleep"),
        (["--name", "export"], "export"),
        (["--who", "export", "--why", "every night"], "export: every night"),
        (["--why", "every night"], "sleep: every night"),
        (["--why", "\N{SNOWMAN}" * 40], "sleep: " + "\N{SNOWMAN}" * 19),
        (["--name", "a\tb"], "a?b"),
    ],
)
def test_what_the_hold_is_called(terminal: Terminal, options: list[str], name: str) -> None:
    terminal.start("run", *options, "--", "sleep", "1000")
    assert terminal.comes_to(name)


# -- without a command ----------------------------------------------------------------------------


def test_without_a_command_it_holds_for_a_time(terminal: Terminal) -> None:
    done = terminal.run("run", "-t", "100ms", "--name", "nap")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "wake lease 'nap' is held\n"
    assert terminal.held() == []


def test_without_a_command_it_holds_until_a_process_ends(terminal: Terminal) -> None:
    sleep = subprocess.Popen(["sleep", "1000"])
    holding = terminal.start("run", "-w", str(sleep.pid), "--json")
    try:
        told = json.loads(line(holding))
        assert (told["what"], told["name"]) == ("held", f"sleep ({sleep.pid})")
        assert holding.poll() is None
    finally:
        sleep.kill()
        sleep.wait()
    assert ended(holding) == (0, "")


def test_without_a_command_it_holds_until_ctrl_c(terminal: Terminal) -> None:
    holding = terminal.start("run")
    assert line(holding, "stderr") == "wake lease 'holdfast wake' is held"
    holding.send_signal(signal.SIGINT)
    assert ended(holding)[0] == 130
    assert terminal.comes_to()


# -- delay ----------------------------------------------------------------------------------------


def draining(terminal: Terminal, *options: str, code: int = 7) -> subprocess.Popen[str]:
    """A command that takes its time to end, and then says so in a file."""
    done = terminal.directory / "drained"
    source = (
        f'trap "sleep 0.3; echo > {done}; exit {code}" INT; echo on; while :; do sleep 0.05; done'
    )
    child = terminal.start("run", "--mode", "delay", *options, "--", "sh", "-c", source)
    assert line(child) == "on"
    return child


def test_a_suspend_waits_until_the_command_has_ended(terminal: Terminal) -> None:
    child = draining(terminal, "--signal", "INT", "--grace", "30", "--why", "nightly export")
    assert list(terminal.status().listeners) == ["sh: nightly export"]
    assert terminal.held() == []
    done = terminal.run("suspend")
    assert done.returncode == 0, done.stderr
    assert (terminal.directory / "drained").exists()
    code, told = ended(child)
    assert code == 7
    assert "the machine is about to go down: the command gets SIGINT" in told
    assert until(lambda: list(terminal.status().listeners) == [])


@pytest.mark.parametrize(("choice", "wait", "code"), [("go-on", "40", 0), ("abort", "1", 75)])
def test_a_command_that_does_not_end_in_time(
    terminal: Terminal, choice: str, wait: str, code: int
) -> None:
    deaf = 'trap "" TERM; echo on; while :; do sleep 0.05; done'
    options = ["--grace", "200ms", "--on-timeout", choice]
    child = terminal.start("run", "--mode", "delay", *options, "--", "sh", "-c", deaf)
    assert line(child) == "on"
    assert terminal.run("suspend", "--timeout", wait).returncode == code
    assert child.poll() is None
    assert terminal.status().suspends == (1 if choice == "go-on" else 0)


def test_without_a_suspend_the_command_just_runs(terminal: Terminal) -> None:
    done = terminal.run("run", "--mode", "delay", "--", "sh", "-c", "echo hi; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "hi\n", "")
    done = terminal.run("run", "--mode", "delay", "--", "sh", "-c", "kill -9 $$")
    assert done.returncode == 137


def test_delaying_we_pass_signals_on_and_killed_we_take_the_command_along(
    terminal: Terminal,
) -> None:
    child = draining(terminal)
    child.send_signal(signal.SIGINT)
    assert ended(child)[0] == 7
    sleeping = terminal.start(
        "run", "--mode", "delay", "--", "sh", "-c", "echo $$; exec sleep 1000"
    )
    sleep = int(line(sleeping))
    sleeping.kill()
    assert until(lambda: not lives(sleep))
    assert until(lambda: list(terminal.status().listeners) == [])


def test_delaying_we_outlive_the_governor_and_say_so() -> None:
    with a_terminal() as terminal:
        governor = terminal.govern()
        child = draining(terminal)
        governor.kill()
        told = line(child, "stderr")
        assert "the command runs on, and is not asked to end before a suspend any more" in told
        assert child.poll() is None
        child.send_signal(signal.SIGINT)
        assert ended(child)[0] == 7
