"""Calls to a service without an event loop: `Client`, and `Line`, one blocking connection of it.

A call takes a line for itself and gives it back; a call that comes while all lines wait opens one
more. So threads may share a client, and one that waits for long keeps nobody from calling. After a
fork the child opens lines of its own: two processes that read one socket would steal answers from
each other.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from holdfast.closing import Closing
from holdfast.errors import Closed, HoldfastError, InvalidArgument, Unavailable
from holdfast.ipc.descriptors import Descriptors, Truncated, close_all, receive, send_some
from holdfast.ipc.failures import from_message
from holdfast.ipc.messages import (
    Frames,
    Garbage,
    Message,
    decode,
    encode_call,
    parameters_as,
)
from holdfast.ipc.socket_file import address_of, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ANSWER_BYTES_MAX", "Client", "Line"]

T = TypeVar("T")

# A service may say much at once, such as a list of thousands.
ANSWER_BYTES_MAX: Final = 1 << 26
_READ_BYTES: Final = 1 << 16
_IDLE_MAX: Final = 4
_SHORTEST_S: Final = 0.001


class Line(Closing):
    """One connection of its own; one call at a time.

    Args:
        path: The socket of the service.
        service: What it is called in messages.
        gone: The class of the error when it cannot answer any more.

    Raises:
        NotFound, Unavailable, NotPermitted, InvalidArgument: See `socket_file.refused`.
    """

    def __init__(self, path: str, service: str, gone: type[HoldfastError]) -> None:
        self._path = path
        self._service = service
        self._gone = gone
        self._frames = Frames(ANSWER_BYTES_MAX)
        self._came: list[tuple[bytes, list[int]]] = []
        self._next_id = 0
        self._timeout_s: float | None = None
        self.broken = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address_of(path) as address:
                self._socket.connect(address)
        except OSError as error:
            self._socket.close()
            raise refused(error, path, service) from error
        except BaseException:  # who waits for a place in the backlog may be interrupted
            self._socket.close()
            raise

    def call(
        self,
        method: str,
        parameters: object,
        descriptors: Sequence[int] = (),
        *,
        timeout_s: float | None = None,
    ) -> tuple[Message, Descriptors]:
        """Call, and wait for the answer and what came with it.

        The descriptors given are sent as duplicates; they stay the caller's.

        Raises:
            HoldfastError: The one that the service answered with; or `gone`.
            Unavailable: Not a word came for `timeout_s` seconds. The call is withdrawn: the service
                hears of that as soon as it listens.
        """
        self._wait_at_most(timeout_s)
        return self._answer(self._ask(method, parameters, descriptors, more=False))

    def stream(self, method: str, parameters: object) -> Iterator[Message]:
        """Call, and yield each answer until the last; descriptors with them are closed.

        Raises:
            HoldfastError: As of `call`.
        """
        self._wait_at_most(None)
        number = self._ask(method, parameters, (), more=True)
        continues = True
        while continues:
            message, came = self._answer(number)
            came.close()
            continues = message.continues
            yield message

    def tell(self, method: str, parameters: object) -> None:
        """Call without wanting an answer.

        Raises:
            HoldfastError: `gone`.
        """
        self._wait_at_most(None)
        self._send(encode_call(method, parameters, oneway=True), ())

    def _wait_at_most(self, timeout_s: float | None) -> None:
        if timeout_s != self._timeout_s:
            # A socket with a time-out of 0 does not wait at all, and then reports something else.
            self._socket.settimeout(None if timeout_s is None else max(timeout_s, _SHORTEST_S))
            self._timeout_s = timeout_s

    def _ask(
        self, method: str, parameters: object, descriptors: Sequence[int], *, more: bool
    ) -> int:
        number = self._next_id
        frame = encode_call(method, parameters, id=number, more=more)
        self._next_id += 1
        # Until the last answer: who gives it up, as by Ctrl-C, at whatever instant, leaves half a
        # message, or an answer that is still to come. Closing the connection withdraws the call.
        self.broken = True
        self._send(frame, descriptors)
        return number

    def _answer(self, number: int) -> tuple[Message, Descriptors]:
        while True:
            message, came = self._receive()
            if message.method is None and message.id in {number, None}:
                break
            came.close()  # a call, which nobody takes
        about_connection = message.error is not None and message.id is None
        self.broken = message.continues or about_connection
        if message.error is not None:
            came.close()
            raise from_message(message)
        return message, came

    def _send(self, frame: bytes, descriptors: Sequence[int]) -> None:
        try:
            sent = send_some(self._socket, frame, descriptors)
            if sent < len(frame):
                self._socket.sendall(memoryview(frame)[sent:])
        except TimeoutError as error:
            self.broken = True
            raise self._silent() from error
        except OSError as error:
            self.broken = True
            self._say_why()
            raise self._lost(error.strerror or str(error)) from error
        except BaseException:
            self.broken = True  # half a frame may have gone
            raise

    def _say_why(self) -> None:
        """Who closed it may have said why before."""
        try:
            message, came = self._receive()
        except HoldfastError:
            return
        came.close()
        if message.error is not None and message.id is None:
            raise from_message(message)

    def _receive(self) -> tuple[Message, Descriptors]:
        while not self._came:
            data, descriptors = self._read()
            try:
                self._came = self._frames.feed(data, descriptors)
            except Garbage as error:
                close_all(descriptors)
                self.broken = True
                raise self._lost(str(error)) from error
        frame, its = self._came.pop(0)
        try:
            return decode(frame), Descriptors(its)
        except Garbage as error:
            close_all(its)
            self.broken = True
            raise self._lost(str(error)) from error

    def _read(self) -> tuple[bytes, list[int]]:
        try:
            data, descriptors = receive(self._socket, _READ_BYTES)
        except TimeoutError as error:
            self.broken = True
            raise self._silent() from error
        except (Truncated, OSError) as error:
            self.broken = True
            raise self._lost(error.strerror or str(error)) from error
        if not data:
            self.broken = True
            raise self._lost("it has closed the connection")
        return data, descriptors

    def _lost(self, why: str) -> HoldfastError:
        return self._gone(f"the {self._service} does not answer any more ({why})", on=self._path)

    def _silent(self) -> HoldfastError:
        return Unavailable(
            f"the {self._service} lives, and has not answered for {self._timeout_s:g} s",
            on=self._path,
            hint="if it was stopped by a signal, `kill -CONT` lets it go on",
        )

    def close(self) -> None:
        """End the connection."""
        self.broken = True
        self._socket.close()
        close_all(self._frames.abandon())
        for _, descriptors in self._came:
            close_all(descriptors)
        self._came.clear()


class Client(Closing):
    """Calls a service; threads may share it.

    It connects at the first call, and anew at the first call after the service has gone: the call
    that finds it gone raises `gone`, since nobody knows whether it was heard.

    Args:
        path: The socket of the service.
        service: What it is called in messages, such as "governor".
        gone: The class of the error when it cannot answer any more.
    """

    def __init__(
        self, path: str, *, service: str = "service", gone: type[HoldfastError] = Unavailable
    ) -> None:
        self.path = os.path.abspath(path)
        self._service = service
        self._gone = gone
        self._guard = threading.Lock()
        self._idle: list[Line] = []
        self._pid = os.getpid()
        self._closed = False

    def connect(self) -> None:
        """See that somebody answers there, now rather than at the first call.

        Raises:
            NotFound, Unavailable, NotPermitted, InvalidArgument: See `socket_file.refused`.
        """
        self._give_back(self._take())

    def call(
        self,
        method: str,
        parameters: object,
        kind: type[T],
        descriptors: Sequence[int] = (),
        *,
        timeout_s: float | None = None,
    ) -> tuple[T, Descriptors]:
        """Call and wait; the answer, checked, and the descriptors that came with it.

        Raises:
            HoldfastError: The one that the service answered with; or `gone`.
            Unavailable: Not a word came for `timeout_s` seconds; the call is withdrawn.
            Closed: The client was closed.
        """
        line = self._take()
        try:
            message, came = line.call(method, parameters, descriptors, timeout_s=timeout_s)
        finally:
            self._give_back(line)
        try:
            return parameters_as(message, kind), came
        except InvalidArgument:
            came.close()
            raise

    def tell(self, method: str, parameters: object) -> None:
        """Call without wanting an answer.

        Raises:
            HoldfastError: `gone`.
            Closed: The client was closed.
        """
        line = self._take()
        try:
            line.tell(method, parameters)
        finally:
            self._give_back(line)

    def stream(self, method: str, parameters: object, kind: type[T]) -> Iterator[T]:
        """Call, and yield one answer after the other, until the last or until nobody asks.

        Raises:
            HoldfastError: As of `call`.
        """
        line = self._take()
        try:
            for message in line.stream(method, parameters):
                yield parameters_as(message, kind)
        finally:
            line.close()  # what is still on its way is nobody's

    def _take(self) -> Line:
        if self._pid != os.getpid():
            # A thread that is not here may have had the lock at the instant of the fork.
            self._guard = threading.Lock()
            self._pid = os.getpid()
            self._forget()
        with self._guard:
            if self._closed:
                raise Closed(f"this connection to the {self._service} is closed", on=self.path)
            if self._idle:
                return self._idle.pop()
        return Line(self.path, self._service, self._gone)

    def _give_back(self, line: Line) -> None:
        with self._guard:
            if not line.broken and not self._closed and len(self._idle) < _IDLE_MAX:
                self._idle.append(line)
                return
            if line.broken:
                self._forget()  # who has closed one has closed the others, too
        line.close()

    def _forget(self) -> None:
        idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def close(self) -> None:
        """Close what is idle. A call that waits in another thread ends when it is answered."""
        with self._guard:
            self._closed = True
            self._forget()

    def __del__(self) -> None:
        for line in getattr(self, "_idle", ()):
            line.close()
