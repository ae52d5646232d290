"""A host with programs, and the descriptors that they hold: pipes, sockets, and copies of them.

A descriptor stands for something open (an end of a pipe or of a socket), and several may stand for
the same: a duplicate, what a forked child inherited, and what travels in a message that nobody has
read yet. What is open is closed when the last of these copies is gone, wherever it was; only then
does the other end hear of it. That is the rule on which wake leases stand, and the ways to break
it are here too: an exec that keeps what it should have closed, a message read without room for the
descriptor in it, a program that is killed while a message to it lies unread.

::

    host = Host(world)
    a, b = host.program("a"), host.program("b")
    here, there = a.connect(b)                    # a Unix socket, one end for each
    reading, writing = a.pipe()
    a.send(here, "take this", writing)            # the message holds a copy now
    a.close(writing)
    b.watch(there, lambda: b.receive(there))      # as a step of b, some time later
    host.copies(a, reading)                       # how many copies of the other end exist

Programs are nodes of the world: they are scheduled, paused and killed like these, and a step of one
never comes between two lines of another. Sources: pipe(7), unix(7), recvmsg(2), fork(2), execve(2).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.errors import Closed, InvalidArgument
from holdfast.testing.world.power import Power

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing.world.node import Node
    from holdfast.testing.world.world import World

__all__ = ["Host", "Letter", "Program"]


@dataclass(frozen=True, slots=True)
class Letter:
    """What was read from a socket.

    Attributes:
        data: The message.
        descriptors: What came with it, as numbers of the reader.
        truncated: There was no room for all descriptors; those without are closed (MSG_CTRUNC).
        ended: The other end is closed, and nothing is left to be read.
    """

    data: Any = None
    descriptors: tuple[int, ...] = ()
    truncated: bool = False
    ended: bool = False


class _End:
    """One end of something open. Closed when its last copy is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.copies = 0
        self.other: _End = self
        self.letters: deque[tuple[Any, tuple[_End, ...]]] = deque()  # for this end to read
        self.watchers: list[_Watcher] = []

    def wake(self) -> None:
        """Tell those who watch this end, each as a step of his own."""
        for watcher in self.watchers:
            watcher.program.node.soon(watcher.call)

    def take(self) -> None:
        self.copies += 1

    def drop(self) -> None:
        self.copies -= 1
        if self.copies:
            return
        unread, self.letters = self.letters, deque()
        for _, ends in unread:
            for end in ends:
                end.drop()
        self.watchers.clear()
        self.other.wake()


@dataclass(slots=True, eq=False)
class _Watcher:
    program: Program
    descriptor: int
    action: Callable[[], object]

    def call(self, _: object) -> None:
        # It may have been closed since, by a step that came before.
        if self.descriptor in self.program.open:
            self.action()


@dataclass(slots=True)
class _Entry:
    end: _End
    close_on_exec: bool


class Host:
    """One machine and its programs.

    Args:
        world: Where.

    Attributes:
        programs: By name, in the order in which they were made.
        power: By which it goes down and comes back.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.programs: dict[str, Program] = {}
        self.power = Power(self)

    def program(self, name: str, *, jitter_ns: int | None = None) -> Program:
        """The program of that name, made at the first call; its node has the same name."""
        program = self.programs.get(name)
        if program is None:
            node = self.world.node(name, jitter_ns=jitter_ns)
            program = self.programs[name] = Program(self, node)
        return program

    @staticmethod
    def copies(program: Program, descriptor: int) -> int:
        """How many copies of the *other* end exist, in programs and in messages together."""
        return program.end(descriptor).other.copies


@dataclass(slots=True)
class Program:
    """A process on a host.

    Attributes:
        node: On which it runs; but it is killed by `kill`, not by `Node.crash`.
    """

    host: Host
    node: Node
    _table: dict[int, _Entry] = field(default_factory=dict)
    _next: int = 3

    @property
    def name(self) -> str:
        """As its node's."""
        return self.node.name

    @property
    def open(self) -> tuple[int, ...]:
        """Its descriptors."""
        return tuple(self._table)

    # -- making and closing --

    def pipe(self) -> tuple[int, int]:
        """A pipe, as (reading end, writing end), both close-on-exec."""
        return self._pair("pipe", self)

    def connect(self, other: Program) -> tuple[int, int]:
        """A Unix socket to another program, as (mine, his), both close-on-exec."""
        return self._pair("socket", other)

    def duplicate(self, descriptor: int) -> int:
        """One more copy, close-on-exec."""
        return self.add(self.end(descriptor), close_on_exec=True)

    def close(self, descriptor: int) -> None:
        """One copy less.

        Raises:
            Closed: There is no such descriptor.
        """
        entry = self._table.pop(descriptor, None)
        if entry is None:
            raise Closed(f"{self.name} has no descriptor {descriptor}")
        self._forget_watch(entry.end, descriptor)
        entry.end.drop()

    def fork(self, name: str) -> Program:
        """A child with a copy of everything, until it executes something else or ends."""
        child = self.host.program(name)
        for entry in self._table.values():
            child.add(entry.end, close_on_exec=entry.close_on_exec)
        return child

    def execute(self) -> None:
        """Become another program: what is close-on-exec is closed, and the rest is kept."""
        for descriptor, entry in list(self._table.items()):
            if entry.close_on_exec:
                self.close(descriptor)

    def kill(self, for_ns: int | None = None) -> None:
        """SIGKILL: the kernel closes all that it had. Harmless if it was killed.

        Args:
            for_ns: Restart after so long in true time; None: when `restart` is called.
        """
        self.node.crash()
        for descriptor in list(self._table):
            self.close(descriptor)
        if for_ns is not None:
            self.host.world.after(for_ns, self.restart)

    def restart(self) -> None:
        """Start again, by the function given to `Node.start`; if the host is down, afterwards."""
        if self.host.power.down:
            self.host.power.when_back(self.restart)
        else:
            self.node.restart()

    # -- sending and receiving --

    def send(self, descriptor: int, data: Any, *descriptors: int) -> None:
        """Put a message into the other end's buffer, with a copy of each of these descriptors.

        Raises:
            Closed: The other end is closed (EPIPE).
        """
        target = self.end(descriptor).other
        if not target.copies:
            raise Closed(f"nobody reads what {self.name} sends", on=str(descriptor))
        ends = tuple(self.end(each) for each in descriptors)
        for end in ends:
            end.take()
        target.letters.append((data, ends))
        target.wake()

    def receive(
        self, descriptor: int, *, room: int = 1, close_on_exec: bool = True
    ) -> Letter | None:
        """Take the next message out of the buffer; None if there is none yet.

        Args:
            descriptor: Of a socket.
            room: For how many descriptors there is room in the control buffer (0: plain recv).
            close_on_exec: MSG_CMSG_CLOEXEC.
        """
        end = self.end(descriptor)
        if not end.letters:
            return None if end.other.copies else Letter(ended=True)
        data, ends = end.letters.popleft()
        received = tuple(self.add(each, close_on_exec=close_on_exec) for each in ends[:room])
        for each in ends:
            each.drop()  # the message's own copy
        return Letter(data, received, truncated=len(ends) > room)

    def watch(self, descriptor: int, action: Callable[[], object]) -> None:
        """Call ``action()``, as a step of this program, when a message or the end has come."""
        end = self.end(descriptor)
        watcher = _Watcher(self, descriptor, action)
        end.watchers.append(watcher)
        if end.letters or not end.other.copies:
            self.node.soon(watcher.call)

    def hung_up(self, descriptor: int) -> bool:
        """Whether the last copy of the other end is gone (POLLHUP)."""
        return not self.end(descriptor).other.copies

    def unread(self, descriptor: int) -> int:
        """How many messages lie in the buffer of a socket."""
        return len(self.end(descriptor).letters)

    # -- inside --

    def end(self, descriptor: int) -> _End:
        """What a descriptor stands for.

        Raises:
            Closed: There is no such descriptor.
        """
        entry = self._table.get(descriptor)
        if entry is None:
            raise Closed(f"{self.name} has no descriptor {descriptor}")
        return entry.end

    def _pair(self, kind: str, other: Program) -> tuple[int, int]:
        if other.host is not self.host:
            raise InvalidArgument("descriptors do not travel between hosts", on=other.name)
        mine, his = _End(kind), _End(kind)
        mine.other, his.other = his, mine
        return self.add(mine, close_on_exec=True), other.add(his, close_on_exec=True)

    def add(self, end: _End, *, close_on_exec: bool) -> int:
        """One more copy of what is open, under a number of this program."""
        end.take()
        descriptor = self._next
        self._next += 1
        self._table[descriptor] = _Entry(end, close_on_exec)
        return descriptor

    def _forget_watch(self, end: _End, descriptor: int) -> None:
        end.watchers = [
            each
            for each in end.watchers
            if each.program is not self or each.descriptor != descriptor
        ]

    def __repr__(self) -> str:
        return f"<Program {self.name}: {len(self._table)} descriptors>"
