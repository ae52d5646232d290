"""Timing statements in rounds, and what becomes of the samples.

A `Statement` is source text. It is compiled into a loop, as `timeit` does, so that no call stands
between the clock and what is measured; every name in it is a local variable of the loop. A short
statement stands in the loop several times, so that the loop itself costs about a nanosecond; that
is the same for all, and nothing is subtracted.

A round takes samples of every contender, one after the other, each round beginning with another:
what slows the machine for a while slows all of them. A ratio is the median of the ratios of the
rounds, never a ratio of figures from different minutes.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import textwrap
import time
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

__all__ = [
    "Contender",
    "Loop",
    "Measurement",
    "Plan",
    "Ratio",
    "Sampler",
    "Statement",
    "by_turns",
    "compare",
    "measure",
]

PASSES_MAX = 1 << 24
COPIES = 8  # of a short statement in the body of the loop
SLOW_NS = 10_000  # a statement beside which the loop is nothing


@dataclass(frozen=True, slots=True)
class Statement:
    """Source text to be timed.

    Attributes:
        text: One or more lines. ``payload`` in it is another object at each pass.
        names: What the other names in it mean.
        payloads: What ``payload`` is, by turns.
    """

    text: str
    names: Mapping[str, object]
    payloads: Sequence[object] = (None,)


class Loop:
    """A statement compiled into a loop, written out several times in it where it is short."""

    _SOURCE = """\
def timed(_passes, {parameters}):
    _steps = _repeat(None, _passes)
    _cpu, _wall = _thread_time_ns(), _perf_counter_ns()
    for _ in _steps:
{body}
    return _perf_counter_ns() - _wall, _thread_time_ns() - _cpu
"""

    def __init__(self, statement: Statement, *, copies: int) -> None:
        self.copies = copies
        names = dict(statement.names) | {
            "_repeat": repeat,
            "_thread_time_ns": time.thread_time_ns,
            "_perf_counter_ns": time.perf_counter_ns,
        }
        for number, payload in enumerate(statement.payloads):
            names[f"_payload{number}"] = payload
        lines = []
        for copy in range(copies):
            if "payload" in statement.text:
                lines.append(f"payload = _payload{copy % len(statement.payloads)}")
            lines.append(statement.text)
        source = self._SOURCE.format(
            parameters=", ".join(f"{name}={name}" for name in names),
            body=textwrap.indent("\n".join(lines), " " * 8),
        )
        exec(compile(source, "<timed statement>", "exec"), names)
        self._timed: Callable[[int], tuple[int, int]] = names["timed"]  # type: ignore[assignment]

    def __call__(self, passes: int) -> tuple[float, float]:
        """Nanoseconds that the statement takes, by the clock on the wall, and of CPU."""
        wall_ns, cpu_ns = self._timed(passes)
        return wall_ns / passes / self.copies, cpu_ns / passes / self.copies

    def passes(self, enough_ns: int) -> int:
        """How many passes take at least `enough_ns`."""
        passes = 1
        while passes < PASSES_MAX:
            elapsed_ns = self(passes)[0] * passes * self.copies
            if elapsed_ns >= enough_ns:
                return passes
            passes = max(passes * 2, min(passes * 10, int(passes * enough_ns / max(elapsed_ns, 1))))
        return PASSES_MAX

    @classmethod
    def of(cls, statement: Statement) -> Self:
        """A loop whose own cost does not count beside that of the statement."""
        alternating = len(statement.payloads)  # every payload as often as the others
        once = cls(statement, copies=alternating)
        once(1)
        slow = min(once(1)[0] for _ in range(3)) > SLOW_NS
        return once if slow else cls(statement, copies=COPIES)


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who is measured.

    Attributes:
        name: "holdfast", or a peer's.
        statement: What is timed.
        around: Entered for each turn of this contender: the company that it is measured in.
    """

    name: str
    statement: Statement
    around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


class Sampler(Protocol):
    """What takes its own samples.

    Attributes:
        name: "holdfast", or a peer's.
        text: What is measured, in a few words.
    """

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...

    def sample(self) -> float:
        """Nanoseconds, measured once."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: `turn` samples of each contender in each round."""

    rounds: int = 25
    turn: int = 4
    sample_ns: int = 1_000_000


@dataclass(slots=True)
class Measurement:
    """What was measured of one contender; all figures are nanoseconds for one statement.

    Attributes:
        name: Of the contender.
        statement: What was timed.
        passes: How often, in one sample.
        rounds: The samples of each round.
        cpu: The same, of CPU.
        counts: What was counted beside the time, by name.
        seeds: 0: by this machine's clock. Else in virtual time, under so many seeds from 0 on: the
            same on every machine, under any load.
    """

    name: str
    statement: str
    passes: int
    rounds: list[list[float]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)
    seeds: int = 0

    @property
    def samples(self) -> list[float]:
        """The samples of all rounds."""
        return [sample for samples in self.rounds for sample in samples]

    @property
    def median_ns(self) -> float:
        return statistics.median(self.samples)

    @property
    def minimum_ns(self) -> float:
        return min(self.samples)

    @property
    def p90_ns(self) -> float:
        return quantile(self.samples, 0.9)

    @property
    def maximum_ns(self) -> float:
        return max(self.samples)

    @property
    def cpu_median_ns(self) -> float | None:
        return statistics.median(self.cpu) if self.cpu else None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long as ours a peer takes: median and quartiles of the rounds."""

    median: float
    low: float
    high: float


def quantile(samples: Sequence[float], part: float) -> float:
    """The smallest sample that at least `part` of all do not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, min(len(ordered) - 1, -int(-part * len(ordered) // 1) - 1))]


def compare(ours: Measurement, peer: Measurement) -> Ratio:
    """Peer to ours, from the rounds that both took part in."""
    ratios = [
        statistics.median(theirs) / statistics.median(mine)
        for mine, theirs in zip(ours.rounds, peer.rounds, strict=True)
    ]
    return Ratio(statistics.median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75))


def measure(contenders: Sequence[Contender], plan: Plan) -> list[Measurement]:
    """Time the statements of all contenders in rounds."""
    loops: list[Loop] = []
    results: list[Measurement] = []
    with _collector_off():
        for contender in contenders:
            with contender.around():
                loop = Loop.of(contender.statement)
                passes = loop.passes(plan.sample_ns)
            loops.append(loop)
            results.append(Measurement(contender.name, contender.statement.text, passes))
        for number in range(plan.rounds):
            first = number % len(contenders)
            for index in (*range(first, len(contenders)), *range(first)):
                with contenders[index].around():
                    _turn(loops[index], results[index], plan.turn)
    return results


def by_turns(samplers: Sequence[Sampler], *, rounds: int, turn: int) -> list[Measurement]:
    """Samples of what cannot stand in a loop: `turn` of each in each round."""
    results = [Measurement(sampler.name, sampler.text, 1) for sampler in samplers]
    for number in range(rounds):
        first = number % len(samplers)
        for index in (*range(first, len(samplers)), *range(first)):
            results[index].rounds.append([samplers[index].sample() for _ in range(turn)])
    return results


def _turn(loop: Loop, result: Measurement, samples: int) -> None:
    walls = []
    for _ in range(samples):
        wall_ns, cpu_ns = loop(result.passes)
        walls.append(wall_ns)
        result.cpu.append(cpu_ns)
    result.rounds.append(walls)


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
