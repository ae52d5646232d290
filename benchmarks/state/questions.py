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
from benchmarks.crowd import SPAWN
from benchmarks.measure import Contender, Measurement, Plan, Statement, measure
from benchmarks.peers import OURS, STATES, Place
from benchmarks.questions import Group, Question, asked
from benchmarks.state.waking import Change
from benchmarks.wakeup import Eventfd, EventfdPoll, Pipe, Way, wakeups
from holdfast import state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from benchmarks.directories import Directories

__all__ = ["groups"]

_ALONE = (0, "")
_OURS = {OURS: STATES[OURS]}
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


_FULL = Scale((64, 256, 4096), Plan(25, 4), Plan(8, 5), 40, 10)
_QUICK = Scale((256,), Plan(5, 2), Plan(3, 2), 5, 10)


def _group(
    directory: str,
    name: str,
    size: int,
    wanted: Mapping[str, str],
    crowd: tuple[int, str],
    questions: Iterable[Question[Company]],
) -> Group[Company]:
    """A group; in its company is a crowd of so many, of that verb."""

    def company(names: set[str]) -> Company:
        present = {peer: module for peer, module in wanted.items() if peer in names}
        return Company(Place(directory, name, size, SPAWN.Lock()), present, *crowd)

    return Group(name, tuple(questions), company)


def _timed(verb: str, size: int, plan: Plan, busy: int = 0, *words: str) -> Question[Company]:
    family, what = _WORDS[verb]
    suffix, among = words or ("", "")
    name = f"{family}.{size}{suffix}"
    return Question(name, family, what.format(size=size) + among, asked(verb, plan, busy))


def _alone(directory: str, size: int, scale: Scale) -> Group[Company]:
    questions = tuple(_timed(verb, size, scale.alone) for verb in _WORDS)
    return _group(directory, f"alone{size}", size, STATES, _ALONE, questions)


def _readers(directory: str, size: int, scale: Scale) -> Group[Company]:
    questions = []
    for verb in _AMONG_READERS:
        for busy, suffix in (
            (0, f".idle{_CROWD}"),
            (1, ".readers1"),
            (_CROWD, f".readers{_CROWD}"),
        ):
            among = f"; {_CROWD} more are subscribed, {busy or 'none'} of them reading"
            questions.append(_timed(verb, size, scale.company, busy, suffix, among))
    return _group(directory, f"readers{size}", size, STATES, (_CROWD, "read"), questions)


def _writer(directory: str, size: int, scale: Scale) -> Group[Company]:
    words = (".writer1", "; another process writes all the time")
    questions = tuple(_timed(verb, size, scale.company, 1, *words) for verb in ("read", "check"))
    return _group(directory, f"writer{size}", size, STATES, (1, "write"), questions)


def _waiters(directory: str, size: int, scale: Scale) -> Group[Company]:
    questions = tuple(
        _timed("write", size, scale.company, busy, f".waiters{busy}", f"; {busy} wait for changes")
        for busy in (1, _CROWD)
    )
    return _group(directory, f"waiters{size}", size, _OURS, (_CROWD, "wait"), questions)


def _wake(directory: str, scale: Scale) -> Group[Company]:
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
    return _group(directory, "wake", 0, {}, _ALONE, questions)


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


def _several(directory: str, size: int, scale: Scale) -> Group[Company]:
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
    return _group(directory, "several", 0, {}, _ALONE, (question,))


def _many(directory: str, size: int, scale: Scale) -> Group[Company]:
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
    return _group(directory, "many", 0, {}, _ALONE, (question,))


@contextlib.contextmanager
def _descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _crowded(directory: str, size: int, scale: Scale) -> Group[Company]:
    """The writer's cost with readers by the dozen: they are not to be felt."""
    questions = tuple(
        _timed("write", size, scale.company, busy, f".of{_DOZENS}.readers{busy}", words)
        for busy, words in (
            (0, f"; {_DOZENS} more are subscribed, none of them reading"),
            (1, f"; {_DOZENS} more are subscribed, one of them reading"),
            (_DOZENS, f"; {_DOZENS} more are subscribed, and read"),
        )
    )
    return _group(directory, f"crowded{size}", size, _OURS, (_DOZENS, "read"), questions)


def groups(quick: bool, directories: Directories) -> list[Group[Company]]:
    """All questions, by group."""
    scale = _QUICK if quick else _FULL
    memory = directories.memory
    kinds = (_alone, _readers, _writer)
    found = [kind(memory, size, scale) for size in scale.sizes for kind in kinds]
    middle = scale.sizes[len(scale.sizes) // 2]
    found += [kind(memory, middle, scale) for kind in (_several, _many, _crowded, _waiters)]
    return [*found, _wake(memory, scale)]
