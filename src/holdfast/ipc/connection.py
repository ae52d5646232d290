"""One connection on an event loop, seen from either end: calls in, answers out, and the reverse.

It works on the raw socket by `add_reader` and `add_writer`: asyncio's streams cannot receive
descriptors, and cost twice as much. Everything in it is bounded (`Limits`), and whoever goes beyond
a bound, or sends what is no message, loses this connection and nothing else.

The way of a call::

    _readable ── receive ── Frames.feed ── decode ── Request ──▶ on_call
                                                        │
    _writable ◀── queue, if the socket is full ◀── Request.answer or fail

What to do when the connection ends is done in a turn of the loop of its own, never in the middle of
a call into this module: who sends need not be ready for `on_closed`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from holdfast.closing import Closing
from holdfast.errors import HoldfastError, InvalidArgument, Unavailable
from holdfast.ipc.descriptors import Descriptors, Truncated, close_all, receive, send_some
from holdfast.ipc.failures import from_message
from holdfast.ipc.messages import (
    CANCEL,
    FRAME_BYTES_MAX,
    Cancel,
    Frames,
    Garbage,
    Message,
    decode,
    encode_call,
    parameters_as,
)
from holdfast.ipc.request import Request

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from holdfast.ipc.peer import Peer

__all__ = ["Connection", "Limits", "OnAnswer"]

T = TypeVar("T")

log = logging.getLogger("holdfast.ipc")
log.addHandler(logging.NullHandler())

# Called with each answer, or once with the error; what it does not take of the descriptors is
# closed after it.
OnAnswer: TypeAlias = "Callable[[Message | HoldfastError, Descriptors], None]"

_READ_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one connection may ask of us.

    Attributes:
        frame_bytes: The longest frame that it may send.
        descriptors: As many as may come with one frame.
        pending: Calls that are not answered yet.
        queued_bytes: What it has not read yet, beside the kernel's buffer; one frame of any length
            is always let through.
    """

    frame_bytes: int = FRAME_BYTES_MAX
    descriptors: int = 16
    pending: int = 4096
    queued_bytes: int = 1 << 20


class Connection(Closing):
    """A connected Unix socket. Make it in the loop's own thread, while the loop runs.

    Attributes:
        loop: The event loop that it belongs to.

    Args:
        sock: The socket; it is the connection's from now on.
        on_call: Called with each call of the other side.
        on_closed: Called once with the reason when the connection has ended, in any way.
        limits: What is allowed.
        peer: Who is on the other side, if somebody wants to know.
        gone: The class of the error for calls that the other side can no longer answer.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_call: Callable[[Request], object],
        *,
        on_closed: Callable[[Connection, str], object] | None = None,
        limits: Limits | None = None,
        peer: Peer | None = None,
        gone: type[HoldfastError] = Unavailable,
    ) -> None:
        self.peer = peer
        self.context: Any = None  # whatever the owner keeps with it
        self._limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = sock
        self._fd = sock.fileno()
        self._on_call = on_call
        self._on_closed = on_closed
        self._gone = gone
        self._reason = ""
        self._frames = Frames(self._limits.frame_bytes, self._limits.descriptors)
        self._queue: deque[tuple[bytes | memoryview, Sequence[int]]] = deque()
        self._queued_bytes = 0
        self._when_sent: list[Callable[[], object]] = []
        # The other side's calls that wait for us, by id; those without one wait in a row.
        self._open: dict[int | None, Request] = {}
        self._row: deque[Request] = deque()
        # Our calls that wait for the other side.
        self._asked: dict[int, OnAnswer] = {}
        self._next_id = 0
        sock.settimeout(0)
        self.loop.add_reader(self._fd, self._readable)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._socket is None

    @property
    def backlogged(self) -> bool:
        """Whether something waits to be sent until the other side reads."""
        return bool(self._queue)

    # -- in ---------------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self._socket is None:
            return
        try:
            data, came = receive(
                self._socket, _READ_BYTES, descriptors_max=self._limits.descriptors
            )
        except (BlockingIOError, InterruptedError):
            return
        except Truncated:
            self._end("it sent more descriptors than can be taken")
            return
        except OSError as error:
            self._end(f"the socket failed ({error.strerror})")
            return
        if not data:
            unfinished = " in the middle of a message" if self._frames.unfinished else ""
            self._end(f"the other side has closed it{unfinished}")
            return
        try:
            frames = self._frames.feed(data, came)
        except Garbage as error:
            close_all(came)
            self._end(str(error))
            return
        for frame, descriptors in frames:
            self._take(frame, Descriptors(descriptors))

    def _take(self, frame: bytes, descriptors: Descriptors) -> None:
        try:
            if self._socket is None:
                return  # an earlier frame of the same read has ended it
            message = decode(frame)
            if message.method == CANCEL:
                self._cancelled(message)
            elif message.method is not None:
                self._called(Request(self, message, descriptors), message.id)
            else:
                self._answered(message, descriptors)
        except Garbage as error:
            self._end(str(error))
        finally:
            descriptors.close()

    def _called(self, request: Request, number: int | None) -> None:
        if not request.oneway:
            if len(self._open) + len(self._row) >= self._limits.pending:
                raise Garbage(f"more than {self._limits.pending} calls that are not answered yet")
            if number is None and number in self._open:
                # It waits for its turn, and descriptors do not wait with it: Varlink has none.
                self._row.append(request)
                return
            if number in self._open:
                raise Garbage(f"two calls at once with the id {number}")
            self._open[number] = request
        self._dispatch(request)

    def _dispatch(self, request: Request) -> None:
        try:
            self._on_call(request)
        except HoldfastError as error:
            request.fail(error)
        except Exception:  # a fault of ours must not end the service for all
            log.exception("the call %s failed by a fault of the service", request.method[:80])
            request.fail(HoldfastError("a fault in the service", hint="its log says more"))

    def _cancelled(self, message: Message) -> None:
        try:
            number = parameters_as(message, Cancel).id
        except InvalidArgument as error:
            raise Garbage(str(error)) from error
        request = self._open.pop(number, None)
        if request is not None:  # else the answer is on its way
            request.withdraw()

    def settled(self, number: int | None) -> None:
        """A call of the other side was answered for good."""
        self._open.pop(number, None)
        if number is None and self._row:
            self.loop.call_soon(self._next_of_row)

    def _next_of_row(self) -> None:
        if self._row and None not in self._open and self._socket is not None:
            request = self._open[None] = self._row.popleft()
            self._dispatch(request)

    # -- out --------------------------------------------------------------------------------------

    def send(self, frame: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a frame, at once if the socket takes it. The descriptors are closed once sent."""
        if self._socket is None:
            close_all(descriptors)
            return
        sent = 0
        if not self._queue:
            try:
                sent = send_some(self._socket, frame, descriptors)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                close_all(descriptors)
                self._end(f"the socket failed ({error.strerror})")
                return
            if sent:
                close_all(descriptors)
                descriptors = ()
            if sent == len(frame):
                return
            self.loop.add_writer(self._fd, self._writable)
        self._queue.append((memoryview(frame)[sent:], descriptors))
        self._queued_bytes += len(frame) - sent
        if self._queued_bytes > self._limits.queued_bytes and len(self._queue) > 1:
            self._end("the other side does not read what it is sent")

    def _writable(self) -> None:
        while self._queue and self._socket is not None:
            data, descriptors = self._queue[0]
            try:
                sent = send_some(self._socket, data, descriptors)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(f"the socket failed ({error.strerror})")
                return
            close_all(descriptors)
            self._queued_bytes -= sent
            if sent < len(data):
                self._queue[0] = (data[sent:], ())
            else:
                self._queue.popleft()
        if self._socket is not None:
            self.loop.remove_writer(self._fd)
            self._all_sent()

    def when_sent(self, go_on: Callable[[], object]) -> None:
        """Call it soon, when nothing waits to be sent; not at all if the end comes first."""
        self._when_sent.append(go_on)
        if not self._queue:
            self.loop.call_soon(self._all_sent)

    def _all_sent(self) -> None:
        if not self._queue and self._socket is not None:
            due, self._when_sent = self._when_sent, []
            for go_on in due:
                go_on()

    # -- our own calls ----------------------------------------------------------------------------

    def start_call(
        self,
        method: str,
        parameters: object,
        on_answer: OnAnswer,
        *,
        descriptors: Sequence[int] = (),
        more: bool = False,
    ) -> int:
        """Call the other side; `on_answer` gets each answer, or the error. Its number.

        Raises:
            InvalidArgument: The parameters have no form in JSON.
        """
        number = self._next_id
        frame = encode_call(method, parameters, id=number, more=more)
        self._next_id += 1
        if self._socket is None:
            close_all(descriptors)
            self.loop.call_soon(on_answer, self._lost(), Descriptors())
        else:
            self._asked[number] = on_answer
            self.send(frame, descriptors)
        return number

    def cancel_call(self, number: int) -> None:
        """The answer to a call of ours is not wanted any more; what comes with it is closed."""
        if self._asked.pop(number, None) is not None:
            self.send(encode_call(CANCEL, Cancel(number), oneway=True))

    def tell(self, method: str, parameters: object) -> None:
        """Call the other side without wanting an answer.

        Raises:
            InvalidArgument: The parameters have no form in JSON.
        """
        self.send(encode_call(method, parameters, oneway=True))

    async def call(
        self,
        method: str,
        parameters: object,
        kind: type[T],
        *,
        descriptors: Sequence[int] = (),
    ) -> tuple[T, Descriptors]:
        """Call the other side and wait; the answer, checked, and the descriptors with it.

        A task that is cancelled here withdraws the call.

        Raises:
            HoldfastError: The one that the other side answered with; or `gone`.
        """
        future: asyncio.Future[tuple[T, Descriptors]] = self.loop.create_future()

        def on_answer(answer: Message | HoldfastError, came: Descriptors) -> None:
            if future.done():
                return  # cancelled in this very turn of the loop
            if isinstance(answer, HoldfastError):
                future.set_exception(answer)
                return
            try:
                said = parameters_as(answer, kind)
            except InvalidArgument as error:
                future.set_exception(error)
            else:
                future.set_result((said, Descriptors([came.take() for _ in range(len(came))])))

        number = self.start_call(method, parameters, on_answer, descriptors=descriptors)
        try:
            return await future
        except asyncio.CancelledError:
            self.cancel_call(number)
            # It may have been answered before we could say so.
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result()[1].close()
            raise

    def _answered(self, message: Message, descriptors: Descriptors) -> None:
        if message.id is None:
            if message.error is None:
                raise Garbage("an answer without an id")
            self._end(str(from_message(message)), from_message(message))
            return
        on_answer = self._asked.get(message.id)
        if on_answer is None:
            return  # cancelled
        if not message.continues:
            del self._asked[message.id]
        answer = message if message.error is None else from_message(message)
        try:
            on_answer(answer, descriptors)
        except Exception:
            log.exception("what was to be done with an answer failed")

    # -- the end ----------------------------------------------------------------------------------

    def _lost(self) -> HoldfastError:
        return self._gone(f"the connection has ended: {self._reason}")

    def _end(self, reason: str, error: HoldfastError | None = None) -> None:
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self._reason = reason
        self.loop.remove_reader(self._fd)
        self.loop.remove_writer(self._fd)
        sock.close()
        close_all(self._frames.abandon())
        for _, descriptors in self._queue:
            close_all(descriptors)
        self._queue.clear()
        if self.loop.is_closed():
            return
        self.loop.call_soon(partial(self._ended, error or self._lost()))

    def _ended(self, error: HoldfastError) -> None:
        requests = [*self._open.values(), *self._row]
        asked = list(self._asked.values())
        self._open.clear()
        self._row.clear()
        self._asked.clear()
        for request in requests:
            request.withdraw()
        for on_answer in asked:
            on_answer(error, Descriptors())
        if self._on_closed is not None:
            self._on_closed(self, self._reason)
        if self.peer is not None:
            self.peer.close()

    def close(self) -> None:
        """End it; what is not sent yet is dropped."""
        self._end("it was closed on this side")

    def __repr__(self) -> str:
        state = f"closed: {self._reason}" if self.closed else f"fd={self._fd}"
        return f"<Connection {self.peer!r} {state}>"
