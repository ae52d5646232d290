"""What is measured, and where the leases are kept.

Questions come in groups that share their stores. ``local``: leases in shared memory. ``sqlite`` and
``postgresql``: in a database on a disk; with ``.memory``: in one on a file system in memory, where
it costs nothing that a commit is durable, so that all other costs show.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import postgresql, processors
from benchmarks.company import Company
from benchmarks.crowd import SPAWN
from benchmarks.leases.handing import handovers, takeovers
from benchmarks.leases.renewing import renewals
from benchmarks.measure import Contender, Measurement, Plan, Statement, measure
from benchmarks.peers import LEASES, OURS, Missing, Place, payloads
from benchmarks.peers.holdfast_leases import Leases
from benchmarks.questions import Group, Question, asked
from holdfast.state import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.directories import Directories

__all__ = ["groups"]

_BESIDE_LOCAL = (OURS, "redis", "filelock", "flock")
_BESIDE_SQL = (OURS, "redis", "bare transaction")
_DURABLE = (OURS, "bare transaction")
_GATED_SIZE = 256


@dataclass(frozen=True, slots=True)
class _Scale:
    """How much is measured."""

    quick: Plan
    durable: Plan
    handovers: tuple[int, int]  # rounds, and samples in each
    takeovers: int
    renewed: int
    renewals: int


_FULL = _Scale(Plan(25, 4), Plan(25, 4, 2_000_000), (15, 2), 5, 10_000, 9)
_QUICK = _Scale(Plan(5, 2), Plan(3, 2), (2, 2), 1, 300, 2)


def _leases(company: Company) -> Leases:
    ours = company.stores[OURS]
    assert isinstance(ours, Leases)
    return ours


def _check(company: Company, plan: Plan) -> list[Measurement]:
    clock = {"clock_gettime_ns": time.clock_gettime_ns, "CLOCK_BOOTTIME": time.CLOCK_BOOTTIME}
    with _leases(company).leases.hold("check") as held:
        contenders = [
            Contender(OURS, Statement("held.check()", {"held": held})),
            Contender("clock_gettime_ns", Statement("clock_gettime_ns(CLOCK_BOOTTIME)", clock)),
        ]
        with processors.pinned(processors.measured()):
            return measure(contenders, plan)


def _gated_state(company: Company, plan: Plan) -> list[Measurement]:
    """Two states, since a gate makes the lease a member of the transaction."""
    body = "    txn.data[:] = payload"
    texts = {
        OURS: f"with state.transaction() as txn:\n    held.gate(txn)\n{body}",
        "bare transaction": f"with state.transaction() as txn:\n{body}",
    }
    ours = _leases(company)
    with Namespace(ours.directory, retain=True) as namespace, ours.leases.hold("gate") as held:
        state = namespace.subscribe("gated", "rw", size=_GATED_SIZE)
        names = {"state": state, "held": held}
        contenders = [
            Contender(name, Statement(text, names, payloads(_GATED_SIZE)))
            for name, text in texts.items()
        ]
        with processors.pinned(processors.measured()):
            return measure(contenders, plan)


def _among(names: tuple[str, ...], verb: str, plan: Plan) -> Callable[[Company], list[Measurement]]:
    """What times a verb, of those only."""

    def ask(company: Company) -> list[Measurement]:
        with processors.pinned(processors.measured()):
            found = [c for c in company.contenders(verb, 0) if c.name in names]
            return measure(found, plan)

    return ask


def _hold(where: str, words: str, plan: Plan) -> Question[Company]:
    what = f"claim a lease {words} that is free, and give it back, as a with block"
    return Question(f"hold.{where}", "hold", what, asked("hold", plan))


def _takeover(where: str, scale: _Scale) -> Question[Company]:
    what = "from the end of what a holder was promised, who was killed, to its successor's hold"
    return Question(
        f"takeover.{where}", "takeover", what, partial(takeovers, samples=scale.takeovers)
    )


def _local(scale: _Scale, directories: Directories) -> Group[Company]:
    rounds, turn = scale.handovers
    questions = (
        _hold("local", "in shared memory", scale.quick),
        Question("check", "check", "is it still ours?", partial(_check, plan=scale.quick)),
        Question(
            "gated.state",
            "gated state",
            f"write {_GATED_SIZE} B into a state, in a transaction that the lease gates",
            partial(_gated_state, plan=scale.quick),
        ),
        Question(
            "handover.local",
            "handover",
            "from just before the release to the next line of who waited, in another process",
            partial(handovers, rounds=rounds, turn=turn),
        ),
        _takeover("local", scale),
    )

    def company(names: set[str]) -> Company:
        return _company(directories.memory, "local", "", _BESIDE_LOCAL, names)

    return Group("local", questions, company)


def _company(
    directory: str, name: str, url: str, beside: tuple[str, ...], names: set[str]
) -> Company:
    wanted = {peer: LEASES[peer] for peer in beside if peer in names}
    return Company(Place(directory, name, 0, SPAWN.Lock(), url), wanted)


def _durable(where: str, words: str, scale: _Scale) -> list[Question[Company]]:
    plan = scale.durable
    return [
        _hold(where, words, plan),
        Question(
            f"claim.{where}",
            "claim",
            f"take a lease {words} and give it back; an insert and a delete",
            asked("claim", plan),
        ),
        Question(
            f"claim.{where}.alone",
            "claim",
            f"take a lease {words}, each time another; an insert",
            asked("take", plan),
        ),
        Question(
            f"gated.{where}",
            "gated",
            "a transaction of the user's that updates one row, gated by a lease; not gated",
            _among(_DURABLE, "gated", plan),
        ),
    ]


def _renewed(where: str, scale: _Scale, *, stale: bool = False) -> Question[Company]:
    what = f"renew {scale.renewed} leases, for one of them"
    if stale:
        what += "; the planner's statistics are from when the tables were empty"
    ask = partial(renewals, number=scale.renewed, rounds=scale.renewals, stale=stale)
    return Question(f"renew.{where}{'.stale' * stale}", "renew", what, ask)


def _sqlite(scale: _Scale, directory: str, medium: str) -> Group[Company]:
    name = f"sqlite{medium}"
    questions = _durable(name, "in SQLite", scale)
    if not medium:
        questions += [_renewed("sqlite", scale), _takeover("sqlite", scale)]

    def company(names: set[str]) -> Company:
        url = f"sqlite:///{os.path.join(directory, 'leases.sqlite')}"
        return _company(directory, "sqlite", url, _BESIDE_SQL, names)

    return Group(name, tuple(questions), company)


def _postgresql(scale: _Scale, directory: str, medium: str) -> Group[Company]:
    name = f"postgresql{medium}"
    questions = _durable(name, "in PostgreSQL", scale)
    if not medium:
        stale = (True, False)  # in this order: the tables are empty only once
        questions += [_renewed("postgresql", scale, stale=old) for old in stale]
        questions += [_takeover("postgresql", scale)]

    @contextlib.contextmanager
    def company(names: set[str]) -> Iterator[Company]:
        if "postgresql" not in names:
            raise Missing("there is no server")
        with (
            postgresql.server(directory) as url,
            _company(directory, "postgresql", url, _BESIDE_SQL, names) as found,
        ):
            yield found

    return Group(name, tuple(questions), company)


def groups(quick: bool, directories: Directories) -> list[Group[Company]]:
    """All questions, by group."""
    scale = _QUICK if quick else _FULL
    found = [_local(scale, directories)]
    for directory, medium in ((directories.disk, ""), (directories.memory, ".memory")):
        found += [kind(scale, directory, medium) for kind in (_sqlite, _postgresql)]
    return found
