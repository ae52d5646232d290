"""What the governor's service keeps for its clients: wake leases with their pipes, and callers."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.closing import Closing
from holdfast.wake import wire
from holdfast.wake.holders import look
from holdfast.wake.hops import Process
from holdfast.wake.model import Requester, WakeLeaseKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.ipc import Connection, Request
    from holdfast.wake.token import Token

__all__ = ["Caller", "Clients", "Held", "HeldLeases"]


@dataclass(slots=True)
class Held(Closing):
    """One wake lease, asked for or granted.

    Attributes:
        request: To be answered when it is granted; None: it was.
        writing: The write end, until it is sent; -1: somebody else has it.
    """

    number: int
    name: str
    kind: WakeLeaseKind
    requester: Requester
    token: Token
    writing: int
    request: Request | None
    asked_ns: int
    granted_ns: int | None = None

    def close(self) -> None:
        """Close both ends, as far as they are ours."""
        self.token.close()
        writing, self.writing = self.writing, -1
        if writing >= 0:
            os.close(writing)

    def on_the_wire(self) -> wire.Lease:
        """The same for who asks."""
        who = self.requester
        return wire.Lease(
            number=self.number,
            name=self.name,
            kind=self.kind.value,
            inode=self.token.inode,
            pid=who.pid,
            uid=who.uid,
            command=who.command,
            asked_ns=self.asked_ns,
            granted_ns=self.granted_ns,
        )


class HeldLeases(Closing):
    """All wake leases, by number and by pipe."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._by_number: dict[int, Held] = {}
        self._by_inode: dict[int, Held] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Held]:
        return iter(self._by_number.values())

    def new_number(self) -> int:
        """One that no wake lease had before."""
        return next(self._numbers)

    def add(self, held: Held) -> None:
        """Keep it."""
        self._by_number[held.number] = held
        self._by_inode[held.token.inode] = held

    def find(self, number: int) -> Held | None:
        """The one of that number; None: it was closed."""
        return self._by_number.get(number)

    def of_inode(self, inode: int) -> Held | None:
        """The one whose pipe that is."""
        return self._by_inode.get(inode)

    def of_token(self, token: Token) -> Held:
        """The one whose token that is."""
        return self._by_inode[token.inode]

    def remove(self, number: int) -> Held | None:
        """Forget it; whoever calls closes it."""
        held = self._by_number.pop(number, None)
        if held is not None:
            del self._by_inode[held.token.inode]
        return held

    def close(self) -> None:
        """Close every pipe."""
        for held in self:
            held.close()
        self._by_number.clear()
        self._by_inode.clear()


@dataclass(slots=True)
class Caller:
    """A connected client.

    Attributes:
        number: Of its connection; never used twice.
        listeners: The numbers of its listeners.
    """

    number: int
    connection: Connection
    listeners: set[int] = field(default_factory=set)
    _requester: Requester | None = None
    _process: Process | None = None

    def process(self) -> Process:
        """Which process connected, with what /proc says of it.

        A socket may be used by another process by now, and a pid be another's: only what the
        kernel vouches for is said, and nothing more if that process has ended.
        """
        if self._process is None:
            peer = self.connection.peer
            pid = 0 if peer is None else peer.pid
            found = look(pid) if pid else Process(0)
            gone = peer is not None and peer.ended()
            self._process = Process(pid) if gone else found
        return self._process

    def requester(self) -> Requester:
        """The same, as the governor wants it."""
        if self._requester is None:
            peer = self.connection.peer
            uid = -1 if peer is None else peer.uid
            process = self.process()
            self._requester = Requester(self.number, process.pid, uid, process.command)
        return self._requester


class Clients:
    """Who is connected, who listens, and who waits for a suspend."""

    def __init__(self) -> None:
        self._connections = itertools.count(1)
        self._listener_numbers = itertools.count(1)
        self._request_numbers = itertools.count(1)
        self._listeners: dict[int, Caller] = {}
        self.requests: dict[int, Request] = {}

    def opened(self, connection: Connection) -> None:
        """Somebody has connected."""
        connection.context = Caller(next(self._connections), connection)

    def gone(self, connection: Connection) -> list[int]:
        """Somebody has gone; the numbers of his listeners."""
        caller: Caller = connection.context
        listeners = sorted(caller.listeners)
        for number in listeners:
            self.unlisten(number)
        return listeners

    def new_listener(self, caller: Caller) -> int:
        """The number of a new listener of that client."""
        number = next(self._listener_numbers)
        self._listeners[number] = caller
        caller.listeners.add(number)
        return number

    def unlisten(self, number: int) -> None:
        """It is none any more."""
        caller = self._listeners.pop(number, None)
        if caller is not None:
            caller.listeners.discard(number)

    def tell_listeners(self, *, begins: bool) -> None:
        """The machine goes down of itself, or is back."""
        for number, caller in list(self._listeners.items()):
            if not caller.connection.closed:
                caller.connection.tell(wire.SLEEPS, wire.Sleeps(number, begins))

    def connection_of(self, listener: int) -> Connection | None:
        """By which a listener is called; None: it has gone."""
        caller = self._listeners.get(listener)
        return None if caller is None or caller.connection.closed else caller.connection

    def evicted(self, listener: int) -> Connection | None:
        """It is none any more, by the governor's decision; by which it is told."""
        connection = self.connection_of(listener)
        self.unlisten(listener)
        return connection

    def new_request(self, request: Request) -> int:
        """The number of a new request for a suspend."""
        number = next(self._request_numbers)
        self.requests[number] = request
        return number
