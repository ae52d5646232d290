"""What the README shows is what happens: its programs are run, its table is compared."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peer import python_path

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


class Terminal:
    """Runs what the README shows, where a reader would."""

    def __init__(self, directory: Path) -> None:
        self.environment = os.environ | {
            "HOLDFAST_STATE_DIR": str(directory),
            "PYTHONPATH": python_path(),
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run(self, *command: str) -> str:
        with self.start(*command) as child:
            out, err = child.communicate(timeout=50)
        assert child.returncode == 0, err
        return out


@pytest.fixture
def terminal(directory: Path) -> Terminal:
    return Terminal(directory)


def replaced(program: str, old: str, new: str) -> str:
    assert program.count(old) == 1, program
    return program.replace(old, new)


@pytest.mark.parametrize("first", ["writer", "reader"])
def test_the_example_works_between_two_terminals(terminal: Terminal, first: str) -> None:
    """The writer lets somebody hear of its first tick before it goes on, and the reader is patient.

    Both programs take a second or two for silence, which a busy machine takes to start the other.
    """
    writer, reader, *_ = blocks("python")
    writer = replaced(writer, "time.sleep(0.1)", "time.sleep(0.1) if number > 1 else input()")
    reader = replaced(reader, "ticks.wait(2)", "ticks.wait(30)")
    end = "\n    if value == 30:\n        break"
    reader = replaced(reader, "print(ticks.value)", "print(value := ticks.value)" + end)
    programs = {"writer": writer, "reader": reader}
    second = "reader" if first == "writer" else "writer"
    with (
        terminal.start("-c", programs[first]) as one,
        terminal.start("-c", programs[second]) as two,
    ):
        said, listens = (one, two) if first == "writer" else (two, one)
        assert listens.stdout
        numbers = [int(listens.stdout.readline())]
        _, err = said.communicate("\n", timeout=50)
        assert said.returncode == 0, err
        rest, err = listens.communicate(timeout=50)
        assert listens.returncode == 0, err
    numbers += [int(line) for line in rest.split()]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (1, 30)


def test_the_example_of_a_transaction_works(terminal: Terminal) -> None:
    assert terminal.run("-c", blocks("python")[2]) == "1\n"


def test_the_example_of_a_lease_works(terminal: Terminal, tmp_path: Path) -> None:
    terminal.run("-c", blocks("python")[3].replace("app.db", str(tmp_path / "app.db")))
    with sqlite3.connect(tmp_path / "app.db") as database:
        assert database.execute("select token from nights").fetchall() == [(1,)]
        assert database.execute("select * from holdfast_ownership").fetchall() == []


def test_the_example_of_membership_works(terminal: Terminal) -> None:
    out = terminal.run("-c", blocks("python")[4])
    assert out.splitlines() == ["db alive {'role': 'store'}", "db left"]


def test_the_example_of_a_wake_lease_works(terminal: Terminal, directory: Path) -> None:
    program = blocks("python")[5].replace("wake.sock", str(directory / "wake.sock"))
    assert terminal.run("-c", program) == "not yet: upload\nsuspends: 1\n"


def test_the_example_of_a_command_under_a_lease_works(terminal: Terminal) -> None:
    command, *shown = blocks("console")[1].splitlines()
    words = shlex.split(command.removeprefix("$ holdfast "))
    assert terminal.run("-m", "holdfast", *words).splitlines() == shown


def test_the_example_without_python_works(terminal: Terminal) -> None:
    session = blocks("console")[0]
    lines = session.splitlines()
    commands = [line.removeprefix("$ holdfast ").split() for line in lines if line[0] == "$"]
    shown = [line for line in lines if line[0] != "$"]
    watch, *others = [["-m", "holdfast", *words] for words in commands]
    with terminal.start(*watch) as watching:
        assert watching.stderr
        assert watching.stdout
        assert "waiting" in watching.stderr.readline()
        for command in others[:-1]:
            out = terminal.run(*command)
        assert out.split() == shown
        assert watching.stdout.readline().split()[1:] == ["1", "hello"]
        watching.terminate()
    terminal.run("-m", "holdfast", "state", "set", "greeting", "hello")
    terminal.run(*others[-1])
