"""What is asked about membership.

Names that begin with ``virtual`` are measured in virtual time, the others by this machine's clock.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import processors
from benchmarks.measure import by_turns
from benchmarks.membership import crate, trials
from benchmarks.membership.cluster import Cluster
from benchmarks.membership.datagrams import EmptyDatagram
from benchmarks.membership.packets import PACKET_BYTES, Reader, Stream
from benchmarks.membership.trials import Deaths
from benchmarks.peers import OURS
from benchmarks.questions import Group, Question
from holdfast.membership import ALL_REPAIRS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.directories import Directories
    from benchmarks.measure import Measurement, Sampler

__all__ = ["SIZES", "Alone", "groups"]

SIZES = (16, 64, 256, 1024)
_KNOWN_NEW = 0.05


@dataclass(slots=True)
class Alone:
    """Nobody has to come, but for the crate, where it can be built."""

    beside: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Scale:
    """How much is measured; in virtual time, under how many seeds."""

    deaths: Mapping[int, Deaths]  # by the number of members
    load: Mapping[int, tuple[int, int]]  # periods, worlds
    news: Mapping[int, tuple[int, int]]  # leavers, worlds
    slow: tuple[int, int, int]  # members, periods, worlds
    pair: int  # worlds
    halves: tuple[int, int]  # members, worlds
    packets: tuple[int, int, int]  # in a sample; rounds, samples in each
    simulated: tuple[int, int, int]  # members, periods, samples


# A preset announces every 30 periods and compares lists every 10: whole multiples are counted.
_FULL = _Scale(
    deaths={
        16: Deaths(1, 256),
        64: Deaths(2, 128),
        256: Deaths(8, 32),
        1024: Deaths(32, 8),
    },
    load={16: (120, 1), 64: (60, 1), 256: (60, 1), 1024: (30, 1)},
    news={16: (4, 16), 64: (8, 8), 256: (8, 4), 1024: (8, 1)},
    slow=(50, 120, 6),
    pair=16,
    halves=(32, 6),
    packets=(200, 10, 2),
    simulated=(1024, 60, 1),
)
_QUICK = _Scale(
    deaths={16: Deaths(1, 10)},
    load={16: (30, 1)},
    news={16: (2, 1)},
    slow=(20, 30, 1),
    pair=2,
    halves=(8, 1),
    packets=(20, 2, 2),
    simulated=(64, 10, 1),
)


class _Simulation:
    """A whole cluster, made and run."""

    name = OURS

    def __init__(self, members: int, periods: int) -> None:
        self._members = members
        self._periods = periods
        self.text = f"{members} members, made and run for {periods} periods"
        self.steps = 0

    def sample(self) -> float:
        began_ns = time.perf_counter_ns()
        cluster = Cluster(0, self._members, ALL_REPAIRS)
        cluster.run(self._periods)
        took_ns = time.perf_counter_ns() - began_ns
        assert all(site.engine.num_members == self._members - 1 for site in cluster.living)
        self.steps = cluster.world.events
        return float(took_ns)


def _simulation(_: Alone, scale: tuple[int, int, int]) -> list[Measurement]:
    members, periods, samples = scale
    simulation = _Simulation(members, periods)
    with processors.pinned(processors.measured()):
        (found,) = by_turns([simulation], rounds=samples, turn=1)
    found.counts = {"members": members, "periods": periods, "steps": simulation.steps}
    return [found]


def _packets(
    company: Alone, scale: tuple[int, int, int], new: float, *, by_member: bool
) -> list[Measurement]:
    packets, rounds, turn = scale
    reader = Reader(Stream(packets, new), by_member=by_member)
    samplers: list[Sampler] = [reader]
    if crate.NAME in company.beside:
        samplers.append(crate.Crate(reader))
    if not by_member:
        bursts = max(4, packets // 10)
        samplers += [EmptyDatagram(PACKET_BYTES, bursts, warm=warm) for warm in (False, True)]
    with processors.pinned(processors.measured()):
        results = by_turns(samplers, rounds=rounds, turn=turn)
    results[0].counts = {
        "packets": packets,
        "updates a packet": round(reader.updates / packets, 1),
        "part of them new": new,
    }
    return results


def _reading(scale: _Scale) -> Group[Alone]:
    size = f"of {PACKET_BYTES} bytes, to a member that knows 1,023 others"
    kinds: tuple[tuple[str, float, bool, str], ...] = (
        ("packets.known", _KNOWN_NEW, False, f"a packet {size}; one update in twenty is news"),
        ("packets.settled", 0.0, False, f"a packet {size}; it has nothing new"),
        ("packets.new", 1.0, True, f"one update in packets {size}; each is of a new member"),
    )
    questions = [
        Question(
            name, "packets", what, partial(_packets, scale=scale.packets, new=new, by_member=one)
        )
        for name, new, one, what in kinds
    ]
    members, periods, _ = scale.simulated
    what = f"a simulation of {members} members for {periods} periods, from nothing to its end"
    questions.append(
        Question(
            f"simulation.n{members}",
            "simulation",
            what,
            partial(_simulation, scale=scale.simulated),
        )
    )
    return Group("reading", tuple(questions), _alone)


# -- in virtual time ------------------------------------------------------------------------------


def _virtual(
    family: str, which: str, what: str, ask: Callable[[], list[Measurement]]
) -> Question[Alone]:
    return Question(f"virtual.{family}.{which}", family, what, lambda _: ask())


def _detection(scale: _Scale) -> Iterator[Question[Alone]]:
    for family, what in (
        ("ping", "from a death to the first ping that stays without an answer"),
        ("suspicion", "from a death to the first suspicion"),
    ):
        for members, deaths in scale.deaths.items():
            ask = partial(trials.detection, members, deaths, suspicion=family == "suspicion")
            yield _virtual(family, f"n{members}", f"{what}, of {members} members", ask)


def _costs(scale: _Scale) -> Iterator[Question[Alone]]:
    for members, (periods, worlds) in scale.load.items():
        what = f"between two messages that an idle member of {members} sends"
        yield _virtual("load", f"n{members}", what, partial(trials.load, members, periods, worlds))
    for members, (leavers, worlds) in scale.news.items():
        what = f"from a member's leaving until all of {members} know of it"
        ask = partial(trials.dissemination, members, leavers, worlds)
        yield _virtual("dissemination", f"n{members}", what, ask)


def _faults(scale: _Scale) -> Iterator[Question[Alone]]:
    members, periods, worlds = scale.slow
    yield _virtual(
        "slow",
        f"n{members}",
        f"a fifth of {members} members send and fire timers up to 1.5 s late for {periods} "
        "periods; counted is who is wronged, measured how soon a real death is declared then",
        partial(trials.slow, members, periods, worlds),
    )
    what = "from the end of a partition until all know all again"
    ask = partial(trials.healing, 2, 1, scale.pair)
    yield _virtual("healing", "n2", f"{what}; two members, each alone", ask)
    members, worlds = scale.halves
    ask = partial(trials.healing, members, members // 2, worlds)
    yield _virtual("healing", f"n{members}", f"{what}; two halves of {members} members", ask)


def _alone(names: set[str]) -> contextlib.AbstractContextManager[Alone]:
    return contextlib.nullcontext(Alone(names))


def groups(quick: bool, _: Directories) -> list[Group[Alone]]:
    """All questions, by group."""
    scale = _QUICK if quick else _FULL
    simulated = (*_detection(scale), *_costs(scale), *_faults(scale))
    return [_reading(scale), Group("virtual time", simulated, _alone)]
