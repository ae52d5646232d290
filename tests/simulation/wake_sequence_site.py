"""The processes of a pipeline on a simulated machine: what the asyncio shells are in reality.

The machines are the real ones. `Head` turns interrupts into messages; a `Stage` processes what the
one before it sends, and sends on; `Bystander` has nothing to do with them and takes its time when
the governor asks. Messages and batons come on connections of their own, and so do the governor's
calls and wake leases: nothing may depend on their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

from holdfast.testing.world import Later, Node, Sleep
from holdfast.wake.accounts import Account
from holdfast.wake.sequence import (
    Acquire,
    Answer,
    Covered,
    Deliver,
    Effect,
    Lost,
    Receiver,
    Refuse,
    Relay,
    Release,
    Sender,
    Unclaimed,
)
from tests.simulation.wake_sequence_host import MILLION, SECOND, Broken, Copy, End, Flow, Host

Steps = Generator[Any, Any, Any]
Way = tuple[Flow, ...]
RETAIN_NS = SECOND // 2


@dataclass(eq=False)
class Line:
    """What a server has of one client: two connections, and the count for the checker."""

    messages: End
    batons: End
    flow: Flow


class Server:
    """One who sends messages to clients: a head, or a stage in the middle."""

    def __init__(self, host: Host, node: Node, clients: Iterable[str]) -> None:
        self.host = host
        self.node = node
        self.rng = host.world.rng(f"site:{node.name}")
        self.now_ns = node.clock.boottime_ns
        self.numbers = {name: number for number, name in enumerate(clients)}
        self.lines: dict[int, Line] = {}
        self.machine: Sender | Relay = self.make_machine()
        self.lease: Copy | None = None
        for number in self.numbers.values():
            self.machine.add(number)

    def make_machine(self) -> Sender | Relay:
        return Relay(retain_ns=RETAIN_NS)

    def accept(self, client: Node) -> tuple[End, End]:
        """A client connects; gives its two ends."""
        number = self.numbers[client.name]
        messages, far_messages = self.host.connect(self.node, client)
        batons, far_batons = self.host.connect(self.node, client)

        def hears(word: str, more: tuple[Any, ...], copy: Copy | None) -> None:
            match word:
                case "subscribe":
                    self.perform(self.machine.subscribed(number, self.now_ns()))
                    flow = Flow(messages, far_messages)
                    self.host.flows.append(flow)
                    self.lines[number] = Line(messages, batons, flow)
                    messages.send("subscribed", self.epoch(number), flow)
                case "ask":
                    processed, epoch = more
                    if epoch != self.epoch(number):
                        batons.send("refused")
                        return
                    self.perform(
                        self.machine.asked(number, batons, self.now_ns(), processed=processed)
                    )
                case "let go":
                    self.machine.lets_go(number, *more)
                case "leaves":
                    self.machine.leaves(number, *more)

        def ended() -> None:
            line = self.lines.get(number)
            if line is not None and line.messages is messages:
                del self.lines[number]
                self.perform(self.machine.gone(number, self.now_ns()))

        messages.hears = batons.hears = hears
        messages.ended = ended
        return far_messages, far_batons

    def epoch(self, number: int) -> int:
        return self.machine.clients[number].epoch

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Deliver(_, request, index, epoch):
                    assert isinstance(request, End)
                    assert self.lease is not None
                    request.send("baton", index, epoch, copy=self.lease.dup())
                    self.host.counts["batons"] += 1
                case Refuse(_, request, code):
                    assert isinstance(request, End)
                    request.send("refused", code)
                case Release():
                    self.drop()
                case Lost() | Unclaimed():
                    self.host.counts[type(effect).__name__.lower()] += 1
                case _:
                    self.perform_one(effect)
        due_ns = self.machine.next_due_ns
        if due_ns is not None:
            self.node.after(max(due_ns - self.now_ns(), 0)).then(lambda _: self.expire())

    def expire(self) -> None:
        due_ns = self.machine.next_due_ns
        if due_ns is not None and due_ns <= self.now_ns():
            self.perform(self.machine.expire(self.now_ns()))

    def perform_one(self, effect: Effect) -> None:
        raise AssertionError(effect)

    def drop(self) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.close()


class Head(Server):
    """Turns interrupts into messages, and is the only one that takes wake leases."""

    machine: Sender

    def __init__(self, host: Host, node: Node, clients: Iterable[str]) -> None:
        super().__init__(host, node, clients)
        self.calls = host.governor.connect(node)
        self.leases = host.governor.connect(node)
        self.covered: Later[None] = Later("a wake lease")
        self.resumes = 0
        self.late = 0  # wake leases taken while the machine went down for somebody else
        self.account: Account | None = None  # as it was before the resume
        self.calls.hears = self.leases.hears = self.hears
        self.calls.send("listen", "head")
        node.spawn(self.working(), daemon=True)

    def make_machine(self) -> Sender:
        return Sender(retain_ns=RETAIN_NS)

    def hears(self, word: str, more: tuple[Any, ...], copy: Copy | None) -> None:
        """What the governor says."""
        match word:
            case "listening":
                self.leases.send("status")
            case "status":
                if more[0] == "awake":
                    self.perform(self.machine.awake(self.now_ns()))
                else:
                    self.node.after(10 * MILLION).then(lambda _: self.leases.send("status"))
            case "call":
                self.called(*more)
            case "sleeps":
                self.perform(self.machine.sleeps(self.now_ns(), begins=more[0]))
            case "granted":
                assert copy is not None
                self.granted(copy)

    def called(self, call_id: int, moment: str) -> None:
        if moment == "before_suspend":
            self.before_suspend(call_id)
        else:
            self.resumes += 1
            self.account = self.machine.account()
            self.perform(self.machine.after_resume(call_id, self.now_ns()))
            self.account = None
        self.check_cost()

    def before_suspend(self, call_id: int) -> None:
        self.perform(self.machine.before_suspend(call_id, self.now_ns()))

    def granted(self, copy: Copy) -> None:
        assert self.lease is None
        self.lease = copy
        self.late += self.machine.inevitable
        self.perform(self.machine.held(self.now_ns()))
        self.check_cost()

    def check_cost(self) -> None:
        """One wake lease for each attempt, one for each resume, and one at the start.

        And more only while the machine goes down for somebody else, who is not to be kept waiting.
        """
        machine = self.machine
        if machine.acquired - self.late > machine.flushes + self.resumes + 1:
            raise self.host.broken(
                f"{machine.acquired} wake leases for {machine.flushes} attempts and "
                f"{self.resumes} resumes"
            )

    def perform_one(self, effect: Effect) -> None:
        match effect:
            case Acquire():
                self.leases.send("acquire", "optimistic-lease-baton")
            case Answer(call):
                self.calls.send("answered", call, self.account or self.machine.account())
            case Covered():
                covered, self.covered = self.covered, Later("a wake lease")
                covered.resolve(None)
            case _:
                raise AssertionError(effect)

    def working(self) -> Steps:
        """Every interrupt is a message to each client; then it is acknowledged."""
        host, rng = self.host, self.rng
        while True:
            n = host.interrupts
            if not n:
                yield host.interrupted()
                continue
            yield Sleep(rng.randrange(MILLION))
            lines = {number: self.lines.get(number) for number in self.numbers.values()}
            for number, line in lines.items():
                # Counted first or sent first: both are right, and time passes between the two.
                steps = [self.count, self.send]
                if rng.random() < 0.5:
                    steps.reverse()
                for step in steps:
                    if self.lines.get(number) is line:
                        step(number, line, n)
                    yield Sleep(rng.randrange(MILLION))
            for number, line in lines.items():
                while self.lines.get(number) is line and not self.machine.covered(number):
                    yield self.covered
                if line is not None:
                    line.flow.sent += n
            host.acknowledge(n)

    def count(self, number: int, line: Line | None, n: int) -> None:
        self.perform(self.machine.sent(number, n, self.now_ns()))

    def send(self, number: int, line: Line | None, n: int) -> None:
        """They stay in a buffer for a while, and are lost if this process dies."""
        if line is not None:
            messages = line.messages
            for _ in range(n):
                delay_ns = self.rng.randrange(4 * MILLION)
                self.node.after(delay_ns).then(lambda _: messages.send("message", ()))


class Stage(Server):
    """Processes messages, one after the other, and sends as many on to its own clients."""

    machine: Relay

    def __init__(
        self, host: Host, node: Node, upstream: Node, clients: Iterable[str], work_ns: int
    ) -> None:
        super().__init__(host, node, clients)
        self.upstream = upstream
        self.work_ns = work_ns
        node.spawn(self.working(), daemon=True)

    def working(self) -> Steps:
        while True:
            server = self.host.servers.get(self.upstream.name)
            if server is None:
                yield Sleep(self.rng.randrange(20 * MILLION))
                continue
            messages, batons = server.accept(self.node)
            yield from Client(self, messages, batons).working()

    def process(self, ways: list[Way]) -> None:
        """What becomes of the messages: output."""
        for number, line in self.lines.items():
            for way in ways:
                line.messages.send("message", way)
            self.machine.sent(number, len(ways))
            line.flow.sent += len(ways)
            line.flow.ancestors += ways

    def done_with(self, baton: Copy) -> None:
        """This stage has processed what the baton stands for."""
        if not self.numbers:
            baton.close()
            return
        before, self.lease = self.lease, baton
        if before is not None:
            before.close()
        self.perform(self.machine.passed_on(self.now_ns()))

    def done_at_once(self, baton: Copy) -> None:
        """The same, of one that has come late."""
        self.done_with(baton)


class Client:
    """One subscription of a stage."""

    def __init__(self, stage: Stage, messages: End, batons: End) -> None:
        self.stage = stage
        self.messages = messages
        self.batons = batons
        self.receiver: Receiver[Copy] = Receiver()
        self.index = 0  # of the baton that is held
        self.flow: Flow | None = None
        self.inbox: deque[Way | None] = deque()  # where each has been before; None: the end
        self.arrived: Later[None] = Later("a message")
        messages.hears = batons.hears = self.hears
        messages.ended = lambda: self.hears("message", (None,), None)
        messages.send("subscribe")

    def hears(self, word: str, more: tuple[Any, ...], copy: Copy | None) -> None:
        match word:
            case "subscribed":
                epoch, self.flow = more
                done = self.receiver.subscribed(epoch)
                assert done is None
                self.ask()
            case "message":
                self.inbox.append(more[0])
                arrived, self.arrived = self.arrived, Later("a message")
                arrived.resolve(None)
            case "baton":
                assert copy is not None
                arrival = self.receiver.arrived(copy, *more)
                if self.receiver.held is copy:
                    self.index = more[0]
                if arrival.released is not None:
                    arrival.released.close()
                if arrival.done is not None:
                    self.let_go(more[0])
                    self.stage.done_at_once(arrival.done)
                self.ask()

    def ask(self) -> None:
        """Ask for the next baton, now or when there is time for it."""
        rng = self.stage.rng
        delay_ns = rng.randrange(50 * MILLION) if rng.random() < 0.3 else 0
        self.stage.node.after(delay_ns).then(
            lambda _: self.batons.send("ask", self.receiver.index, self.receiver.epoch)
        )

    def working(self) -> Steps:
        """Until the messages end."""
        stage = self.stage
        while True:
            if not self.inbox:
                yield self.arrived
                continue
            yield Sleep(stage.rng.randrange(stage.work_ns))
            ways = []
            for way in list(self.inbox)[: stage.rng.randrange(1, 4)]:
                if way is None:
                    break
                self.inbox.popleft()
                ways.append(way)
            if ways:
                self.processed(ways)
            if self.inbox and self.inbox[0] is None:
                self.end()
                return

    def processed(self, ways: list[Way]) -> None:
        assert self.flow is not None
        self.stage.process([(*way, self.flow) for way in ways])
        self.flow.processed += len(ways)
        done = self.receiver.processed(len(ways))
        if done is not None:
            self.let_go(self.index)
            self.stage.done_with(done)

    def let_go(self, index: int) -> None:
        """Say so, before the baton is closed or passed on."""
        self.batons.send("let go", self.receiver.epoch, index, self.receiver.index)

    def end(self) -> None:
        self.batons.close()
        released = self.receiver.end()
        if released is not None:
            released.close()


class Bystander:
    """A listener that has nothing to do with it, and takes its time."""

    def __init__(self, host: Host, node: Node, slow_ns: int) -> None:
        self.node = node
        self.slow_ns = slow_ns
        self.rng = host.world.rng(f"site:{node.name}")
        self.calls = host.governor.connect(node)
        self.leases = host.governor.connect(node)
        self.calls.hears = self.leases.hears = self.hears
        self.calls.send("listen", node.name)

    def hears(self, word: str, more: tuple[Any, ...], copy: Copy | None) -> None:
        if word == "granted":
            assert copy is not None
            self.node.after(self.rng.randrange(10 * MILLION)).then(lambda _: copy.close())
        if word == "call":
            if self.rng.random() < 0.1:
                self.leases.send("acquire", "bystander")
            delay_ns = self.rng.randrange(self.slow_ns)
            self.node.after(delay_ns).then(lambda _: self.calls.send("answered", more[0]))


__all__ = ["RETAIN_NS", "Broken", "Bystander", "Client", "Head", "Server", "Stage"]
