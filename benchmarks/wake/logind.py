"""The peer: a real logind on a private bus, as the tests have it.

It is asked in two ways. By jeepney, whose blocking connection is what a Python program has for this
and needs nothing but Python. And by bytes made beforehand, over a bare socket: what the bus and
logind themselves take, whoever asks.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from benchmarks import processors
from benchmarks.measure import Statement
from benchmarks.peers import Missing, wheel
from tests.logind.machine import Machine, MachineMissing, needed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NAME", "RAW", "Inhibitors", "machine", "version"]

NAME = "logind"
RAW = "logind, ready-made bytes"
_PROGRAM = "org.freedesktop.login1"
_WORDS = ("sleep", "benchmark", "to be measured", "block")


def version() -> str:
    """Of systemd; raises `Missing` where no logind can be run."""
    wheel("jeepney")
    try:
        needed()
    except MachineMissing as error:
        raise Missing(str(error)) from error
    done = subprocess.run(
        ["systemd-inhibit", "--version"], capture_output=True, text=True, check=False
    )
    words = done.stdout.split()
    return words[1] if len(words) > 1 else "unknown"


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A machine, on a processor that is not measured."""
    with contextlib.ExitStack() as exits:
        with processors.pinned(processors.others()[0]):
            made = exits.enter_context(Machine(delay_s=60))
        yield made


class Inhibitors:
    """A client of logind that takes inhibitor locks, and gives them back."""

    def __init__(self, address: str) -> None:
        jeepney = wheel("jeepney")
        blocking = wheel("jeepney.io.blocking")
        self._held: list[Any] = []
        self._connection = blocking.open_dbus_connection(address, enable_fds=True)
        place = jeepney.DBusAddress("/org/freedesktop/login1", _PROGRAM, f"{_PROGRAM}.Manager")
        self._message = jeepney.new_method_call(place, "Inhibit", "ssss", _WORDS)
        self._raw = _Raw(address, self._message)

    def hold(self, number: int) -> None:
        """Hold so many locks."""
        while len(self._held) < number:
            self._held.append(self._connection.send_and_get_reply(self._message).body[0])
        while len(self._held) > number:
            self._held.pop().close()

    def statement(self) -> Statement:
        text = "connection.send_and_get_reply(message).body[0].close()"
        return Statement(text, {"connection": self._connection, "message": self._message})

    def raw_statement(self) -> Statement:
        return Statement("close(inhibit())", {"close": os.close, "inhibit": self._raw.inhibit})

    def close(self) -> None:
        self.hold(0)
        self._raw.close()
        self._connection.close()


class _Raw:
    """The same question, over and over."""

    def __init__(self, address: str, message: Any) -> None:
        blocking = wheel("jeepney.io.blocking")
        self._connection = blocking.open_dbus_connection(address, enable_fds=True)
        self._socket: socket.socket = self._connection.sock
        # What the bus says to whoever is new has been read after this.
        self._connection.send_and_get_reply(message).body[0].close()
        self._bytes = message.serialise(serial=1 << 20)
        self._room = socket.CMSG_SPACE(4)

    def inhibit(self) -> int:
        """A lock's descriptor."""
        self._socket.sendall(self._bytes)
        data, control, _, _ = self._socket.recvmsg(512, self._room, socket.MSG_CMSG_CLOEXEC)
        # One answer to one question: no other message is under way on this connection.
        while len(data) < 16 or len(data) < _length(data):
            more, found, _, _ = self._socket.recvmsg(512, self._room, socket.MSG_CMSG_CLOEXEC)
            data += more
            control += found
        fds = array.array("i", control[0][2][:4])
        return fds[0]

    def close(self) -> None:
        self._connection.close()


def _length(data: bytes) -> int:
    """Of a message that begins so; the D-Bus specification, "Message Format"."""
    body = int.from_bytes(data[4:8], "little")
    fields = int.from_bytes(data[12:16], "little")
    return 16 + (fields + 7) // 8 * 8 + body
