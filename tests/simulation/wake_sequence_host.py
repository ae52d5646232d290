"""One machine of the World that goes down and comes back, with all that is needed to watch over it.

Every node is a process of the same machine. The governor is the real one; its node asks it and does
what it wants. What the kernel does is done here:

- a wake lease is a number of copies; a copy belongs to a process, or is on its way in a socket; it
  is closed by its owner, by the end of its owner, or with the socket
- a `Wire` is a connection: in order both ways, each message late by chance; the end of a process is
  heard at the other end, after what was sent before
- an interrupt is raised until it is acknowledged; while one is raised the machine does not go down,
  and one that is raised while the machine is down wakes it

Whenever the machine is about to go down, `Host.enter` checks the promise of optimistic lease
management: every message of which the interrupt was acknowledged has been processed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from holdfast.testing.world import Later, Node, World
from holdfast.timers import TimerEntry
from holdfast.wake.governor import Governor
from holdfast.wake.model import (
    Call,
    Config,
    Effect,
    Failed,
    GoDown,
    Grant,
    ReadyForSleep,
    Report,
    Requester,
    Slept,
    WakeLeaseKind,
    WakeUp,
)

MILLION = 1_000_000
SECOND = 1_000_000_000
LATENCY_NS = 2 * MILLION
PATIENCE_NS = 5 * SECOND  # logind's own


class Broken(AssertionError):
    """A promise was broken."""


@dataclass(eq=False)
class Token:
    """A wake lease: open as long as one copy of it is."""

    host: Host
    lease_id: int
    copies: int = 0

    def copy(self, owner: Node | None) -> Copy:
        one = Copy(self, owner)
        self.copies += 1
        self.host.copies.append(one)
        return one


@dataclass(eq=False)
class Copy:
    """A descriptor of a wake lease; `owner` None: it is on its way in a socket."""

    token: Token
    owner: Node | None
    closed: bool = False

    def dup(self) -> Copy:
        assert not self.closed, "a copy of a closed descriptor"
        return self.token.copy(self.owner)

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        host = self.token.host
        host.copies.remove(self)
        self.token.copies -= 1
        if self.token.copies == 0:
            host.hung_up(self.token.lease_id)


class End:
    """One end of a connection. What it hears goes to `hears`, the end of the other to `ended`."""

    def __init__(self, wire: Wire, node: Node) -> None:
        self.wire = wire
        self.node = node
        self.life = node.life
        self.hears: Callable[[str, tuple[Any, ...], Copy | None], object] = lambda *_: None
        self.ended: Callable[[], object] = lambda: None
        self.open = True
        self._inbox: deque[tuple[str, tuple[Any, ...], Copy | None]] = deque()
        self._last_ns = 0  # when the last message for this end arrives

    @property
    def other(self) -> End:
        one, two = self.wire.ends
        return two if self is one else one

    def send(self, word: str, *more: Any, copy: Copy | None = None) -> bool:
        """Send a message, and a descriptor with it, which is not ours any more then."""
        if copy is not None:
            copy.owner = None
        if not self.open or not self.other.open:
            if copy is not None:
                copy.close()
            return False
        self.other._arrive_later((word, more, copy))
        return True

    def close(self) -> None:
        """Close this end; the other hears of it after what was sent."""
        if not self.open:
            return
        self.open = False
        for _, _, copy in self._inbox:
            if copy is not None:
                copy.close()
        self._inbox.clear()
        self.other._arrive_later(("eof", (), None))

    def _arrive_later(self, message: tuple[str, tuple[Any, ...], Copy | None]) -> None:
        world = self.node.world
        late_ns = world.rng("wires").randrange(LATENCY_NS)
        self._last_ns = max(self._last_ns, world.now_ns + late_ns) + 1
        world.at(self._last_ns, lambda: self._arrive(message))

    def _arrive(self, message: tuple[str, tuple[Any, ...], Copy | None]) -> None:
        copy = message[2]
        if not self.open or self.node.life != self.life:
            if copy is not None:
                copy.close()
            return
        if copy is not None:
            copy.owner = self.node
        self._inbox.append(message)
        self.node.soon(self._read)

    def _read(self, _: object) -> None:
        if not self.open or not self._inbox:
            return
        word, more, copy = self._inbox.popleft()
        self.node.world.trace.say(f"reads {word} {more}", who=self.node.name)
        if word == "eof":
            self.close()
            self.ended()
        else:
            self.hears(word, more, copy)


class Wire:
    """A connection between two nodes."""

    def __init__(self, host: Host, near: Node, far: Node) -> None:
        self.ends = (End(self, near), End(self, far))
        host.wires.append(self)


@dataclass(eq=False, repr=False)
class Flow:
    """What one end has sent to the other, and what that has processed; for the checker.

    Of a message whose ancestor came from somebody who is dead nothing is promised: with him the
    only one has gone who could have taken a wake lease for it.
    """

    sender: End
    receiver: End
    sent: int = 0
    processed: int = 0
    ancestors: list[tuple[Flow, ...]] = field(default_factory=list)  # of each message of a stage

    @property
    def stranded(self) -> int:
        """How many messages, if the machine goes down now."""
        if not self.alive:
            return 0
        if not self.ancestors:
            return max(self.sent - self.processed, 0)
        waiting = self.ancestors[self.processed :]
        return sum(all(flow.alive for flow in flows) for flows in waiting)

    def __repr__(self) -> str:
        return f"{self.sender.node.name}-{self.receiver.node.name}"

    @property
    def alive(self) -> bool:
        return all(end.open and end.life == end.node.life for end in (self.sender, self.receiver))


@dataclass
class Host:
    """The machine.

    Attributes:
        counts: Among those that `explore` adds up.
        entries: How often the back-end was entered.
    """

    world: World
    governor: Governed = field(init=False)
    copies: list[Copy] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    servers: dict[str, Any] = field(default_factory=dict)
    interrupts: int = 0
    mute: bool = False  # the device has died
    entries: int = 0
    attempt: int | None = None  # it is down for that one
    outside: int = 0  # how often somebody else has put it to sleep
    sleeping: bool = False  # it goes down for somebody else, and is not back yet
    waits: bool = False  # for us, before it does

    def __post_init__(self) -> None:
        self.counts: Counter[str] = self.world.service("host").counts
        self.governor = Governed(self)
        self._interrupt: Later[None] = Later("an interrupt")

    def serve(self, node: Node, server: object) -> None:
        """From now on others find it under the name of its node."""
        self.servers[node.name] = server

    def connect(self, near: Node, far: Node) -> tuple[End, End]:
        return Wire(self, near, far).ends

    def hung_up(self, lease_id: int) -> None:
        """The last copy was closed; the governor sees it when it comes to look."""
        self.governor.node.soon(lambda _: self.governor.closed(lease_id))

    def kill(self, node: Node, for_ns: int | None) -> None:
        """SIGKILL, with what the kernel does then."""
        if node.crashed:
            return
        self.counts["killed"] += 1
        for copy in [one for one in self.copies if one.owner is node]:
            copy.close()
        for wire in self.wires:
            for end in wire.ends:
                if end.node is node:
                    end.close()
        self.wires = [wire for wire in self.wires if all(end.open for end in wire.ends)]
        node.crash()
        self.servers.pop(node.name, None)
        if for_ns is not None:
            self.world.after(for_ns, lambda: self.restart(node))

    def restart(self, node: Node) -> None:
        if self.attempt is not None:  # nothing is started while the machine is down
            self.world.after(SECOND // 10, lambda: self.restart(node))
        else:
            node.restart()

    # -- interrupts -------------------------------------------------------------------------------

    def raise_interrupt(self) -> None:
        if self.mute:
            return
        self.interrupts += 1
        if self.attempt is not None:
            self.counts["woken"] += 1
            self.wake()
        interrupt, self._interrupt = self._interrupt, Later("an interrupt")
        interrupt.resolve(None)

    def interrupted(self) -> Later[None]:
        return self._interrupt

    def acknowledge(self, n: int) -> None:
        self.interrupts -= n
        assert self.interrupts >= 0

    # -- down and up ------------------------------------------------------------------------------

    def enter(self, attempt: int) -> None:
        """The back-end: the machine goes down."""
        self.entries += 1
        self.attempt = attempt
        if self.interrupts:  # what came of it may be on its way, and is not acknowledged
            self.counts["pending"] += 1
            self.wake(Failed("an interrupt is pending"))
            return
        self.check()
        self.counts["suspended"] += 1
        for node in self.world.nodes.values():
            node.sleep()
        asleep_ns = self.world.rng("sleep").randrange(SECOND // 2)
        self.world.after(asleep_ns, lambda: self.wake() if self.attempt == attempt else None)

    def put_to_sleep(self) -> None:
        """Somebody else suspends it: it waits for us, but not for ever."""
        if self.attempt is not None or self.sleeping:
            return
        self.sleeping = self.waits = True
        self.outside += 1
        self.counts["outside"] += 1
        outside = self.outside

        def impatient() -> None:
            if self.waits and self.outside == outside:
                raise self.broken("somebody else's suspend has waited for too long")

        self.world.after(PATIENCE_NS, impatient)
        self.governor.node.soon(lambda _: self.governor.sleeps(begins=True))

    def ready_for_sleep(self) -> None:
        """Nothing of ours delays it any more."""
        self.waits = False
        asleep_ns = 0
        if self.interrupts:
            self.counts["pending"] += 1
        else:
            self.check()
            self.counts["let go"] += 1
            asleep_ns = self.world.rng("sleep").randrange(SECOND // 2)
            for node in self.world.nodes.values():
                node.sleep()

        def back() -> None:
            self.sleeping = False
            for node in self.world.nodes.values():
                node.wake()
            self.governor.node.soon(lambda _: self.governor.sleeps(begins=False))

        self.world.after(asleep_ns, back)

    def wake(self, outcome: Slept | Failed = Slept(1)) -> None:  # noqa: B008 - a value
        """The machine is up again."""
        attempt, self.attempt = self.attempt, None
        if attempt is None:
            return
        for node in self.world.nodes.values():
            node.wake()
        governor = self.governor
        governor.node.soon(
            lambda _: governor.do(governor.pure.backend_done(attempt, outcome, governor.now_ns()))
        )

    def check(self) -> None:
        """At each entry of the back-end: nothing is stranded."""
        self.flows = [flow for flow in self.flows if flow.alive]
        for flow in self.flows:
            if flow.stranded:
                raise self.broken(
                    f"{flow.stranded} messages from {flow.sender.node.name} to "
                    f"{flow.receiver.node.name} are stranded"
                )

    def broken(self, sentence: str) -> Broken:
        self.world.trace.say(sentence)
        return Broken(sentence)


class Governed:
    """The governor's process: the real governor, and its connections."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.node = host.world.node("governor")
        self.node.attach(self)
        self.now_ns = self.node.clock.boottime_ns
        config = Config(
            auto=True, linger_ns=20 * MILLION, backoff_ns=MILLION, backoff_max_ns=100 * MILLION
        )
        self.pure = Governor(config, now_ns=self.now_ns())
        self._numbers = 0
        self._timer: TimerEntry | None = None
        self._listeners: dict[int, End] = {}
        self._asking: dict[int, End] = {}

    def connect(self, node: Node) -> End:
        """A connection of a process to the governor; gives its end of it."""
        ours, theirs = self.host.connect(self.node, node)
        listener = self._next()
        requester = Requester(listener)

        def hears(word: str, more: tuple[Any, ...], copy: Copy | None) -> None:
            now_ns = self.now_ns()
            match word:
                case "listen":
                    self._listeners[listener] = ours
                    self.do(self.pure.listener_registered(listener, more[0], requester, now_ns))
                    ours.send("listening")
                case "status":
                    ours.send("status", self.pure.status().state.value)
                case "answered":
                    self.do(self.pure.answered(listener, more[0], now_ns, *more[1:]))
                case "acquire":
                    lease_id = self._next()
                    self._asking[lease_id] = ours
                    kind = WakeLeaseKind.WAKE
                    self.do(self.pure.acquire(lease_id, more[0], kind, requester, now_ns))

        def ended() -> None:
            if self._listeners.pop(listener, None) is not None:
                self.do(self.pure.listener_gone(listener, self.now_ns()))
            for lease_id in [one for one, end in self._asking.items() if end is ours]:
                del self._asking[lease_id]
                self.do(self.pure.lease_closed(lease_id, self.now_ns()))

        ours.hears, ours.ended = hears, ended
        return theirs

    def sleeps(self, *, begins: bool) -> None:
        """The machine goes down for somebody else, or is back."""
        for end in self._listeners.values():
            end.send("sleeps", begins)
        if begins:
            self.do(self.pure.sleep_begins(self.now_ns()))
        else:
            self.do(self.pure.sleep_ended(Slept(1), self.now_ns()))

    def closed(self, lease_id: int) -> None:
        self.do(self.pure.lease_closed(lease_id, self.now_ns()))

    def do(self, effects: list[Effect]) -> None:
        """What the service does with them."""
        for effect in effects:
            match effect:
                case Grant(lease_id):
                    end = self._asking.pop(lease_id)
                    self.host.counts["acquired"] += 1
                    end.send("granted", copy=Token(self.host, lease_id).copy(self.node))
                case Call(listener_id, call_id, moment):
                    self._listeners[listener_id].send("call", call_id, moment.value)
                case GoDown(attempt):
                    self.host.enter(attempt)
                case ReadyForSleep():
                    self.host.ready_for_sleep()
                case Report("stranded", _, sentence):
                    # By the heads' accounts; the host knows it by itself, too.
                    raise self.host.broken(f"stranded by the accounts: {sentence}")
                case WakeUp():
                    self.host.wake()
                case _:
                    pass
        if self._timer is not None:
            self.node.cancel(self._timer)
        due_ns = self.pure.next_due_ns
        delay_ns = max((due_ns or 0) - self.now_ns(), 0)
        self._timer = None if due_ns is None else self.node.submit_after("due", delay_ns)

    def on_timer(self, timer: Any) -> None:
        self._timer = None
        self.do(self.pure.expire(self.now_ns()))

    def on_message(self, source: str, data: Any) -> None:
        raise AssertionError("there is no network here")

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers
