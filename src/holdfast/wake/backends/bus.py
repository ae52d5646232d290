"""A connection to the system bus, driven by the event loop's readiness, with descriptors.

jeepney makes and reads the messages; the socket is ours, because its connection for asyncio stands
on streams, which cannot receive descriptors, and its others block. Received descriptors are
close-on-exec, and a message whose descriptors were cut off ends the connection: a lock that got
lost on the way must not look like one that was never asked for.
Sources: the D-Bus specification ("Message Protocol", "Authentication Protocol"), recvmsg(2).
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import importlib
import os
import socket
import struct
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.errors import Unavailable, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DAEMON",
    "Bus",
    "Called",
    "Connection",
    "Message",
    "Refused",
    "ask_once",
    "jeepney",
    "system_bus",
]

_GREETING_S = 10.0
_REPLY_S = 25.0  # what libdbus and sd-bus wait for, too
_DESCRIPTORS_MAX = 253  # in one message: SCM_MAX_FD of the kernel
_LINE_BYTES = 512
_MESSAGE_BYTES_MAX = 1 << 27  # the specification's, "Message Format"
_READ_BYTES = 1 << 16
_DEFAULT_ADDRESS = "unix:path=/run/dbus/system_bus_socket"


class Refused(Exception):
    """The other side answered with an error.

    Attributes:
        name: Of the error, such as ``org.freedesktop.login1.OperationInProgress``.
        text: What it says about it.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text} ({name})" if text else name)
        self.name = name
        self.text = text


@dataclass(frozen=True, slots=True)
class Called:
    """Whom to call: a name on the bus, an object and one of its interfaces."""

    name: str
    path: str
    interface: str


DAEMON = Called("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


@dataclass(frozen=True, slots=True)
class Message:
    """A signal.

    Attributes:
        sender: The unique name of whoever sent it; the bus vouches for it. Everybody may send a
            signal to everybody: look at this first.
        interface: Of the signal.
        member: Its name.
        body: What it carries.
    """

    sender: str
    interface: str
    member: str
    body: tuple[Any, ...]


class Connection(Protocol):
    """What the back-end needs of a bus; the tests have another one.

    Attributes:
        name: What the bus calls us.
    """

    name: str

    async def call(
        self, whom: Called, member: str, signature: str = "", body: tuple[object, ...] = ()
    ) -> tuple[Any, ...]:
        """Ask, and wait for the answer. A descriptor in it is an int, and the caller's.

        Raises:
            Refused: The answer is an error, or none came in time.
            Unavailable: The connection ended first.
        """
        ...

    async def watch(self, rule: str) -> None:
        """Have the signals delivered that a match rule describes. Raises as `call` does."""
        ...

    def close(self) -> None:
        """End the connection. Closing twice is harmless."""
        ...


def jeepney() -> Any:
    """The library, or an error that names the extra.

    Raises:
        Unsupported: It is not installed.
    """
    try:
        return importlib.import_module("jeepney")
    except ImportError as error:
        raise Unsupported(
            "speaking to logind needs jeepney",
            on="holdfast.wake.backends.logind",
            hint="pip install 'holdfast[dbus]'",
        ) from error


def system_bus() -> str:
    """The address of the system bus: ``DBUS_SYSTEM_BUS_ADDRESS``, or where it is by default."""
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or _DEFAULT_ADDRESS


def socket_of(address: str) -> str:
    """The name of the socket behind the first address that is a Unix socket.

    Raises:
        Unavailable: There is none.
    """
    jeepney()
    bus = importlib.import_module("jeepney.bus")
    try:
        found: str = next(iter(bus.get_connectable_addresses(address)))
    except (RuntimeError, ValueError, StopIteration) as error:
        raise Unavailable(
            "not the address of a bus on a Unix socket",
            on=address,
            hint="see DBUS_SYSTEM_BUS_ADDRESS",
        ) from error
    return found


def ask_once(address: str, whom: Called, member: str, *, timeout: float) -> tuple[Any, ...]:
    """Ask one question over a connection of its own, also where an event loop runs already.

    Raises:
        Refused: The answer is an error.
        Unavailable: There is no such bus, or it does not answer in `timeout` seconds.
        Unsupported: jeepney is missing.
    """

    async def ask() -> tuple[Any, ...]:
        try:
            async with asyncio.timeout(timeout):
                bus = await Bus.connect(address, lambda _: None, lambda _: None)
                try:
                    return await bus.call(whom, member)
                finally:
                    bus.close()
        except TimeoutError as error:
            raise _unreachable(address, error) from error

    with ThreadPoolExecutor(1, "holdfast-bus") as thread:
        return thread.submit(asyncio.run, ask()).result()


_Reply = tuple[Any, list[int]]  # jeepney's message, and the descriptors that came with it


class Bus:
    """A connection, open from `connect` on.

    Args:
        connected: A socket that has been greeted.
        heard: Told every signal that was asked for.
        lost: Told, once, why the connection ended, unless it was closed.
    """

    def __init__(
        self,
        connected: socket.socket,
        heard: Callable[[Message], None],
        lost: Callable[[str], None],
    ) -> None:
        self._library = jeepney()
        self._socket = connected
        self._heard = heard
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser: Any = self._library.Parser()
        self._serials = count(1)
        self._awaited: dict[int, asyncio.Future[_Reply]] = {}
        self._descriptors: list[int] = []  # received, of a message that is not complete
        self._unsent: deque[bytes] = deque()
        self._open = True
        self.name = ""  # given by the first answer
        self._loop.add_reader(self._socket, self._readable)

    @classmethod
    async def connect(
        cls, address: str, heard: Callable[[Message], None], lost: Callable[[str], None]
    ) -> Bus:
        """Connect and be greeted.

        Raises:
            Unavailable: There is no bus, or it does not want us.
            Unsupported: jeepney is missing.
        """
        where = socket_of(address)
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            async with asyncio.timeout(_GREETING_S):
                await asyncio.get_running_loop().sock_connect(connected, where)
                await _greet(connected)
        except (OSError, ValueError) as error:  # a time-out is an OSError, too
            connected.close()
            raise _unreachable(address, error) from error
        except BaseException:
            connected.close()
            raise
        bus = cls(connected, heard, lost)
        try:
            (bus.name,) = await bus.call(DAEMON, "Hello")
        except Refused as error:
            bus.close()
            raise _unreachable(address, error) from error
        except BaseException:
            bus.close()
            raise
        return bus

    async def call(
        self, whom: Called, member: str, signature: str = "", body: tuple[object, ...] = ()
    ) -> tuple[Any, ...]:
        """See `Connection.call`."""
        if not self._open:
            raise _ended(member)
        place = self._library.DBusAddress(whom.path, whom.name, whom.interface)
        message = self._library.new_method_call(place, member, signature or None, body)
        serial = next(self._serials)
        answer: asyncio.Future[_Reply] = self._loop.create_future()
        self._awaited[serial] = answer
        try:
            self._send(message.serialise(serial=serial))
            async with asyncio.timeout(_REPLY_S):
                reply, _ = await answer
        except BaseException as error:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                _close_all(answer.result()[1])  # it came as we went: nobody else has them
            if isinstance(error, TimeoutError):
                text = f"{whom.name} has not answered in {_REPLY_S:g} s"
                raise Refused("org.freedesktop.DBus.Error.NoReply", text) from error
            raise
        finally:
            self._awaited.pop(serial, None)
        return _body_of(self._library, reply)

    async def watch(self, rule: str) -> None:
        """See `Connection.watch`."""
        await self.call(DAEMON, "AddMatch", "s", (rule,))

    def close(self) -> None:
        """See `Connection.close`."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        _close_all(self._descriptors)
        for answer in list(self._awaited.values()):
            if not answer.done():
                answer.set_exception(_ended("a call"))

    # -- out --

    def _send(self, data: bytes) -> None:
        self._unsent.append(data)
        if len(self._unsent) == 1:
            self._writable()

    def _writable(self) -> None:
        while self._unsent:
            data = self._unsent[0]
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._end(f"writing to the bus failed: {error.strerror}")
                return
            if sent < len(data):
                self._unsent[0] = data[sent:]
                self._loop.add_writer(self._socket, self._writable)
                return
            self._unsent.popleft()
        self._loop.remove_writer(self._socket)

    # -- in --

    def _readable(self) -> None:
        while self._open:
            # Never more than the rest of one message: its descriptors then are this message's.
            wanted = self._parser.bytes_desired()
            if not 0 < wanted <= _MESSAGE_BYTES_MAX:
                self._end(f"the bus sent what is no message: {wanted} bytes")
                return
            wanted = min(wanted, _READ_BYTES)
            try:
                data, control, flags, _ = self._socket.recvmsg(
                    wanted, socket.CMSG_SPACE(4 * _DESCRIPTORS_MAX), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError as error:
                self._end(f"reading from the bus failed: {error.strerror}")
                return
            self._descriptors += _descriptors_in(control)
            if flags & socket.MSG_CTRUNC:
                self._end("descriptors of a message were cut off")
                return
            if not data:
                self._end("the bus closed the connection")
                return
            try:
                self._take(data)
            except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
                self._end(f"the bus sent what is no message: {error}")
                return

    def _take(self, data: bytes) -> None:
        self._parser.add_data(data)
        # The parser gets the descriptors with the last bytes only, which make the message.
        self._parser.fds = list(self._descriptors)
        message = self._parser.get_next_message()
        if message is None:
            return
        descriptors, self._descriptors = self._descriptors, []
        kind = self._library.MessageType
        fields, header = message.header.fields, self._library.HeaderFields
        if message.header.message_type in {kind.method_return, kind.error}:
            answer = self._awaited.get(fields.get(header.reply_serial, -1))
            if answer is not None and not answer.done():
                answer.set_result((message, descriptors))
                return
        elif message.header.message_type is kind.signal:
            sender = fields.get(header.sender, "")
            interface, member = fields[header.interface], fields[header.member]
            self._heard(Message(sender, interface, member, message.body))
        # Nobody waits for it (any more): what it brought must not stay open.
        _close_all(descriptors)

    def _end(self, why: str) -> None:
        if self._open:
            self.close()
            self._lost(why)


async def _greet(connected: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    auth = importlib.import_module("jeepney.auth")
    talk = auth.Authenticator(enable_fds=True)
    for line in talk:
        await loop.sock_sendall(connected, line)
        said = await loop.sock_recv(connected, _LINE_BYTES)
        if not said:
            raise ConnectionResetError("the bus closed the connection")
        talk.feed(said)
    await loop.sock_sendall(connected, auth.BEGIN)


def _body_of(library: Any, reply: Any) -> tuple[Any, ...]:
    if reply.header.message_type is library.MessageType.error:
        name = reply.header.fields[library.HeaderFields.error_name]
        raise Refused(name, " ".join(str(word) for word in reply.body))
    body: tuple[Any, ...] = reply.body
    return body


def _descriptors_in(control: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptors.pop())


def _unreachable(address: str, error: Exception) -> Unavailable:
    said = getattr(error, "strerror", None) or str(error) or "it does not answer"
    return Unavailable(
        f"the system bus cannot be reached ({said})",
        on=address,
        hint="is dbus-daemon running? DBUS_SYSTEM_BUS_ADDRESS names another bus",
        tried=(address,),
    )


def _ended(member: str) -> Unavailable:
    return Unavailable("the connection to the system bus has ended", on=member)
