"""Real engines of the crate foca, without sockets and clocks: one line to them, some lines back.

``foca-node/src/driver.rs`` has the grammar. Identities are ``127.0.0.1:8000#5``, as `str` makes
them of our `Node`; members are ``ID/INCARNATION/STATE`` with the state as one letter.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Sent(NamedTuple):
    """One datagram."""

    to: str
    data: bytes


@dataclass(frozen=True)
class Answer:
    """What one line to a node has led to.

    Attributes:
        effects: Every effect as a line, in order.
        error: The kind of the crate's error; None: there was none.
        said: What the verb returned, or the text of the error.
        identity: Who the node is now.
        active: How many active members it knows.
        known: How many members it knows, those that are down too.
        updates: How many updates it has to tell.
        items: How many of the application's items it has to tell.
        panicked: Whether an assertion of the crate failed.
    """

    effects: list[str]
    error: str | None
    said: str
    identity: str = ""
    active: int = 0
    known: int = 0
    updates: int = 0
    items: int = 0
    panicked: bool = False

    @property
    def sent(self) -> list[Sent]:
        """The datagrams among the effects."""
        words = [line.split() for line in self.effects if line.startswith("send ")]
        return [Sent(to, unhex(data)) for _, to, data in words]

    @property
    def notified(self) -> list[str]:
        """The notifications among the effects."""
        return [line.removeprefix("notify ") for line in self.effects if line.startswith("notify ")]

    @property
    def timers(self) -> list[str]:
        """The timers among the effects, without their delays."""
        return [line.split(" ", 2)[2] for line in self.effects if line.startswith("timer ")]


def unhex(word: str) -> bytes:
    """Bytes from a word of the driver."""
    return bytes.fromhex(word.removeprefix("-"))


def tohex(data: bytes) -> str:
    """Bytes as a word for the driver."""
    return data.hex() or "-"


class Driver:
    """The program, and lines to and from it."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [str(program), "driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._nodes = 0

    def close(self) -> None:
        """End the program."""
        self._process.communicate(timeout=30)

    def ask(self, *words: object) -> Answer:
        """One line to the program, and its answer."""
        line = " ".join(map(str, words))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        effects: list[str] = []
        status = ["", "0", "0", "0", "0"]
        while True:
            kind, _, rest = self._process.stdout.readline().rstrip("\n").partition(" ")
            if kind in ("send", "notify", "timer", "item"):
                effects.append(f"{kind} {rest}")
            elif kind == "status":
                status = rest.split()
            else:
                break
        assert kind in ("ok", "error", "panic"), f"{line!r} was answered by {kind!r} {rest!r}"
        error = None
        if kind == "error":
            error, _, rest = rest.partition(" ")
        identity, *numbers = status
        active, known, updates, items = map(int, numbers)
        panicked = kind == "panic"
        return Answer(effects, error, rest, identity, active, known, updates, items, panicked)

    def node(self, identity: str, codec: str, *settings: str) -> Real:
        """A new engine: ``simple`` but for the settings."""
        self._nodes += 1
        real = Real(self, f"n{self._nodes}")
        real("new", identity, codec, *settings)
        return real

    def codec(self, codec: str, verb: str, *words: object) -> str:
        """What a codec of the crate makes of a value or of bytes.

        Raises:
            ValueError: It refuses them.
        """
        line = " ".join(map(str, ("codec", codec, verb, *words)))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        kind, _, rest = self._process.stdout.readline().rstrip("\n").partition(" ")
        if kind == "wrong" and rest.startswith("refused"):
            raise ValueError(rest)
        assert kind == "ok", f"{line!r} was answered by {kind!r} {rest!r}"
        return rest


class Real:
    """One engine in the program."""

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self._name = name

    def __call__(self, verb: str, *words: object) -> Answer:
        """One verb; the crate's own assertions must hold."""
        answer = self._driver.ask(self._name, verb, *words)
        assert not answer.panicked, answer.said
        return answer

    def may_panic(self, verb: str, *words: object) -> Answer:
        """One verb that trips an assertion of the crate."""
        return self._driver.ask(self._name, verb, *words)

    def hand(self, data: bytes) -> Answer:
        """One datagram."""
        return self("data", tohex(data))

    def state(self) -> set[str]:
        """All members that it knows."""
        return set(self("state").said.split())
