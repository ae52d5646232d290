"""What is measured, and in what company.

Questions come in groups that share their stores and crowds. ``alone``: nobody else is subscribed.
``readers``: eight more processes are, of which none, one or all read all the time. ``writer``: one
other process writes all the time. ``waiters``: others wait for changes. ``wake``: how long a
waiter takes to wake.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import peers, processors
from benchmarks.company import Company
from benchmarks.measure import Contender, Measurement, Plan, Statement, measure
from benchmarks.state.waking import Change
from benchmarks.wakeup import Eventfd, EventfdPoll, Pipe, Way, wakeups
from holdfast import state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["FULL", "QUICK", "Group", "Question", "Scale", "groups"]

_CROWD = 8
_DOZENS = 50
_MANY = 1000
_WORDS = {
    "read": ("read", "read the newest {size} B into new bytes"),
    "readinto": ("readinto", "read the newest {size} B into a buffer that is there"),
    "view": ("view", "look at {size} B where they are, and check that they stayed"),
    "check": ("changed", "is there anything newer than what I have seen?"),
    "snapshot": ("snapshot", "read {size} B with version, time and author"),
    "write": ("transaction", "start, write {size} B, commit, as a with block"),
    "commit": ("commit", "start, write {size} B, commit, without a with block"),
    "abort": ("abort", "start a transaction on {size} B and abort it"),
    "update": ("transact", "read, change and write {size} B; nobody's change is lost"),
}
_AMONG_READERS = ("read", "view", "check", "write", "commit")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    sizes: tuple[int, ...]
    alone: Plan
    company: Plan
    wake_rounds: int
    wake_turn: int


FULL = Scale((64, 256, 4096), Plan(25, 4), Plan(8, 5), 40, 10)
QUICK = Scale((256,), Plan(5, 2), Plan(3, 2), 5, 10)


@dataclass(frozen=True, slots=True)
class Question:
    """A name, what is measured in words, and what measures it once its group's stores are open."""

    name: str
    family: str
    what: str
    ask: Callable[[Company], list[Measurement]]


@dataclass(frozen=True, slots=True)
class Group:
    """Questions that are asked of the same stores in the same company."""

    name: str
    size: int
    names: tuple[str, ...]
    members: int
    verb: str
    questions: tuple[Question, ...]

    def company(self, directory: str, names: set[str]) -> Company:
        """The stores and crowds, of those peers only that are in `names`."""
        wanted = [name for name in self.names if name in names]
        return Company(directory, self.name, self.size, wanted, self.members, self.verb)


def _timed(verb: str, size: int, plan: Plan, busy: int = 0, *words: str) -> Question:
    def ask(company: Company) -> list[Measurement]:
        with processors.pinned(processors.measured()):
            return measure(company.contenders(verb, busy), plan)

    family, what = _WORDS[verb]
    suffix, among = words or ("", "")
    return Question(f"{family}.{size}{suffix}", family, what.format(size=size) + among, ask)


def _alone(size: int, scale: Scale) -> Group:
    questions = tuple(_timed(verb, size, scale.alone) for verb in _WORDS)
    return Group(f"alone{size}", size, peers.NAMES, 0, "", questions)


def _readers(size: int, scale: Scale) -> Group:
    questions = []
    for verb in _AMONG_READERS:
        for busy, suffix in (
            (0, f".idle{_CROWD}"),
            (1, ".readers1"),
            (_CROWD, f".readers{_CROWD}"),
        ):
            among = f"; {_CROWD} more are subscribed, {busy or 'none'} of them reading"
            questions.append(_timed(verb, size, scale.company, busy, suffix, among))
    return Group(f"readers{size}", size, peers.NAMES, _CROWD, "read", tuple(questions))


def _writer(size: int, scale: Scale) -> Group:
    words = (".writer1", "; another process writes all the time")
    questions = tuple(_timed(verb, size, scale.company, 1, *words) for verb in ("read", "check"))
    return Group(f"writer{size}", size, peers.NAMES, 1, "write", questions)


def _waiters(size: int, scale: Scale) -> Group:
    questions = tuple(
        _timed("write", size, scale.company, busy, f".waiters{busy}", f"; {busy} wait for changes")
        for busy in (1, _CROWD)
    )
    return Group(f"waiters{size}", size, (peers.OURS,), _CROWD, "wait", questions)


def _wake(directory: str, scale: Scale) -> Group:
    def ask(_: Company, *, name: str, processor: int, awake: bool) -> list[Measurement]:
        ways: list[Way] = [Change(directory, name), Eventfd(), EventfdPoll(), Pipe()]
        turns, turn = scale.wake_rounds, scale.wake_turn
        with processors.pinned(processors.measured()):
            return wakeups(ways, processor, awake=awake, rounds=turns, turn=turn)

    here, there = processors.measured(), processors.others()[-1]
    places = [("same", "the same", here)] + [("other", "another", there)] * (there != here)
    questions = []
    for where, words, processor in places:
        for awake, suffix, mood in ((True, "", "is busy"), (False, ".rested", "has slept")):
            name = f"wake.{where}-cpu{suffix}"
            what = (
                f"from just before the commit of a process that {mood} "
                f"to the waiter's next line, on {words} CPU"
            )
            found = partial(ask, name=f"wake.{where}{suffix}", processor=processor, awake=awake)
            questions.append(Question(name, "wake", what, found))
    return Group("wake", 0, (), 0, "", tuple(questions))


_TOGETHER = {
    "holdfast": (
        "with state.transaction(first, second) as txn:\n"
        "    txn[first].data[:] = payload\n"
        "    txn[second].data[:] = payload"
    ),
    "one state": "with first.transaction() as txn:\n    txn.data[:] = payload",
    "one after the other": (
        "with first.transaction() as txn:\n    txn.data[:] = payload\n"
        "with second.transaction() as txn:\n    txn.data[:] = payload"
    ),
}


def _several(directory: str, size: int, scale: Scale) -> Group:
    """Two states in one commit, beside one, and beside two commits (which others see half done)."""

    def ask(_: Company) -> list[Measurement]:
        with state.Namespace(directory) as namespace:
            members = {
                name: namespace.subscribe(name, "rw", size=size) for name in ("first", "second")
            }
            names = {"state": state, **members}
            contenders = [
                Contender(name, Statement(text, names, peers.payloads(size)))
                for name, text in _TOGETHER.items()
            ]
            with processors.pinned(processors.measured()):
                return measure(contenders, scale.alone)

    what = f"start, write {size} B to each, commit: two states together, one, two commits"
    question = Question(f"several.{size}", "several", what, ask)
    return Group("several", 0, (), 0, "", (question,))


def _many(directory: str, size: int, scale: Scale) -> Group:
    """One state among a thousand that this process has, beside one that is alone."""

    def ask(_: Company) -> list[Measurement]:
        with (
            _descriptors(_MANY + 100),
            state.Namespace(f"{directory}/many") as crowded,
            state.Namespace(f"{directory}/alone") as empty,
        ):
            states = [crowded.subscribe(f"s{i}", "rw", size=size) for i in range(_MANY)]
            alone = empty.subscribe("alone", "rw", size=size)
            text = "with one.transaction() as txn:\n    txn.data[:] = payload"
            contenders = [
                Contender(name, Statement(text, {"one": one}, peers.payloads(size)))
                for name, one in (("holdfast", states[_MANY // 2]), ("a state alone", alone))
            ]
            with processors.pinned(processors.measured()):
                return measure(contenders, scale.alone)

    what = f"start, write {size} B, commit: one of {_MANY} states that this process has"
    question = Question(f"many.{size}", "many", what, ask)
    return Group("many", 0, (), 0, "", (question,))


@contextlib.contextmanager
def _descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _crowded(size: int, scale: Scale) -> Group:
    """The writer's cost with readers by the dozen: they are not to be felt."""
    questions = tuple(
        _timed("write", size, scale.company, busy, f".of{_DOZENS}.readers{busy}", words)
        for busy, words in (
            (0, f"; {_DOZENS} more are subscribed, none of them reading"),
            (1, f"; {_DOZENS} more are subscribed, one of them reading"),
            (_DOZENS, f"; {_DOZENS} more are subscribed, and read"),
        )
    )
    return Group(f"crowded{size}", size, (peers.OURS,), _DOZENS, "read", questions)


def groups(scale: Scale, directory: str) -> list[Group]:
    """All questions, by group."""
    found = [kind(size, scale) for size in scale.sizes for kind in (_alone, _readers, _writer)]
    middle = scale.sizes[len(scale.sizes) // 2]
    found += [_several(directory, middle, scale), _many(directory, middle, scale)]
    found += [_crowded(middle, scale), _waiters(middle, scale)]
    return [*found, _wake(directory, scale)]
