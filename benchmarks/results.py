"""What a run has found: answers to questions, and whether bars were reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from benchmarks.measure import compare
from benchmarks.report import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Measurement

__all__ = ["LATENCIES", "Answer", "AtMost", "Bar", "Counted", "Needed", "Run", "Verdict"]

# Families whose tails matter as much as their medians: how long somebody waits.
LATENCIES = {"wake", "handover", "takeover"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, measured.

    Attributes:
        name: Of the question: what ``--only`` selects.
        family: Questions that are drawn side by side.
        what: A few words on what is measured.
        measurements: Ours first.
    """

    name: str
    family: str
    what: str
    measurements: Sequence[Measurement]

    @property
    def ours(self) -> Measurement:
        return self.measurements[0]

    @property
    def peers(self) -> Sequence[Measurement]:
        return self.measurements[1:]

    @property
    def is_latency(self) -> bool:
        """Whether the tails are to be told."""
        return self.family in LATENCIES

    @property
    def is_virtual(self) -> bool:
        """Whether it was measured in virtual time, and does not depend on this machine."""
        return self.ours.seeds > 0

    def peer(self, name: str) -> Measurement | None:
        """The peer of that name, if it was measured."""
        return next((peer for peer in self.peers if peer.name == name), None)


class Needed(Protocol):
    """What must be reached: a `Bar`, or one that no peer sets.

    Attributes:
        number: Of the bar in the design.
        text: What is needed, in words.
        question: The name of the question that answers it.
    """

    @property
    def number(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def question(self) -> str: ...

    def needs(self) -> dict[str, object]:
        """What is needed, for programs."""
        ...

    def judge(self, answers: Sequence[Answer]) -> Verdict:
        """What these answers say about it."""
        ...

    def mark(self, answer: Answer) -> tuple[float, str] | None:
        """Where our median must end at the latest, in nanoseconds, and by whom; for the picture."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found for a bar.

    Attributes:
        bar: The bar.
        measured: What was measured, in the words in which the bar is stated.
        reached: Whether it was reached; None where this run did not measure it.
        figure: What was measured, in the unit of the bar; None likewise.
    """

    bar: Needed
    measured: str = "not measured"
    reached: bool | None = None
    figure: float | None = None

    @property
    def word(self) -> str:
        return {True: "reached", False: "MISSED", None: "not measured"}[self.reached]


@dataclass(frozen=True, slots=True)
class Bar:
    """The peer takes at least `factor` times as long as we do.

    A bar of "at most 1.5 times the peer" has the factor 1/1.5.
    """

    number: int
    text: str
    question: str
    peer: str
    factor: float

    def needs(self) -> dict[str, object]:
        return {"peer": self.peer, "ratio_needed": round(self.factor, 3)}

    def judge(self, answers: Sequence[Answer]) -> Verdict:
        answer = _answer(answers, self.question)
        peer = None if answer is None else answer.peer(self.peer)
        if answer is None or peer is None:
            return Verdict(self)
        ratio = compare(answer.ours, peer)
        if self.factor >= 1:
            words = f"{ratio.median:.2f}x faster ({ratio.low:.2f} to {ratio.high:.2f})"
        else:
            low, high = 1 / ratio.high, 1 / ratio.low
            words = f"{1 / ratio.median:.2f}x as long ({low:.2f} to {high:.2f})"
        return Verdict(self, words, ratio.median >= self.factor, ratio.median)

    def mark(self, answer: Answer) -> tuple[float, str] | None:
        peer = answer.peer(self.peer)
        return None if peer is None else (peer.median_ns / self.factor, peer.name)


@dataclass(frozen=True, slots=True)
class AtMost:
    """Our median is at most so many nanoseconds, whoever else takes how long.

    Attributes:
        beside: A peer whose ratio is told too, since an absolute figure depends on the machine.
    """

    number: int
    text: str
    question: str
    limit_ns: float
    beside: str = ""

    def needs(self) -> dict[str, object]:
        return {"limit_ns": self.limit_ns}

    def judge(self, answers: Sequence[Answer]) -> Verdict:
        answer = _answer(answers, self.question)
        if answer is None:
            return Verdict(self)
        figure = answer.ours.median_ns
        words = duration(figure)
        peer = answer.peer(self.beside)
        if peer is not None:
            words += f", {1 / compare(answer.ours, peer).median:.2f}x {peer.name}"
        return Verdict(self, words, figure <= self.limit_ns, figure)

    def mark(self, answer: Answer) -> tuple[float, str] | None:
        return self.limit_ns, "the design"


@dataclass(frozen=True, slots=True)
class Counted:
    """Of something that was counted beside the time, we need at most so many.

    Attributes:
        count: Of what: a key of `Measurement.counts`.
    """

    number: int
    text: str
    question: str
    count: str
    limit: float

    def needs(self) -> dict[str, object]:
        return {"count": self.count, "limit": self.limit}

    def judge(self, answers: Sequence[Answer]) -> Verdict:
        answer = _answer(answers, self.question)
        figure = None if answer is None else answer.ours.counts.get(self.count)
        if figure is None:
            return Verdict(self)
        return Verdict(self, f"{figure:g} {self.count}", figure <= self.limit, figure)

    def mark(self, answer: Answer) -> tuple[float, str] | None:
        return None  # it is no time


def _answer(answers: Sequence[Answer], question: str) -> Answer | None:
    return next((answer for answer in answers if answer.name == question), None)


@dataclass(slots=True)
class Run:
    """Everything that a run has found."""

    benchmark: str
    quick: bool
    environment: dict[str, object]
    answers: list[Answer] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    bars: Sequence[Needed] = ()

    @property
    def verdicts(self) -> list[Verdict]:
        return [bar.judge(self.answers) for bar in self.bars]

    @property
    def spread(self) -> float | None:
        """How noisy it was: our 90th percentile to our median, in the middle of all questions."""
        spreads = sorted(
            answer.ours.p90_ns / answer.ours.median_ns
            for answer in self.answers
            if not answer.is_virtual
        )
        return spreads[len(spreads) // 2] if spreads else None
