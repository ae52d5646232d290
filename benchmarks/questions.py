"""Questions, and the groups of them that are asked in the same company."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from benchmarks import processors
from benchmarks.measure import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.company import Company
    from benchmarks.measure import Measurement, Plan

__all__ = ["Group", "Present", "Question", "asked", "selected"]


class Present(Protocol):
    """What a group's questions are asked in; made once for all of them."""

    missing: dict[str, str]  # who could not come, and why


C = TypeVar("C", bound=Present)


@dataclass(frozen=True, slots=True)
class Question(Generic[C]):
    """A name, what is measured in words, and what measures it once its group's stores are open."""

    name: str
    family: str
    what: str
    ask: Callable[[C], list[Measurement]]

    def wanted(self, only: Sequence[str]) -> bool:
        """Whether one of these words names it: itself, a pattern, or its family."""
        return any(self.family == word or fnmatchcase(self.name, word) for word in only)


@dataclass(frozen=True, slots=True)
class Group(Generic[C]):
    """Questions that are asked of the same stores in the same company.

    Attributes:
        name: Of the group.
        questions: In the order in which they are asked.
        company: What makes the company, of those peers only that are in the given set; it raises
            `Missing` where nothing of the group can be measured.
    """

    name: str
    questions: tuple[Question[C], ...]
    company: Callable[[set[str]], AbstractContextManager[C]]


def selected(groups: Sequence[Group[C]], only: Sequence[str] | None) -> list[Group[C]]:
    """The groups, with those of their questions that were asked for."""
    if not only:
        return list(groups)
    found = []
    for group in groups:
        wanted = tuple(question for question in group.questions if question.wanted(only))
        if wanted:
            found.append(replace(group, questions=wanted))
    return found


def asked(verb: str, plan: Plan, busy: int = 0) -> Callable[[Company], list[Measurement]]:
    """What times the statements for a verb, on a processor of our own."""
    return partial(_ask, verb=verb, plan=plan, busy=busy)


def _ask(company: Company, verb: str, plan: Plan, busy: int) -> list[Measurement]:
    with processors.pinned(processors.measured()):
        return measure(company.contenders(verb, busy), plan)
