"""A proxy before PostgreSQL's socket that cuts a connection at a word."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Cutter:
    """Passes everything on, until the client says a word; then it ends that connection.

    Args:
        server: The directory of the server's socket.
        word: At which words of the client to cut; b"" is never.
        after: Whether the server still gets these words, and has answered before the cut.

    Attributes:
        directory: Where its own socket is.
        cuts: How many are still to be made.
    """

    def __init__(self, server: Path, word: bytes, *, after: bool, cuts: int = 1) -> None:
        self.server, self.word, self.after, self.cuts = server, word, after, cuts
        self.directory = Path(tempfile.mkdtemp(prefix="holdfast-cut-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / SOCKET))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(str(self.server / SOCKET))
        mute = threading.Event()
        back = threading.Thread(target=pump, args=(upstream, client, mute))
        back.start()
        while data := read(client):
            if self.word and self.word in data and self.cuts > 0:
                self.cuts -= 1
                mute.set()  # the answer goes nowhere; and the cut comes after it, or the abortion
                if self.after:
                    upstream.sendall(data)
                break
            upstream.sendall(data)
        half_close(upstream)  # the server does what it has been told, and ends
        back.join()
        client.close()
        upstream.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self.directory)


def pump(source: socket.socket, target: socket.socket, mute: threading.Event) -> None:
    while data := read(source):
        if not mute.is_set():  # else the rest is for nobody, but is waited for
            with suppress(OSError):
                target.sendall(data)
    half_close(target)


def read(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def half_close(target: socket.socket) -> None:
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
