"""A ready-made way for messages and batons: a Unix socket for each pair of server and client.

::

    MessageSource (server)                                   MessageChannel (client)
      │  ◀── Subscribe, with one end of a pair of sockets ───────┤
      │  ─── the epoch ─────────────────────────────────────────▶│
      │  ◀── ReceiveBaton: how much is processed ────────────────┤   the hanging get: it waits
      │  ═══ messages, one packet each, by the pair ════════════▶│
      │  ─── a wake lease, index, epoch ────────────────────────▶│   its answer

The client makes the pair of sockets that the messages come by (SOCK_SEQPACKET: each packet arrives
whole, in order, and the end of the sender is seen). Messages and batons are independent: either may
come first, and the index says what belongs to what.

Source: the protocol of the seed's example, ReceiveMessages and ReceiveBaton.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from holdfast.closing import Closing
from holdfast.errors import Closed, InvalidArgument, Unavailable, Unsupported, WakeError
from holdfast.ipc import Server, connect
from holdfast.wake.accounts import Count  # noqa: TC001 - msgspec looks at it
from holdfast.wake.lease import WakeLease
from holdfast.wake.strategies.send_tracker import COVERED, MessageSendTracker
from holdfast.wake.strategies.sequence_client import Baton
from holdfast.wake.strategies.sequence_relay import RelayTracker, SequenceRelay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from holdfast.ipc import Connection, Request
    from holdfast.wake.lease import Reporter
    from holdfast.wake.strategies.sequence_server import SequenceServer
    from holdfast.wake.strategies.surroundings import WakeLeaseLike

__all__ = [
    "MESSAGE_BYTES_MAX",
    "BatonSource",
    "BatonSubscription",
    "MessageChannel",
    "MessageSource",
]

MESSAGE_BYTES_MAX: Final = 1 << 16
_INTERFACE: Final = "org.holdfast.wake.sequence."
_SUBSCRIBE: Final = _INTERFACE + "Subscribe"
_RECEIVE_BATON: Final = _INTERFACE + "ReceiveBaton"
_LET_GO: Final = _INTERFACE + "LetGo"

Tracker = MessageSendTracker | RelayTracker


class _Subscribe(msgspec.Struct):
    messages: bool


class _Subscribed(msgspec.Struct):
    epoch: int
    base: int


class _Ask(msgspec.Struct):
    processed: int


class _LetGo(msgspec.Struct, omit_defaults=True):
    epoch: Count
    index: Count = 0
    processed: Count = 0
    leaves: bool = False


class _Given(msgspec.Struct):
    index: int = 0
    epoch: int = 0
    name: str = ""


class _Travelling(Protocol):
    """What of a wake lease is told about its journey, if it is one that can be told of."""

    name: str
    reporter: Reporter | None

    @property
    def inode(self) -> int: ...


class _Packets(Closing):
    """One end of a pair of sockets. Whoever waits for it goes on when it is closed.

    No event loop hears that a descriptor was closed: it would wait for ever, and could not wait for
    the next one of that number.

    Attributes:
        send: That of the socket itself, since every message passes here; so is `recv`.
    """

    __slots__ = ("_end", "_go_on", "recv", "send")

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(0)
        self.send = end.send
        self.recv = end.recv
        self._end = end
        self._go_on: Callable[[], object] | None = None

    @property
    def closed(self) -> bool:
        return self._end.fileno() < 0

    async def readable(self) -> None:
        loop = asyncio.get_running_loop()
        await self._wait(loop.add_reader, loop.remove_reader)

    async def writable(self) -> None:
        loop = asyncio.get_running_loop()
        await self._wait(loop.add_writer, loop.remove_writer)

    async def _wait(self, watch: Callable[..., object], leave: Callable[[int], object]) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        descriptor = self._end.fileno()

        def go_on() -> None:
            leave(descriptor)
            if not over.done():
                over.set_result(None)

        watch(descriptor, go_on)
        self._go_on = go_on
        try:
            await over
        finally:
            if self._go_on is go_on:  # else it was closed, and the number may be another's
                self._go_on = None
                leave(descriptor)

    def close(self) -> None:
        go_on, self._go_on = self._go_on, None
        if go_on is not None:
            go_on()
        self._end.close()


class _SocketRequest:
    """A client's request that waits for its answer."""

    def __init__(self, request: Request, processed: int) -> None:
        self.processed = processed
        self._request = request

    def deliver(self, wake_lease: WakeLeaseLike, index: int, epoch: int) -> None:
        """Send the copy along with the answer."""
        if self._request.answered or self._request.connection.closed:
            raise Unavailable("the client has gone")
        travelling: _Travelling | None = wake_lease if isinstance(wake_lease, WakeLease) else None
        name = "" if travelling is None else travelling.name
        descriptor = os.dup(wake_lease.fileno())
        self._request.answer(_Given(index, epoch, name), [descriptor])
        if travelling is not None and travelling.reporter is not None:
            peer = self._request.connection.peer
            pid = None if peer is None else peer.pid
            travelling.reporter.hop("sent", travelling.inode, pid=pid, index=index)
        wake_lease.close()

    def refuse(self, code: str) -> None:
        """Say that there will be no baton."""
        if code == "ended":
            self._request.answer(_Given())
        else:
            self._request.fail(
                WakeError("another request for a baton took its place", hint="ask with one client")
            )


class _Subscriber:
    """One client of a source."""

    def __init__(self, tracker: Tracker, messages: _Packets | None, base: int) -> None:
        self.tracker = tracker
        self.messages = messages
        self.base = base
        self.turn = asyncio.Lock()
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self.tracker.close()
        if self.messages is not None:
            self.messages.close()


class BatonSource(Closing):
    """Gives batons to the clients that connect to a Unix socket. Make it while a loop runs.

    Args:
        path: Of the socket.
        server: Whose batons: of the head of a pipeline, or of a stage in the middle.
        base: Called at each subscription: the number that the client's count begins at.
    """

    carries_messages = False

    def __init__(
        self,
        path: str,
        server: SequenceServer | SequenceRelay,
        *,
        base: Callable[[], int] = lambda: 0,
    ) -> None:
        self._server = server
        self._base = base
        self._subscribers: dict[Connection, _Subscriber] = {}
        self._changed = asyncio.Event()
        self._socket = Server(path, self._called, on_closed=self._gone)

    @property
    def path(self) -> str:
        """Where clients connect."""
        return self._socket.path

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self._subscribers)

    async def wait_clients(self, n: int = 1) -> None:
        """Wait until there are so many."""
        while len(self._subscribers) < n:
            self._changed.clear()
            await self._changed.wait()

    def subscribers(self) -> list[_Subscriber]:
        """Those who are there now."""
        return list(self._subscribers.values())

    def close(self) -> None:
        """Part with all clients."""
        self._socket.close()
        for subscriber in self._subscribers.values():
            subscriber.close()
        self._subscribers.clear()

    def _called(self, request: Request) -> None:
        if request.method == _SUBSCRIBE:
            self._subscribe(request)
        elif request.method == _RECEIVE_BATON:
            subscriber = self._subscribers.get(request.connection)
            if subscriber is None:
                raise InvalidArgument("no subscription", hint="subscribe first")
            processed = request.parameters(_Ask).processed
            subscriber.tracker.set_requester(_SocketRequest(request, processed))
        elif request.method == _LET_GO:
            self._let_go(request)
        else:
            raise Unsupported("there is no such method", on=request.method[:80])

    def _let_go(self, request: Request) -> None:
        subscriber = self._subscribers.get(request.connection)
        said = request.parameters(_LetGo)
        if subscriber is not None and said.leaves:
            subscriber.tracker.leave(said.epoch)
        elif subscriber is not None:
            subscriber.tracker.let_go(said.epoch, said.index, said.processed)
        request.answer()

    def _subscribe(self, request: Request) -> None:
        if request.connection in self._subscribers:
            raise InvalidArgument("subscribed already", hint="connect anew")
        wants = request.parameters(_Subscribe).messages
        if wants != self.carries_messages:
            raise InvalidArgument("this source has messages of another kind", on=self.path)
        messages = None
        if wants:
            messages = _Packets(socket.socket(fileno=request.descriptors.take()))
        try:
            made = self._server.manage()
        except BaseException:
            if messages is not None:
                messages.close()
            raise
        tracker = made[0] if isinstance(made, tuple) else made
        subscriber = _Subscriber(tracker, messages, self._base())
        self._subscribers[request.connection] = subscriber
        request.answer(_Subscribed(tracker.epoch, subscriber.base))
        self._changed.set()

    def _gone(self, connection: Connection, reason: str) -> None:
        subscriber = self._subscribers.pop(connection, None)
        if subscriber is not None:
            subscriber.close()


class MessageSource(BatonSource):
    """Sends messages to every client, and counts them.

    ::

        source = MessageSource(path, SequenceServer(governor))
        await source.send(b"event")     # it cannot be stranded now: acknowledge its interrupt
    """

    carries_messages = True

    async def send(self, data: bytes) -> None:
        """Send to every client; return when no suspend can strand it.

        Raises:
            InvalidArgument: Nothing, or more than 64 KiB.
            HoldfastError, OSError: As of `MessageSendTracker.message_sent`. It was sent.
        """
        if not 0 < len(data) <= MESSAGE_BYTES_MAX:
            raise InvalidArgument(f"a message of {len(data)} bytes", hint="1 to 65,536 are allowed")
        if not self._subscribers:
            self._server.check()
        for connection, subscriber in list(self._subscribers.items()):
            await self._send_to(connection, subscriber, data)

    async def _send_to(self, connection: Connection, subscriber: _Subscriber, data: bytes) -> None:
        messages, tracker = subscriber.messages, subscriber.tracker
        assert messages is not None
        async with subscriber.turn:
            while not subscriber.closed:
                try:
                    messages.send(data, socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    await messages.writable()
                except OSError:
                    connection.close()  # the client has gone; the rest of it will be seen to
                    return
                else:
                    break
            else:
                return
            # No wait between the two: nobody suspends, and no other client comes, in between.
            covered = tracker.message_sent()
        if covered is not None and covered is not COVERED:
            await covered


class BatonSubscription:
    """A client's connection to a `BatonSource`; a `BatonChannel` for `SequenceClient`.

    Attributes:
        epoch: Of this subscription.
        base: The number that its count begins at.
    """

    def __init__(self, connection: Connection, reporter: Reporter | None) -> None:
        self._connection = connection
        self._reporter = reporter
        self.epoch = 0
        self.base = 0

    @classmethod
    async def connect(cls, path: str, *, reporter: Reporter | None = None) -> BatonSubscription:
        """Subscribe to batons alone: what they are about is seen elsewhere.

        Args:
            path: The source's socket.
            reporter: A connection to the governor, which is told how batons travel; or None.

        Raises:
            NotFound, Unavailable, NotPermitted: There is no source that we may use.
        """
        self = cls(await connect(path, service="source"), reporter)
        await self.subscribe(None)
        return self

    async def subscribe(self, messages: socket.socket | None) -> None:
        """Say that we are here, and from where messages are to come."""
        descriptors = [] if messages is None else [os.dup(messages.fileno())]
        said = _Subscribe(messages is not None)
        try:
            answer, _ = await self._connection.call(
                _SUBSCRIBE, said, _Subscribed, descriptors=descriptors
            )
        except BaseException:
            self._connection.close()
            raise
        self.epoch, self.base = answer.epoch, answer.base

    async def receive_baton(self, processed: int) -> Baton | None:
        """Ask for a baton and wait; None: the source has ended.

        Raises:
            WakeError: Another request of this connection took its place.
        """
        try:
            given, came = await self._connection.call(_RECEIVE_BATON, _Ask(processed), _Given)
        except Unavailable:
            return None
        with came:
            if not len(came):
                return None
            wake_lease = WakeLease(
                came.take(), given.name or "baton", reporter=self._reporter, received=True
            )
        if self._reporter is not None:
            self._reporter.hop("received", wake_lease.inode, index=given.index, processed=processed)
        return Baton(wake_lease, given.index, given.epoch)

    def let_go(self, index: int, processed: int) -> None:
        """Tell the source that a baton of that index is let go of, and how far we are.

        `SequenceClient` does it, before it closes or passes on the baton.
        """
        self._tell(_LetGo(self.epoch, index, processed))

    def leave(self) -> None:
        """Tell the source that nobody processes what it sends any more."""
        self._tell(_LetGo(self.epoch, leaves=True))

    def _tell(self, said: _LetGo) -> None:
        if not self._connection.closed:
            self._connection.tell(_LET_GO, said)

    async def close(self) -> None:
        """Leave. What was sent and not processed is lost for the source."""
        self._connection.close()
        await asyncio.sleep(0)  # what its end calls


class MessageChannel(BatonSubscription):
    """A client's connection to a `MessageSource`.

    ::

        channel = await MessageChannel.connect(path)
        client = SequenceClient(channel)
        running = client.run()
        async for message in channel.messages():
            work(message)
            client.process_message()
        client.end_of_messages()
    """

    _messages: _Packets

    @classmethod
    async def connect(cls, path: str, *, reporter: Reporter | None = None) -> MessageChannel:
        """Subscribe to messages and batons; see `BatonSubscription.connect`."""
        self = cls(await connect(path, service="source"), reporter)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._messages = _Packets(ours)
        try:
            with theirs:
                await self.subscribe(theirs)
        except BaseException:
            self._messages.close()
            raise
        return self

    async def receive(self) -> bytes | None:
        """The next message; None: there will be none any more.

        Raises:
            Closed: The channel was closed, before or while we wait.
        """
        while True:
            try:
                return self._messages.recv(MESSAGE_BYTES_MAX) or None
            except BlockingIOError:
                await self._messages.readable()
            except ConnectionResetError:
                return None
            except OSError:
                if not self._messages.closed:
                    raise
                raise Closed("the channel is closed", hint="connect anew") from None

    async def messages(self) -> AsyncIterator[bytes]:
        """Each message, until the source has ended."""
        while (message := await self.receive()) is not None:
            yield message

    async def close(self) -> None:
        """Leave. What was sent and not processed is lost for the source."""
        await super().close()
        self._messages.close()
