"""What is measured: wake leases of a governor beside inhibitor locks of logind."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from benchmarks import processors
from benchmarks.measure import Contender, Measurement, Plan, Statement, by_turns, measure
from benchmarks.peers import OURS, Missing
from benchmarks.questions import Group, Question
from benchmarks.wake import commands, logind
from benchmarks.wake.governor import INSTANT, governing
from benchmarks.wake.latency import LogindRelease, OurRelease
from holdfast.wake import connect
from tests.logind.machine import MachineMissing

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.directories import Directories
    from benchmarks.measure import Sampler
    from holdfast.wake import WakeLease
    from tests.logind.machine import Machine

__all__ = ["groups"]

_TEXT = "with governor.acquire(name):\n    pass"


@dataclass(frozen=True, slots=True)
class _Scale:
    """How much is measured."""

    plan: Plan
    rounds: int  # of what cannot stand in a loop
    turn: int


_FULL = _Scale(Plan(25, 4, 5_000_000), 25, 4)
_QUICK = _Scale(Plan(3, 2), 3, 1)


class Beside:
    """A governor, a client of it, and where it can be had a logind with a client.

    Args:
        directory: For the governor's socket.
        peers: Those that are wanted, by name.
        through: The governor goes down through that logind.
    """

    def __init__(self, directory: str, peers: set[str], *, through: bool = False) -> None:
        self.missing: dict[str, str] = {}
        self._directory = directory
        self._peers = peers
        self._through = through
        self._exits = contextlib.ExitStack()
        self._held: list[WakeLease] = []
        self.path = ""
        self.machine: Machine | None = None
        self.inhibitors: logind.Inhibitors | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            backend = INSTANT
            try:
                self._enter_logind(exits)
            except (Missing, MachineMissing) as error:
                if self._through:
                    raise Missing(str(error)) from error
                self.missing[logind.NAME] = str(error)
            if self._through:
                if self.machine is None:
                    raise Missing("there is no logind to go down through")
                backend = self.machine.address
            self.path = exits.enter_context(governing(self._directory, backend))
            self.governor = exits.enter_context(connect(self.path))
            exits.callback(lambda: self.hold(0))
            self._exits = exits.pop_all()
        return self

    def _enter_logind(self, exits: contextlib.ExitStack) -> None:
        if logind.NAME not in self._peers:
            return
        self.machine = exits.enter_context(logind.machine())
        self.inhibitors = logind.Inhibitors(self.machine.address)
        exits.callback(self.inhibitors.close)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def hold(self, number: int) -> None:
        """Hold so many wake leases, and so many locks."""
        while len(self._held) < number:
            self._held.append(self.governor.acquire("held"))
        while len(self._held) > number:
            self._held.pop().close()
        if self.inhibitors is not None:
            self.inhibitors.hold(number)


def _hold(beside: Beside, plan: Plan, held: int) -> list[Measurement]:
    names = {"governor": beside.governor, "name": "benchmark"}
    contenders = [Contender(OURS, Statement(_TEXT, names))]
    if beside.inhibitors is not None:
        contenders.append(Contender(logind.NAME, beside.inhibitors.statement()))
        contenders.append(Contender(logind.RAW, beside.inhibitors.raw_statement()))
    beside.hold(held)
    try:
        with processors.pinned(processors.measured()):
            return measure(contenders, plan)
    finally:
        beside.hold(0)


def _latency(beside: Beside, scale: _Scale) -> list[Measurement]:
    with contextlib.ExitStack() as exits:
        ours = OurRelease(beside.path)
        exits.callback(ours.close)
        samplers: list[Sampler] = [ours]
        if beside.machine is not None:
            theirs = LogindRelease(beside.machine)
            exits.callback(theirs.close)
            samplers.append(theirs)
        return by_turns(samplers, rounds=scale.rounds, turn=scale.turn)


def _run(beside: Beside, scale: _Scale) -> list[Measurement]:
    samplers: list[Sampler] = [commands.ours(beside.path)]
    if beside.machine is not None:
        samplers.append(commands.theirs(beside.machine.address))
    samplers.append(commands.bare())
    with processors.pinned(processors.measured()):
        return by_turns(samplers, rounds=scale.rounds, turn=scale.turn)


def _question(held: int, plan: Plan) -> Question[Beside]:
    name = "hold" if held == 0 else f"hold.beside{held}"
    what = "acquire a wake lease and release it; take an inhibitor lock and close it"
    if held:
        what += f", while {held} others are held"
    return Question(name, "hold", what, partial(_hold, plan=plan, held=held))


def groups(quick: bool, directories: Directories) -> list[Group[Beside]]:
    """All questions, by group."""
    scale = _QUICK if quick else _FULL
    holding = tuple(_question(held, scale.plan) for held in (0, 1, 100, 1000))
    release = "from just before the last release to the entry into the back-end"
    through = "the same wake lease, of a governor that goes down through logind and blocks there"
    return [
        Group("wake", holding, partial(Beside, directories.memory)),
        Group(
            "latency",
            (Question("release", "wake", release, partial(_latency, scale=scale)),),
            partial(Beside, directories.memory),
        ),
        Group(
            "command",
            (
                Question(
                    "run",
                    "run",
                    "a command that does nothing, run under a wake lease; under a lock",
                    partial(_run, scale=scale),
                ),
            ),
            partial(Beside, directories.memory),
        ),
        Group(
            "through",
            (
                Question(
                    "hold.through.logind",
                    "hold",
                    through,
                    partial(_hold, plan=scale.plan, held=0),
                ),
            ),
            partial(Beside, directories.memory, through=True),
        ),
    ]
