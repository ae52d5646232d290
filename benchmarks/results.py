"""What a run has found: answers to questions, and whether bars were reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.measure import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Measurement

__all__ = ["Answer", "Bar", "Run", "Verdict"]


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


@dataclass(frozen=True, slots=True)
class Bar:
    """What must be reached: the peer takes at least `factor` times as long as we do.

    A bar of "at most 1.5 times the peer" has the factor 1/1.5.
    """

    number: int
    text: str
    question: str
    peer: str
    factor: float

    def judge(self, answers: Sequence[Answer]) -> Verdict:
        """What these answers say about it."""
        for answer in answers:
            if answer.name == self.question:
                for peer in answer.peers:
                    if peer.name == self.peer:
                        ratio = compare(answer.ours, peer)
                        return Verdict(self, ratio.median, ratio.low, ratio.high)
        return Verdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar, and the ratio measured; None where this run did not measure it."""

    bar: Bar
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def reached(self) -> bool | None:
        return None if self.ratio is None else self.ratio >= self.bar.factor

    @property
    def measured(self) -> str:
        """In the words in which the bar is stated."""
        if self.ratio is None or self.low is None or self.high is None:
            return "not measured"
        if self.bar.factor >= 1:
            return f"{self.ratio:.2f}x faster ({self.low:.2f} to {self.high:.2f})"
        return f"{1 / self.ratio:.2f}x as long ({1 / self.high:.2f} to {1 / self.low:.2f})"

    @property
    def word(self) -> str:
        return {True: "reached", False: "MISSED", None: "not measured"}[self.reached]


@dataclass(slots=True)
class Run:
    """Everything that a run has found."""

    benchmark: str
    quick: bool
    environment: dict[str, object]
    answers: list[Answer] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    bars: Sequence[Bar] = ()

    @property
    def verdicts(self) -> list[Verdict]:
        return [bar.judge(self.answers) for bar in self.bars]

    @property
    def spread(self) -> float | None:
        """How noisy it was: our 90th percentile to our median, in the middle of all questions."""
        spreads = sorted(answer.ours.p90_ns / answer.ours.median_ns for answer in self.answers)
        return spreads[len(spreads) // 2] if spreads else None
