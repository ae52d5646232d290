"""The other end of a connection to a bus: it does what a test says, and no more."""

from __future__ import annotations

import array
import contextlib
import importlib
import socket
import threading
from pathlib import Path
from typing import Any

PATIENCE_S = 30.0
jeepney: Any = importlib.import_module("jeepney")


class BusServer:
    """A socket that greets one client, and then is the test's.

    Args:
        directory: Where the socket is made.
        welcome: What is answered to the first line, instead of OK.
    """

    def __init__(self, directory: Path, *, welcome: bytes = b"OK 1234deadbeef\r\n") -> None:
        path = directory / "bus"
        self.address = f"unix:path={path}"
        self._welcome = welcome
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen(1)
        self._listening.settimeout(PATIENCE_S)
        self._greeted = threading.Event()
        self.peer: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # nobody is waited for any more
        self._thread.join(PATIENCE_S)
        self._listening.close()
        if self.peer is not None:
            self.peer.close()

    @property
    def client(self) -> socket.socket:
        """The client's connection, once it is greeted and has a name."""
        assert self._greeted.wait(PATIENCE_S), "nobody came"
        assert self.peer is not None
        return self.peer

    def question(self) -> int:
        """Read one question; its number."""
        return _question(self.client)

    def answer(self, to: int, *descriptors: int, name: str = "") -> None:
        """Answer it, with descriptors or a name."""
        _answer(self.client, to, *descriptors, name=name)

    def _serve(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # a client that is out of patience goes
            self._greet()

    def _greet(self) -> None:
        self.peer, _ = self._listening.accept()
        self.peer.settimeout(PATIENCE_S)
        self._line()
        self.peer.sendall(self._welcome)
        if not self._welcome.startswith(b"OK"):
            return
        assert self._line().startswith(b"NEGOTIATE_UNIX_FD")
        self.peer.sendall(b"AGREE_UNIX_FD\r\n")
        assert self._line() == b"BEGIN\r\n"
        _answer(self.peer, _question(self.peer), name=":1.7")  # Hello
        self._greeted.set()

    def _line(self) -> bytes:
        assert self.peer is not None
        line = b""
        while not line.endswith(b"\r\n"):
            line += _some(self.peer, 1)
        return line


def _some(client: socket.socket, wanted: int) -> bytes:
    data = client.recv(wanted)
    if not data:
        raise EOFError("the client has gone")
    return data


def _question(client: socket.socket) -> int:
    parser = jeepney.Parser()
    while (message := parser.get_next_message()) is None:
        parser.add_data(_some(client, parser.bytes_desired()))
    return int(message.header.serial)


def _answer(client: socket.socket, to: int, *descriptors: int, name: str = "") -> None:
    header = jeepney.Header(
        jeepney.Endianness.little,
        jeepney.MessageType.method_return,
        0,
        1,
        -1,
        1,
        {jeepney.HeaderFields.reply_serial: to},
    )
    body = (name,) if name else descriptors
    if body:
        signature = "s" if name else "h" * len(descriptors)
        header.fields[jeepney.HeaderFields.signature] = signature
    message = jeepney.Message(header, body)
    passed = array.array("i")
    data = message.serialise(serial=1, fds=passed)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)] if descriptors else []
    client.sendmsg([data], rights)
