"""What the guides show is what happens: their examples are run, their output is compared.

A guide is cut into examples by comments that its readers do not see::

    <!-- example: NAME -->      what follows, up to the next one, shares a directory of states

In an example

* a ``python`` block whose first line is ``# NAME.py`` is a file of that name;
* a ``console`` block is typed into a terminal, where ``python`` and ``holdfast`` are ours: after
  ``$`` what is typed, then all that is printed;
* one with ``<!-- beside the next -->`` before it goes on while the blocks after it are run, which
  begin when it has printed its first line; if its last line is ``^C``, it is ended so at last;
* the ``pycon`` blocks are one session of the interpreter, with ``>>>`` and ``...``.

Only ``...`` in what is printed stands for anything, up to the end of the line or to what follows in
it; everything else is compared exactly, but for spaces at the ends of lines, which nobody sees.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from tests.peer import python_path

GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guide").glob("*.md"))
PATIENCE_S = 50
PIECE = re.compile(
    r"^<!-- example: (?P<example>\S+) -->$"
    r"|^<!-- (?P<beside>beside the next) -->$"
    r"|^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NAMED = re.compile(r"# (\S+\.py)\n")


@dataclass
class Terminal:
    """A console block."""

    text: str
    beside: bool

    def typed(self) -> list[str]:
        return [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]

    def printed(self) -> str:
        lines = self.text.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("$ ") and line != "^C\n")

    @property
    def interrupted(self) -> bool:
        """Whether it goes on until somebody presses Ctrl-C."""
        return self.text.endswith("^C\n")


@dataclass
class Example:
    name: str
    files: dict[str, str] = field(default_factory=dict)
    terminals: list[Terminal] = field(default_factory=list)
    session: str = ""


def examples(guide: str) -> Iterator[Example]:
    """The examples of a guide; a block outside of any is a mistake, and so is one left unrun."""
    example = None
    beside = False
    for piece in PIECE.finditer(guide):
        if piece["example"]:
            if example is not None:
                yield example
            example = Example(piece["example"])
            continue
        if piece["beside"]:
            beside = True
            continue
        text, language = piece["text"], piece["language"]
        assert example is not None, text
        if language == "python":
            named = NAMED.match(text)
            assert named, f"a program without a name: {text}"
            example.files[named[1]] = text
        elif language == "console":
            example.terminals.append(Terminal(text, beside))
            beside = False
        else:
            assert language == "pycon", f"nobody runs {language!r}: {text}"
            example.session += text + "\n"
    if example is not None:
        yield example


def same(shown: str, seen: str) -> bool:
    """Whether it is what was shown, where `...` stands for anything within a line."""
    pieces = (re.escape(piece) for piece in shown.split("..."))
    return re.fullmatch("[^\n]*".join(pieces), re.sub(r" +\n", "\n", seen)) is not None


class Desk:
    """Where an example is run: a directory with its files, and commands of their plain names."""

    def __init__(self, place: Path, example: Example) -> None:
        self.place = place
        place.mkdir(mode=0o700)
        for name, text in example.files.items():
            (place / name).write_text(text)
        self._command("python", f'exec {sys.executable} "$@"')
        self._command("holdfast", f'exec {sys.executable} -m holdfast "$@"')
        self._environment = os.environ | {
            "HOLDFAST_STATE_DIR": str(place / "states"),
            "HOLDFAST_RUN_DIR": str(place / "run"),
            "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": python_path(),
        }

    def _command(self, name: str, script: str) -> None:
        path = self.place / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def start(self, command: str) -> Typed:
        return Typed(command, self.place, self._environment)

    def run(self, command: str) -> str:
        with self.start(command) as typed:
            return typed.rest()


class Typed:
    """A command on a terminal of its own."""

    def __init__(self, command: str, place: Path, environment: dict[str, str]) -> None:
        self._fd, end = pty.openpty()
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=place,
            env=environment | {"TERM": "dumb", "COLUMNS": "100"},
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        self._seen = b""
        self._deadline = time.monotonic() + PATIENCE_S

    def _more(self) -> bool:
        """Read on; False at the end."""
        ready, _, _ = select.select([self._fd], [], [], self._deadline - time.monotonic())
        assert ready, f"still at it: {self._seen!r}"
        try:
            chunk = os.read(self._fd, 1 << 16)
        except OSError:  # all ends of the terminal are closed
            return False
        self._seen += chunk
        return bool(chunk)

    def first_line(self) -> None:
        """Wait until one line is printed."""
        while b"\n" not in self._seen and self._more():
            pass

    def rest(self) -> str:
        """Wait for the end; all that was printed."""
        while self._more():
            pass
        return self._seen.decode().replace("\r\n", "\n")

    def settle(self) -> None:
        """Wait until it has done what it was woken for: nothing of it wants a processor.

        Who is kept from the processor does want it. So each command's effect is seen before the
        next one is typed, as by a reader, who types slowly.
        """
        deadline = time.monotonic() + 10  # one that never sleeps does not wait for anybody
        while time.monotonic() < deadline and "R" in self._states():
            time.sleep(0.005)

    def _states(self) -> set[str]:
        """The letters of /proc for each thread of its session."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/task/[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended while we looked
                state, *words = path.read_text().rpartition(")")[2].split()
                if int(words[2]) == self._process.pid:  # the session
                    found.add("R" if state in "RDTt" else state)
        return found

    def interrupt(self) -> None:
        """What the terminal does at Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


def play(desk: Desk, example: Example) -> None:
    """Type everything, and compare what is printed."""
    with contextlib.ExitStack() as open_terminals:
        beside: list[tuple[Terminal, Typed]] = []
        for terminal in example.terminals:
            if not terminal.beside:
                seen = ""
                for command in terminal.typed():
                    seen += desk.run(command)
                    for _, typed in beside:
                        typed.settle()
                assert same(terminal.printed(), seen), seen
                continue
            [command] = terminal.typed()
            typed = open_terminals.enter_context(desk.start(command))
            typed.first_line()
            beside.append((terminal, typed))
        if example.session:
            (desk.place / "session").write_text(example.session)
            seen = desk.run("python -m doctest -o ELLIPSIS session")
            assert seen == "", seen
        for terminal, typed in sorted(beside, key=lambda one: one[0].interrupted):
            if terminal.interrupted:
                typed.interrupt()
            seen = typed.rest()
            assert same(terminal.printed(), seen), seen


CASES = [
    pytest.param(example, id=f"{guide.stem}-{example.name}")
    for guide in GUIDES
    for example in examples(guide.read_text())
]


@pytest.mark.parametrize("example", CASES)
def test_an_example_does_what_is_shown(directory: Path, example: Example) -> None:
    play(Desk(directory, example), example)


@pytest.mark.parametrize(
    "shown",
    [
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ echo one\n```",
        "```pycon\n>>> 1\n2\n```",
        "<!-- beside the next -->\n```console\n$ echo one\ntwo\n```",
    ],
)
def test_output_that_is_not_as_shown_is_seen(directory: Path, shown: str) -> None:
    [example] = examples(f"<!-- example: wrong -->\n{shown}\n")
    with pytest.raises(AssertionError):
        play(Desk(directory, example), example)


def test_dots_stand_for_anything_within_a_line() -> None:
    assert same("a ... c\n", "a b c\n")
    assert not same("a ... c\n", "a\nc\n")
    assert not same("a.c\n", "abc\n")
    assert not same("a ...", "b ...")
