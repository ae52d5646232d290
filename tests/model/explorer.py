"""Every state that the actors of a scenario can reach, breadth first, each visited once.

A state is where each actor stands, memory, and the record: what has been committed so far, which
no actor can see and the invariants are stated in. From each state every actor may take its next
step, memory may let a delayed store arrive, and every actor that may die may do so. An actor that
is stopped for ever needs no transition of its own: all the states in which it does not move are
visited, and what must hold while it is stopped is asked of every state.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.model.memory import Interleaved, Memory
from tests.model.steps import Automaton, Program, Step

DEAD = -1  # in place of an automaton's state


class Violation(Exception):
    """An invariant does not hold: its name, and how it was broken."""

    def __init__(self, invariant: str, sentence: str) -> None:
        super().__init__(f"{invariant}: {sentence}")
        self.invariant = invariant
        self.sentence = sentence


@dataclass(frozen=True)
class Actor:
    """A program with a name.

    Attributes:
        number: The subscriber number by which others may ask whether it lives.
        mortal: Whether it may die.
        late: It subscribes with its first step; before that its number is nobody's.
    """

    name: str
    make: Callable[[], Program]
    number: int = 0
    mortal: bool = False
    late: bool = False


@dataclass
class Situation:
    """What an invariant may look at after each transition."""

    standing: tuple[int, ...]  # each actor's automaton state, or DEAD
    steps: tuple[Step, ...]  # what each is about to do; kind `dead` if it never will
    words: tuple[Any, ...]  # the newest value of each word
    record: Any


@dataclass(frozen=True)
class Scenario:
    """Actors, the words they share, and what must hold.

    Attributes:
        words: The names and first values of shared memory.
        record: The first record.
        observe: Folds an actor's note into the record, or raises Violation.
        inspect: Asked after every transition, raises Violation.
        woken: The words that the kernel sets when an actor dies.
        newcomer: Run alone from every state (interleaved memory only): it must come to its end.
    """

    name: str
    actors: Sequence[Actor]
    words: dict[str, Any]
    record: Hashable
    observe: Callable[[Any, int, Any], Any]
    inspect: Callable[[Situation], None] | None = None
    woken: Sequence[int] = ()
    newcomer: Callable[[], Program] | None = None


@dataclass
class Report:
    """What an exploration came to."""

    scenario: str
    memory: str
    states: int = 0
    transitions: int = 0
    endings: int = 0  # states in which all actors have ended
    results: dict[str, set[Any]] = field(default_factory=dict)
    exhausted: bool = False
    violation: Violation | None = None
    trace: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = (
            f"{self.scenario}, {self.memory} memory: {self.states:,} states, "
            f"{self.transitions:,} transitions"
        )
        if self.violation is None:
            return head + (", complete" if self.exhausted else ", given up")
        lines = [f"{number:3} {line}" for number, line in enumerate(self.trace, 1)]
        return "\n".join([head, f"VIOLATION of {self.violation}", *lines])


BOUND = 400  # steps within which whoever is alone must have come to an end


class Explorer:
    """One exploration of one scenario in one memory."""

    def __init__(self, scenario: Scenario, memory: Memory, limit: int = 5_000_000) -> None:
        self.scenario = scenario
        self.memory = memory
        self.limit = limit
        self.report = Report(scenario.name, memory.name)
        self.names = list(scenario.words)
        self.automata = [Automaton(actor.make) for actor in scenario.actors]
        self.newcomer = Automaton(scenario.newcomer) if scenario.newcomer else None
        self._numbers: dict[Any, int] = {}
        self._states: list[Any] = []
        self._came_from = array("q")
        self._by: list[str | tuple[int, Step, Any]] = []
        self._alone = [array("q") for _ in scenario.actors]  # what a step of each leads to
        self._newcomers: set[Any] = set()
        self._final: list[str] = []  # of a trace that ends in a violation

    def run(self) -> Report:
        scenario, report = self.scenario, self.report
        at = -1
        try:
            record = scenario.record
            for actor, automaton in enumerate(self.automata):
                for event in automaton.first_notes:
                    record = scenario.observe(record, actor, event)
            memory = self.memory.initial(tuple(scenario.words.values()), len(scenario.actors))
            self._arrive(((0,) * len(scenario.actors), memory, record), -1, "start")
            while (at := at + 1) < len(self._states) < self.limit:
                self._expand(at)
            report.exhausted = at == len(self._states)
            if report.exhausted and isinstance(self.memory, Interleaved):
                self._nobody_loops_alone()
        except Violation as violation:
            report.violation = violation
            known = at if at < len(self._states) else -1
            report.trace = self._trace_to(known) + self._final
        report.states = len(self._states)
        return report

    # -- going on ---------------------------------------------------------------------------------

    def _arrive(self, state: Any, came_from: int, by: str | tuple[int, Step, Any]) -> int:
        number = self._numbers.setdefault(state, len(self._states))
        self.report.transitions += 1
        if number == len(self._states):
            self._states.append(state)
            self._came_from.append(came_from)
            self._by.append(by)
            for successors in self._alone:
                successors.append(-1)
            try:
                self._inspect(state)
            except Violation:
                self._final.insert(0, self._describe(by))
                raise
        return number

    def _expand(self, at: int) -> None:
        standing, memory, record = self._states[at]
        ended = 0
        for actor in range(len(standing)):
            for words, after in self.memory.drains(memory, actor):
                by = f"{self.scenario.actors[actor].name}: {words}"
                self._arrive((standing, after, record), at, by)
            step = self._step(standing, actor)
            if step.kind in {"done", "dead"}:
                ended += 1
                continue
            for answer, after in self._perform(standing, memory, actor, step):
                by_step = (actor, step, answer)
                try:
                    target = self._move(standing, after, record, actor, answer)
                except Violation:
                    self._final.append(self._describe(by_step))
                    raise
                self._alone[actor][at] = self._arrive(target, at, by_step)
            if self.scenario.actors[actor].mortal:
                after = self.memory.end(memory, actor, dead=True)
                for word in self.scenario.woken:
                    after = self.memory.kernel_store(after, actor, word, 1)
                target = ((*standing[:actor], DEAD, *standing[actor + 1 :]), after, record)
                self._arrive(target, at, f"{self.scenario.actors[actor].name} dies")
        self.report.endings += ended == len(standing)

    def _move(self, standing: Any, memory: Any, record: Any, actor: int, answer: Any) -> Any:
        place, notes = self.automata[actor].move(standing[actor], answer)
        for event in notes:
            record = self.scenario.observe(record, actor, event)
        step = self.automata[actor].steps[place]
        if step.kind == "done":
            memory = self.memory.end(memory, actor, dead=False)
            results = self.report.results.setdefault(self.scenario.actors[actor].name, set())
            results.add(step.value)
        return ((*standing[:actor], place, *standing[actor + 1 :]), memory, record)

    def _perform(self, standing: Any, memory: Any, actor: int, step: Step) -> list[Any]:
        if step.kind != "alive":
            return self.memory.perform(memory, actor, step)
        dead = True
        for other, each in enumerate(self.scenario.actors):
            if each.number == step.value and self._subscribed(standing, other):
                if standing[other] == DEAD:
                    memory = self.memory.learn_death(memory, actor, other)
                else:
                    dead = False
        return [(not dead, memory)]

    def _subscribed(self, standing: Any, actor: int) -> bool:
        return not self.scenario.actors[actor].late or standing[actor] != 0

    def _step(self, standing: Any, actor: int) -> Step:
        place = standing[actor]
        return _GONE if place == DEAD else self.automata[actor].steps[place]

    # -- invariants -------------------------------------------------------------------------------

    def _inspect(self, state: Any) -> None:
        standing, memory, record = state
        if self.scenario.inspect is not None:
            steps = tuple(self._step(standing, actor) for actor in range(len(standing)))
            words = self.memory.latest(memory)
            self.scenario.inspect(Situation(standing, steps, words, record))
        if self.newcomer is not None and isinstance(self.memory, Interleaved):
            self._run_newcomer(standing, memory, record)

    def _run_newcomer(self, standing: Any, memory: Any, record: Any) -> None:
        """Somebody new, alone from here on, comes to an end that the record allows."""
        assert self.newcomer is not None
        living = frozenset(
            each.number
            for actor, each in enumerate(self.scenario.actors)
            if standing[actor] != DEAD and self._subscribed(standing, actor)
        )
        key = (memory, record, living)
        if key in self._newcomers:
            return
        self._newcomers.add(key)
        place, steps = 0, []
        for _ in range(BOUND):
            step = self.newcomer.steps[place]
            if step.kind == "done":
                return
            [(answer, memory)] = self._perform(standing, memory, -1, step)
            steps.append("a newcomer, alone: " + self._words(step, answer))
            place, notes = self.newcomer.move(place, answer)
            try:
                for event in notes:
                    whole = (*event, living, memory) if event[0].endswith(" alone") else event
                    record = self.scenario.observe(record, -1, whole)
            except Violation:
                self._final += steps
                raise
        self._final += steps[:40]
        raise Violation("progress", f"a newcomer, alone, has not ended after {BOUND} steps")

    def _nobody_loops_alone(self) -> None:
        """Whoever runs alone from any state comes to an end: its own steps make no circle."""
        for actor, successors in enumerate(self._alone):
            fresh, open_, closed = 0, 1, 2
            colour = bytearray(len(successors))
            for start in range(len(successors)):
                path = []
                at = start
                while at >= 0 and colour[at] == fresh:
                    colour[at] = open_
                    path.append(at)
                    at = successors[at]
                if at >= 0 and colour[at] == open_:
                    self._final = self._trace_to(at)
                    name = self.scenario.actors[actor].name
                    raise Violation("progress", f"{name}, alone from here on, never ends")
                for each in path:
                    colour[each] = closed

    # -- telling ----------------------------------------------------------------------------------

    def _trace_to(self, number: int) -> list[str]:
        lines: list[str] = []
        while number > 0:
            lines.append(self._describe(self._by[number]))
            number = self._came_from[number]
        return lines[::-1]

    def _describe(self, by: str | tuple[int, Step, Any]) -> str:
        if isinstance(by, str):
            return by
        actor, step, answer = by
        return f"{self.scenario.actors[actor].name}: {self._words(step, answer)}"

    def _words(self, step: Step, answer: Any) -> str:
        name = self.names[step.place] if step.place >= 0 else ""
        match step.kind:
            case "load":
                return f"loads {name}: {answer}"
            case "store":
                return f"stores {name} = {step.value}"
            case "cas":
                done = "done" if answer[0] else f"fails, it is {answer[1]}"
                return f"swaps {name} {step.expected} for {step.value}: {done}"
            case "add" | "swap":
                return f"{step.kind}s {step.value} in {name}: it was {answer}"
            case "alive":
                return f"asks whether subscriber {step.value} lives: {'yes' if answer else 'no'}"
            case "sleep":
                return f"is woken by {name}"
            case _:
                return f"{step.kind} {step.order.name.lower()}"


_GONE = Step("dead")


def explore(scenario: Scenario, memory: Memory, limit: int = 5_000_000) -> Report:
    """Visit every state of the scenario, or stop at the first that breaks an invariant."""
    return Explorer(scenario, memory, limit).run()
