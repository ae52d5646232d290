"""A small service for the tests: it echoes, waits, streams and hands out descriptors."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from holdfast.closing import Closing
from holdfast.errors import Busy, SuspendAborted, Unsupported
from holdfast.ipc import Connection, Limits, Request, Server
from tests.unit.ipc.places import PATIENCE_S


class Text(msgspec.Struct):
    text: str


class Service(Closing):
    """The service, and what it has seen."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.waiting: list[Request] = []
        self.withdrawn: list[str] = []
        self.opened: list[Connection] = []
        self.ended: list[str] = []
        self.told: list[str] = []
        self.server = Server(
            str(path),
            self.called,
            on_opened=self.opened.append,
            on_closed=lambda _, reason: self.ended.append(reason),
            **settings,
        )

    def called(self, request: Request) -> None:
        method = request.method.rpartition(".")[2]
        answer: Callable[[Request], None] | None = getattr(self, f"on_{method.lower()}", None)
        if answer is None:
            raise Unsupported("there is no such method", on=request.method)
        answer(request)

    def on_echo(self, request: Request) -> None:
        request.answer(request.parameters(Text))

    def on_tell(self, request: Request) -> None:
        self.told.append(request.parameters(Text).text)

    def on_wait(self, request: Request) -> None:
        text = request.parameters(Text).text
        request.on_withdrawn = lambda: self.withdrawn.append(text)
        self.waiting.append(request)

    def on_count(self, request: Request) -> None:
        for number in range(3):
            request.answer({"text": str(number)}, continues=number < 2)

    def on_fail(self, request: Request) -> None:
        raise SuspendAborted("it did not", blockers=("a", "b"), on="x", hint="wait")

    def on_fault(self, request: Request) -> None:
        raise ZeroDivisionError

    def on_twice(self, request: Request) -> None:
        request.answer({"text": "first"})
        request.answer({"text": "second"}, [os.dup(0)])
        request.fail(Busy("third"))

    def on_give(self, request: Request) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        request.answer({"text": "here"}, [writing])

    def on_take(self, request: Request) -> None:
        fd = request.descriptors.take()
        request.answer({"text": str(os.fstat(fd).st_ino)})
        os.close(fd)

    def on_leave(self, request: Request) -> None:
        request.answer({"text": str(len(request.descriptors))})

    def on_large(self, request: Request) -> None:
        request.answer({"text": "x" * 2_000_000})

    def on_back(self, request: Request) -> None:
        """Call the caller, and answer with what it said."""
        request.connection.start_call(
            "org.example.Back",
            {"text": "?"},
            lambda answer, _: (
                request.fail(answer)
                if isinstance(answer, Exception)
                else request.answer(answer.parameters)
            ),
        )

    def close(self) -> None:
        self.server.close()


class ServiceThread(Closing):
    """A `Service` on an event loop in a thread of its own, for clients that block."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(path, settings)))
        self._thread.start()
        assert self._up.wait(PATIENCE_S)

    async def _main(self, path: Path, settings: dict[str, Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        with Service(path, **settings) as self.service:
            self._up.set()
            await self._over.wait()
        await asyncio.sleep(0)  # what the end calls

    def soon(self, function: Callable[..., object], *given: Any) -> None:
        self.loop.call_soon_threadsafe(function, *given)

    def close(self) -> None:
        if self._thread.is_alive():
            self.soon(self._over.set)
            self._thread.join(PATIENCE_S)


SMALL = Limits(frame_bytes=1000, descriptors=2, pending=5, queued_bytes=10_000)
