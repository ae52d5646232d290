"""The governor as a program on a simulated host, and those who watch that no promise is broken.

The governor is the real one. What is written anew is what drives it: connections, pipes and the
back-end, which is the host's own power. At each instant at which the host goes down of our own
will, in true time, which no program knows:

- no copy of a wake lease is open anywhere: in a program, in a child of one, or in an unread message
- nobody has work that he took on under a wake lease
- nobody is inside a callback, unless he is out of time
- somebody wants it whose deadline has not passed

And beside that: whoever asked for a wake lease is not slept on; a failing back-end is not hammered;
application activity is granted to nobody while somebody is inside a callback.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from holdfast.errors import Closed, InvalidArgument
from holdfast.testing.world import Host, Node, Program, World
from holdfast.wake.governor import Governor
from holdfast.wake.model import (
    Answer,
    Call,
    Config,
    Effect,
    Evict,
    Failed,
    GoDown,
    Grant,
    OnTimeout,
    ReadyForSleep,
    Requester,
    Slept,
    WakeLeaseKind,
    WakeUp,
)

SECOND = 1_000_000_000
MS = 1_000_000
# One who asked before the host went down waits for at most so long.
PATIENCE_NS = 60 * SECOND
# So many failures in a row within so long are too many: pauses of 10, 20, … ms add up to more.
FAILURES_MAX, FAILURES_NS = 10, 2 * SECOND
CONFIG = Config(backoff_max_ns=4 * SECOND)


class Broken(AssertionError):
    """A promise was broken."""


@dataclass(eq=False)
class Place:
    """One host, its governor, and what everybody on it owes.

    Attributes:
        busy: Asked at each suspend: what a program still has to do, in words, or None.
        counts: What has happened, among the counts that `explore` adds up.
    """

    world: World
    host: Host
    busy: list[Callable[[], str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts: Counter[str] = self.world.service("wake").counts
        self.governor = GovernorProgram(self, self.host.program("governor", jitter_ns=2 * MS))

    def broken(self, what: str) -> None:
        self.world.trace.say(what)
        raise Broken(what)

    def check_work(self) -> None:
        """Nobody may have anything left to do."""
        for ask in self.busy:
            if (what := ask()) is not None:
                self.broken(f"the host goes down, and {what}")


@dataclass(eq=False)
class _Connection:
    number: int
    descriptor: int
    listeners: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    requests: set[int] = field(default_factory=set)


@dataclass(eq=False)
class _Lease:
    connection: _Connection
    ticket: Any
    reading: int
    writing: int | None
    asked_ns: int


class GovernorProgram:
    """Answers the others, and lets the host go down.

    Attributes:
        governor: The real one.
        fails: How probably the back-end fails.
        long: How probably a sleep lasts for an hour if nobody wakes the host.
    """

    def __init__(self, place: Place, program: Program) -> None:
        self.place = place
        self.program = program
        self.world = place.world
        self.fails = 0.0
        self.long = 0.0
        self.connections: dict[int, _Connection] = {}
        self.leases: dict[int, _Lease] = {}
        self.deadlines: dict[int, int | None] = {}
        self.failures_ns: list[int] = []
        self.ready = False  # for a sleep of the machine's own
        self._tickets: dict[int, tuple[_Connection, Any]] = {}
        self._numbers = 0
        self._woken = 0
        self._timer_ns: int | None = None
        self._chance = self.world.rng("back-end")
        self.program.node.start(self._start)

    @property
    def node(self) -> Node:
        return self.program.node

    def _start(self, node: Node) -> None:
        self.governor = Governor(CONFIG, now_ns=node.now_ns())
        node.attach(self)

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    # -- what comes in --

    def accept(self, client: Program) -> int:
        """A connection; returns the client's end."""
        theirs, mine = client.connect(self.program)
        connection = _Connection(self.number(), mine)
        self.connections[connection.number] = connection
        self.program.watch(mine, partial(self._read, connection))
        return theirs

    def on_message(self, source: str, data: Any) -> None:
        raise AssertionError("nothing comes by the network")

    def on_timer(self, timer: Any) -> None:
        match timer:
            case "expire":
                self._timer_ns = None
                self.do(self.governor.expire(self.node.now_ns()))
            case ("enter", attempt):
                self._enter(attempt)
            case ("back", attempt, outcome):
                self.do(self.governor.backend_done(attempt, outcome, self.node.now_ns()))
            case ("sleep-ended", outcome):
                self.do(self.governor.sleep_ended(outcome, self.node.now_ns()))

    def _read(self, connection: _Connection) -> None:
        while connection.number in self.connections:
            letter = self.program.receive(connection.descriptor)
            if letter is None:
                return
            if letter.ended:
                self.over(connection)
            else:
                self._asked(connection, letter.data)

    def _asked(self, connection: _Connection, data: Any) -> None:
        now_ns = self.node.now_ns()
        match data:
            case ("acquire", ticket, name, kind):
                self._acquire(connection, ticket, name, kind)
            case ("listen", name, timeout_ns, then):
                number = self.number()
                connection.listeners.add(number)
                self._tickets[number] = (connection, None)
                self.do(
                    self.governor.listener_registered(
                        number,
                        name,
                        Requester(connection.number),
                        now_ns,
                        timeout_ns=timeout_ns,
                        on_timeout=OnTimeout(then),
                    )
                )
            case ("answer", listener_id, call_id):
                self.do(self.governor.answered(listener_id, call_id, now_ns))
            case ("suspend", ticket, within_ns):
                number = self.number()
                connection.requests.add(number)
                deadline_ns = None if within_ns is None else now_ns + within_ns
                self.deadlines[number] = deadline_ns
                self._tickets[number] = (connection, ticket)
                self.do(self.governor.suspend_requested(number, now_ns, deadline_ns=deadline_ns))

    def _acquire(self, connection: _Connection, ticket: Any, name: str, kind: str) -> None:
        number = self.number()
        reading, writing = self.program.pipe()
        self.leases[number] = _Lease(connection, ticket, reading, writing, self.world.now_ns)
        connection.waiting.add(number)
        try:
            effects = self.governor.acquire(
                number,
                name,
                WakeLeaseKind(kind),
                Requester(connection.number),
                self.node.now_ns(),
            )
        except InvalidArgument:
            self._forget(number)
            connection.waiting.discard(number)
            self.place.counts["refused"] += 1
            self.send(connection, ("refused", ticket))
        else:
            self.do(effects)

    def over(self, connection: _Connection) -> None:
        """A client is gone. The wake leases that were granted to it go by their last copy."""
        del self.connections[connection.number]
        self.program.close(connection.descriptor)
        now_ns = self.node.now_ns()
        for listener_id in sorted(connection.listeners):
            self.do(self.governor.listener_gone(listener_id, now_ns))
        for request_id in sorted(connection.requests):
            self.deadlines.pop(request_id, None)
            self.do(self.governor.suspend_withdrawn(request_id, now_ns))
        for lease_id in sorted(connection.waiting):
            self._forget(lease_id)
            self.do(self.governor.lease_closed(lease_id, now_ns))

    def hung_up(self, lease_id: int) -> None:
        """The watch of a lease's reading end was called."""
        lease = self.leases.get(lease_id)
        if lease is not None and self.program.hung_up(lease.reading):
            self._forget(lease_id)
            self.do(self.governor.lease_closed(lease_id, self.node.now_ns()))

    def _forget(self, lease_id: int) -> None:
        lease = self.leases.pop(lease_id)
        self.program.close(lease.reading)
        if lease.writing is not None:
            self.program.close(lease.writing)

    # -- what it wants done --

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Grant(lease_id):
                    self._granted(lease_id)
                case Call(listener_id, call_id, moment):
                    connection, _ = self._tickets[listener_id]
                    told = ("call", listener_id, call_id, moment, self.world.now_ns)
                    self.send(connection, told)
                case GoDown(attempt):
                    self._wanted()
                    delay_ns = self._chance.randrange(5 * MS)
                    self.node.submit_after(("enter", attempt), delay_ns)
                case WakeUp(attempt):
                    self.wake_up(attempt)
                case ReadyForSleep():
                    self.ready = True
                case Answer(request_id, outcome):
                    connection, ticket = self._tickets.pop(request_id)
                    connection.requests.discard(request_id)
                    self.deadlines.pop(request_id, None)
                    self.send(connection, ("answered", ticket, isinstance(outcome, Slept)))
                case Evict(listener_id):
                    connection, _ = self._tickets[listener_id]
                    self.send(connection, ("evicted", listener_id))
                case _:
                    pass
        self._arm()

    def send(self, connection: _Connection, data: Any, *descriptors: int) -> None:
        if connection.number in self.connections:
            with contextlib.suppress(Closed):  # its end will be read
                self.program.send(connection.descriptor, data, *descriptors)

    def _granted(self, lease_id: int) -> None:
        lease = self.leases[lease_id]
        assert lease.writing is not None
        lease.connection.waiting.discard(lease_id)
        self.send(lease.connection, ("granted", lease.ticket), lease.writing)
        self.program.close(lease.writing)  # the only copies are those of others, from now on
        lease.writing = None
        self.program.watch(lease.reading, partial(self.hung_up, lease_id))

    def _arm(self) -> None:
        due_ns = self.governor.next_due_ns
        if due_ns is not None and (self._timer_ns is None or due_ns < self._timer_ns):
            self._timer_ns = due_ns
            self.node.submit_after("expire", max(0, due_ns - self.node.now_ns()))

    # -- going down --

    def wake_up(self, attempt: int) -> None:
        self._woken = attempt

    def _wanted(self) -> None:
        now_ns = self.node.now_ns()
        if not [1 for each in self.deadlines.values() if each is None or each >= now_ns]:
            self.place.broken("the back-end is entered, and everybody's deadline has passed")

    def _enter(self, attempt: int) -> None:
        if self._chance.random() < self.fails:
            self._failed()
            self.node.submit_after(("back", attempt, Failed("it is too hot")), MS)
            return
        self.failures_ns.clear()
        sleep_ns = self._chance.randrange(MS, 5 * SECOND)
        if self._chance.random() < self.long:
            sleep_ns = 3600 * SECOND
        if self._woken == attempt:
            sleep_ns = MS
        self.check_copies()
        self.place.check_work()
        self.place.counts["suspends"] += 1
        self.place.host.power.go_down(sleep_ns, partial(self._back, attempt))

    def _failed(self) -> None:
        now_ns = self.world.now_ns
        self.place.counts["failures"] += 1
        self.failures_ns = [each for each in self.failures_ns if each > now_ns - FAILURES_NS]
        self.failures_ns.append(now_ns)
        if len(self.failures_ns) > FAILURES_MAX:
            self.place.broken("a back-end that fails is tried again and again without a pause")

    def _back(self, attempt: int, slept_ns: int) -> None:
        began_ns = self.world.now_ns - slept_ns
        early = [lease for lease in self.leases.values() if lease.asked_ns < began_ns]
        if early and slept_ns > PATIENCE_NS:
            self.place.broken(f"the host slept for {slept_ns} ns though somebody had asked for it")
        self.node.submit_after(("back", attempt, Slept(slept_ns)), 0)

    def check_copies(self) -> None:
        for lease_id, lease in self.leases.items():
            copies = self.place.host.copies(self.program, lease.reading)
            if lease.writing is None and copies:
                self.place.broken(
                    f"the host goes down, and wake lease {lease_id} has {copies} copies"
                )
