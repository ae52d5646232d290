"""Programs on a simulated host: one who suspends it, listeners, and the stages of a pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.errors import Closed
from holdfast.testing.world import Letter, Node, Program
from holdfast.wake.model import Moment
from tests.simulation.wake_host_governor import MS, SECOND, Place


class Client:
    """A program with a connection to the governor, from its start to its end."""

    def __init__(self, place: Place, program: Program) -> None:
        self.place = place
        self.program = program
        self.node: Node = program.node
        self.rng = place.world.rng(program.name)
        self.life = self.node.life
        self.governor = place.governor.accept(program)
        self.tickets = 0
        self.asked: dict[int, Callable[[int | None], object]] = {}
        self.node.attach(self)
        program.watch(self.governor, self._read)

    @property
    def alive(self) -> bool:
        return self.life == self.node.life and not self.node.crashed

    def on_message(self, source: str, data: Any) -> None:
        raise AssertionError("nothing comes by the network")

    def on_timer(self, timer: Callable[[], object]) -> None:
        timer()

    def after(self, up_to_ns: int, action: Callable[[], object]) -> None:
        """Some time later, at random."""
        self.node.submit_after(action, self.rng.randrange(up_to_ns))

    # -- asking --

    def acquire(self, name: str, then: Callable[[int | None], object], kind: str = "wake") -> None:
        """Call ``then`` with the wake lease, or with None if it was refused."""
        self.tickets += 1
        self.asked[self.tickets] = then
        self.program.send(self.governor, ("acquire", self.tickets, name, kind))

    def _read(self) -> None:
        while (letter := self.program.receive(self.governor)) is not None:
            match letter.data:
                case ("granted", ticket):
                    self.asked.pop(ticket)(letter.descriptors[0])
                case ("refused", ticket):
                    self.asked.pop(ticket)(None)
                case data:
                    self.told(data)

    def told(self, data: Any) -> None:
        """Anything else that the governor says."""
        raise AssertionError(data)


class User(Client):
    """Asks for suspends, one after the other, with and without a deadline."""

    def __init__(self, place: Place, program: Program) -> None:
        super().__init__(place, program)
        self.after(SECOND, self.suspend)

    def suspend(self) -> None:
        within_ns = self.rng.choice([None, None, 0, 50 * MS, SECOND])
        self.tickets += 1
        self.program.send(self.governor, ("suspend", self.tickets, within_ns))

    def told(self, data: Any) -> None:
        _, _, slept = data
        self.place.counts["slept" if slept else "aborted"] += 1
        self.after(SECOND, self.suspend)


class Sampler(Client):
    """Takes a sample every few milliseconds, under a wake lease."""

    def __init__(self, place: Place, program: Program) -> None:
        super().__init__(place, program)
        self.sample()

    def sample(self) -> None:
        self.after(20 * MS, partial(self.acquire, "sample", self.sampled))

    def sampled(self, lease: int | None) -> None:
        assert lease is not None
        self.place.counts["sampled"] += 1
        self.program.close(lease)
        if not self.place.world.healed:
            self.sample()


class Player(Client):
    """Uses the machine now and then, for a while."""

    def __init__(self, place: Place, program: Program) -> None:
        super().__init__(place, program)
        self.after(4 * SECOND, self.begin)

    def begin(self) -> None:
        self.acquire("play", self.play, "activity")

    def play(self, lease: int | None) -> None:
        assert lease is not None
        self.place.counts["activity"] += 1
        for listener in Listener.of(self.place):
            if listener.inside:
                self.place.broken(f"activity is granted while {listener.node.name} is called")
        self.after(SECOND, partial(self.end, lease))

    def end(self, lease: int) -> None:
        self.program.close(lease)
        if not self.place.world.healed:
            self.after(8 * SECOND, self.begin)


class Listener(Client):
    """Is called, and does in its callbacks what people do."""

    def __init__(
        self,
        place: Place,
        program: Program,
        *,
        timeout_ns: int | None = None,
        then: str = "go_on",
        habits: tuple[str, ...] = ("quick", "slow", "hold", "hold-and-drop"),
    ) -> None:
        super().__init__(place, program)
        self.habits = habits
        self.timeout_ns = timeout_ns
        self.call: tuple[int, int, Moment, int] | None = None  # the one that it is in
        self.heard: Moment | None = None
        self.evicted = False
        program.send(self.governor, ("listen", program.name, timeout_ns, then))
        place.busy.append(self.busy)

    @staticmethod
    def of(place: Place) -> list[Listener]:
        """All that are alive."""
        found = [ask.__self__ for ask in place.busy if hasattr(ask, "__self__")]
        return [each for each in found if isinstance(each, Listener) and each.alive]

    @property
    def inside(self) -> bool:
        """In a callback, and not out of time for sure."""
        if self.call is None or self.evicted or not self.alive:
            return False
        since_ns = self.place.world.now_ns - self.call[3]
        return self.timeout_ns is None or since_ns < self.timeout_ns

    def busy(self) -> str | None:
        return f"{self.node.name} is inside a callback" if self.inside else None

    def told(self, data: Any) -> None:
        if data[0] == "evicted":
            self.evicted = True
            return
        _, listener_id, call_id, moment, sent_ns = data
        if moment is Moment.AFTER_RESUME and self.heard is not Moment.BEFORE_SUSPEND:
            self.place.broken(f"{self.node.name} hears the end of what it never heard begin")
        if self.inside:
            self.place.broken(f"{self.node.name} is called inside a callback")
        self.heard = moment
        self.call = (listener_id, call_id, moment, sent_ns)
        habit = self.rng.choice(self.habits)
        if self.place.world.healed and habit == "hang":
            habit = "quick"
        getattr(self, "_" + habit.replace("-", "_"))(self.call)

    def answer(self, call: tuple[int, int, Moment, int]) -> None:
        if self.call == call:
            self.call = None
        self.program.send(self.governor, ("answer", *call[:2]))

    def _quick(self, call: tuple[int, int, Moment, int]) -> None:
        self.answer(call)

    def _slow(self, call: tuple[int, int, Moment, int]) -> None:
        self.after(SECOND // 2, partial(self.answer, call))

    def _hang(self, call: tuple[int, int, Moment, int]) -> None:
        self.place.counts["hangs"] += 1

    def _hold(self, call: tuple[int, int, Moment, int]) -> None:
        """Acquire, answer, and close a while later."""

        def granted(lease: int | None) -> None:
            assert lease is not None
            self.place.counts["held"] += 1
            self.answer(call)
            self.after(SECOND // 2, partial(self.program.close, lease))

        self.acquire("hold", granted)

    def _hold_and_drop(self, call: tuple[int, int, Moment, int]) -> None:
        """Acquire, close, and answer then."""

        def granted(lease: int | None) -> None:
            assert lease is not None
            self.program.close(lease)
            self.answer(call)

        self.acquire("hold", granted)

    def _play(self, call: tuple[int, int, Moment, int]) -> None:
        """Ask for application activity, and answer when that is granted or refused."""

        def granted(lease: int | None) -> None:
            self.answer(call)
            if lease is not None:
                self.program.close(lease)

        self.acquire("play", granted, "activity")


class Stage(Client):
    """One stage of a pipeline: takes events with their batons, works, and passes both on.

    What it has taken it keeps, baton and all, until the next stage has said that it has both. It
    has the work from the moment at which it holds the baton.
    """

    def __init__(self, pipeline: Pipeline, program: Program, number: int) -> None:
        super().__init__(pipeline.place, program)
        self.pipeline = pipeline
        self.number = number
        self.up: int | None = None
        self.down: int | None = None
        self.work: dict[int, int] = {}  # events, and their batons
        self.done: set[int] = set()  # those that wait for the next stage
        self.place.busy.append(self.busy)
        pipeline.joined(self)

    def busy(self) -> str | None:
        if not self.alive or not self.work:
            return None
        return f"{self.node.name} has not done {sorted(self.work)[0]}"

    # -- events --

    def interrupt(self, event: int) -> None:
        """The head's own: an event that woke the machine, or came while it was awake."""

        def granted(lease: int | None) -> None:
            assert lease is not None
            self.take(event, lease)

        self.acquire(f"event {event}", granted)

    def take(self, event: int, lease: int) -> None:
        self.work[event] = lease
        self.after(SECOND // 4, partial(self.worked, event))

    def worked(self, event: int) -> None:
        if self.number == len(self.pipeline.stages) - 1:
            self.place.counts["processed"] += 1
            self.program.close(self.work.pop(event))
            return
        self.done.add(event)
        self.pass_on(event)

    def pass_on(self, event: int) -> None:
        if self.down is None or event not in self.done:
            return
        lease = self.work[event]
        if lease not in self.program.open:
            return
        # Somebody may send another descriptor beside it.
        crowded = self.rng.random() < self.pipeline.crowded
        with_it = (self.governor, lease) if crowded else (lease,)
        try:
            self.program.send(self.down, ("event", event), *with_it)
        except Closed:
            return  # its end will be read
        self.sent(event)

    def sent(self, event: int) -> None:
        """A duplicate travels; ours stays open until the next stage has said that it has one."""

    def taken(self, event: int) -> None:
        if event in self.done:
            self.done.remove(event)
            lease = self.work.pop(event)
            if lease in self.program.open:
                self.program.close(lease)

    # -- neighbours --

    def joins(self, up: int | None = None, down: int | None = None) -> None:
        """A new connection to a neighbour."""
        if up is not None:
            if self.up is not None:
                self.program.close(self.up)
            self.up = up
            self.program.watch(up, partial(self._from_above, up))
        if down is not None:
            if self.down is not None:
                self.program.close(self.down)
            self.down = down
            self.program.watch(down, partial(self._from_below, down))
            for event in sorted(self.done):
                self.pass_on(event)

    def receive(self, socket: int) -> Letter | None:
        return self.program.receive(socket)

    def baton_lost(self, letter: Letter) -> bool:
        return letter.truncated or len(letter.descriptors) != 1

    def _from_above(self, socket: int) -> None:
        while socket == self.up and (letter := self.receive(socket)) is not None:
            if letter.ended:
                self.program.close(socket)
                self.up = None
                return
            _, event = letter.data
            if self.baton_lost(letter):
                self.place.counts["truncated"] += 1
                for descriptor in letter.descriptors:
                    self.program.close(descriptor)
                self._reply(socket, ("again", event))
            elif event in self.work:
                self.program.close(letter.descriptors[0])  # sent anew over a new connection
                self._reply(socket, ("taken", event))
            else:
                self.take(event, letter.descriptors[0])
                self._reply(socket, ("taken", event))

    def _reply(self, socket: int, data: Any) -> None:
        with contextlib.suppress(Closed):  # its end will be read
            self.program.send(socket, data)

    def _from_below(self, socket: int) -> None:
        while socket == self.down and (letter := self.program.receive(socket)) is not None:
            if letter.ended:
                self.program.close(socket)
                self.down = None
                return
            what, event = letter.data
            if what == "taken":
                self.taken(event)
            else:
                self.after(SECOND // 10, partial(self.pass_on, event))


def _execute(child: Program, _: object) -> None:
    child.execute()


class Pipeline:
    """Stages in a row, which are killed and start again.

    Attributes:
        crowded: How probably another descriptor travels beside the baton.
    """

    def __init__(self, place: Place, length: int = 3, *, crowded: float = 0.0) -> None:
        self.place = place
        self.crowded = crowded
        self.events = 0
        self.children = 0
        self.stages: list[Stage | None] = [None] * length
        for number in range(length):
            program = place.host.program(f"stage{number}", jitter_ns=2 * MS)
            program.node.start(partial(self._begin, program, number))

    def _begin(self, program: Program, number: int, _: Node) -> None:
        Stage(self, program, number)

    def joined(self, stage: Stage) -> None:
        """A stage has started: connect it with those of its neighbours that are alive."""
        self.stages[stage.number] = stage
        for first in (stage.number - 1, stage.number):
            if not 0 <= first < len(self.stages) - 1:
                continue
            upper, lower = self.stages[first], self.stages[first + 1]
            if upper is not None and lower is not None and upper.alive and lower.alive:
                above, below = upper.program.connect(lower.program)
                upper.joins(down=above)
                lower.joins(up=below)

    def event(self) -> None:
        """Something happens outside, and wakes the host."""
        self.place.host.power.wake()
        head = self.stages[0]
        if head is not None and head.alive:
            self.events += 1
            number = self.events
            head.node.soon(head.interrupt, number)

    def strike(self, rng: Any) -> None:
        """Kill a stage, stop it for a while, or let it start a child that lives for long."""
        stage = rng.choice(self.stages)
        if self.place.host.power.down or not stage.alive:
            return
        what = rng.random()
        if what < 0.3:
            self.place.counts["stopped"] += 1
            stage.node.pause(rng.randrange(2 * SECOND))
        elif what < 0.7:
            self.place.counts["killed"] += 1
            if stage.up is not None and stage.program.unread(stage.up):
                self.place.counts["killed with a baton unread"] += 1
            stage.program.kill(rng.randrange(SECOND))
        elif self.children < 4:
            self.children += 1
            self.place.counts["children"] += 1
            child = stage.program.fork(f"child{self.children}")
            child.node.soon(partial(_execute, child))
