"""What is tried with clusters in virtual time. A trial runs under seeds 0, 1, …, each by itself.

All figures are nanoseconds of the world's clock, which does not know how fast this machine is.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING

from benchmarks.measure import Measurement
from benchmarks.membership.cluster import SECOND, Cluster
from benchmarks.peers import OURS
from holdfast.membership import ALL_REPAIRS, Repair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "BYTES",
    "HEALED",
    "MESSAGES",
    "PERIODS",
    "PLAIN",
    "REMAIN",
    "UNINFORMED",
    "WRONGED",
    "Deaths",
    "detection",
    "dissemination",
    "healing",
    "load",
    "slow",
]

PLAIN = "without repairs"
PERIODS = "periods on average"
MESSAGES = "messages a member and period"
BYTES = "bytes a member and period"
UNINFORMED = "leavers of whom not all heard in time"
WRONGED = "live identities declared down or given up"
REMAIN = "part of the wrongs without repairs"
HEALED = "part of the runs that healed"

_DETECTED_PERIODS = 60
_TOLD_PERIODS = 20
_HEALED_PERIODS = 300
_BURIED_PERIODS = 120
_SLOW_PART = 0.2
_LATE_NS = 3 * SECOND // 2


def _sides(members: int, at_most: int = 256) -> list[tuple[str, frozenset[Repair]]]:
    """Ours, and beside it the same engine without repairs where that does not take minutes."""
    ours = [(OURS, ALL_REPAIRS)]
    return ours if members > at_most else [*ours, (PLAIN, frozenset())]


def _found(name: str, text: str, seeds: int, rounds: Sequence[Sequence[float]]) -> Measurement:
    return Measurement(name, text, 1, [list(one) for one in rounds], seeds=seeds)


# -- a death is seen ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deaths:
    """How many members die: `together` at one instant, in each of `worlds` clusters.

    Few of a cluster die together, so that a death is seen as if it were the only one.
    """

    together: int
    worlds: int


@dataclass(slots=True)
class _Seen:
    period_ns: int
    pings: list[list[float]] = field(default_factory=list)  # of each world
    suspicions: list[list[float]] = field(default_factory=list)


@cache
def _deaths(members: int, deaths: Deaths, repairs: frozenset[Repair]) -> _Seen:
    seen = _Seen(0)
    for seed in range(deaths.worlds):
        cluster = Cluster(seed, members, repairs)
        seen.period_ns = cluster.period_ns
        rng = cluster.world.rng("deaths")
        cluster.run(1 + rng.random())
        for name in rng.sample(list(cluster.sites), deaths.together):
            cluster.kill(name)
        ended = cluster.run_until(partial(_all_suspected, cluster), _DETECTED_PERIODS)
        assert ended is not None, "a death was not noticed"
        for found, when in ((seen.pings, cluster.pinged), (seen.suspicions, cluster.suspected)):
            found.append([float(when[name] - at_ns) for name, at_ns in cluster.deaths.items()])
    return seen


def _all_suspected(cluster: Cluster) -> bool:
    return cluster.suspected.keys() == cluster.deaths.keys()


def detection(members: int, deaths: Deaths, *, suspicion: bool) -> list[Measurement]:
    """From a death to the first ping that it leaves unanswered, or to the first suspicion."""
    results = []
    for name, repairs in _sides(members, 64):
        seen = _deaths(members, deaths, repairs)
        rounds = seen.suspicions if suspicion else seen.pings
        text = "from a death to the first {}".format("suspicion" if suspicion else "failed ping")
        found = _found(name, text, deaths.worlds, rounds)
        periods = statistics.fmean(found.samples) / seen.period_ns
        found.counts = {"members": members, PERIODS: round(periods, 4)}
        results.append(found)
    return results


# -- what it costs --------------------------------------------------------------------------------


def load(members: int, periods: int, worlds: int) -> list[Measurement]:
    """What an idle member sends; the figure is the time between two messages."""
    results = []
    for name, repairs in _sides(members):
        rounds: list[list[float]] = []
        messages = octets = 0
        for seed in range(worlds):
            cluster = Cluster(seed, members, repairs)
            cluster.run(2)
            network = cluster.world.network
            before, bytes_before = network.sent, cluster.bytes
            cluster.run(periods)
            messages += network.sent - before
            octets += cluster.bytes - bytes_before
            total_ns = periods * cluster.period_ns * members
            rounds.append([total_ns / (network.sent - before)])
        found = _found(name, "between two messages of an idle member", worlds, rounds)
        whole = members * periods * worlds
        found.counts = {
            "members": members,
            MESSAGES: round(messages / whole, 4),
            BYTES: round(octets / whole, 1),
        }
        results.append(found)
    return results


# -- news -----------------------------------------------------------------------------------------


def dissemination(members: int, leavers: int, worlds: int) -> list[Measurement]:
    """From a member's leaving until all know of it; one after the other leaves."""
    results = []
    for name, repairs in _sides(members):
        rounds, halves, uninformed = [], [], 0
        for seed in range(worlds):
            cluster = Cluster(seed, members, repairs)
            cluster.run(3)
            took: list[float] = []
            for left in range(leavers):
                told, limit_ns = _leave(cluster, f"m{left}")
                whole = members - left - 1
                uninformed += len(told) < whole
                took.append(float(told[-1] if len(told) == whole else limit_ns))
                halves.append(told[whole // 2] if len(told) > whole // 2 else limit_ns)
            rounds.append(took)
        found = _found(name, "from a leaving until all know of it", worlds, rounds)
        found.counts = {
            "members": members,
            "until half of them know, ns on average": round(statistics.fmean(halves)),
            PERIODS: round(statistics.fmean(found.samples) / SECOND, 4),
            UNINFORMED: uninformed,
        }
        results.append(found)
    return results


def _leave(cluster: Cluster, name: str) -> tuple[list[int], int]:
    """After how long one after the other hears of it, and how long that was looked at."""
    site = cluster.sites[name]
    identity = site.engine.identity
    began_ns = cluster.world.now_ns
    site.engine.leave_cluster(site)
    cluster.kill(name)
    rest = len(cluster.living)
    cluster.run_until(lambda: len(cluster.downs[identity]) >= rest, _TOLD_PERIODS)
    return [at - began_ns for at in cluster.downs[identity]], cluster.world.now_ns - began_ns


# -- who is wronged -------------------------------------------------------------------------------


def slow(members: int, periods: int, worlds: int) -> list[Measurement]:
    """A fifth of the members is slow; then one that is not slow dies, which is still to be seen."""
    results = []
    for name, repairs in _sides(members):
        rounds, wronged, healthy, verdicts = [], 0, 0, 0
        for seed in range(worlds):
            late = (round(_SLOW_PART * members), _LATE_NS)
            cluster = Cluster(seed, members, repairs, late=late)
            cluster.run(periods)
            wrong = set(cluster.downs) | set(cluster.renamed)
            slow_ones = {identity.addr for identity in cluster.slow}
            wronged += len(wrong)
            healthy += sum(1 for one in wrong if one.addr not in slow_ones)
            verdicts += sum(map(len, cluster.downs.values()))
            victim = next(n for a, n in cluster.names.items() if a not in slow_ones)
            rounds.append([_burial(cluster, victim)])
        text = "from the death of one that is not slow until it is declared down"
        found = _found(name, text, worlds, rounds)
        found.counts = {
            "members": members,
            "periods": periods * worlds,
            WRONGED: wronged,
            "of members that are not slow": healthy,
            "verdicts": verdicts,
        }
        results.append(found)
    ours, plain = results
    if plain.counts[WRONGED]:
        ours.counts[REMAIN] = round(ours.counts[WRONGED] / plain.counts[WRONGED], 4)
    return results


def _burial(cluster: Cluster, name: str) -> float:
    identity = cluster.sites[name].engine.identity
    cluster.downs.pop(identity, None)
    began_ns = cluster.world.now_ns
    cluster.kill(name)
    cluster.run_until(lambda: bool(cluster.downs[identity]), _BURIED_PERIODS)
    told = cluster.downs[identity]
    return float((told[0] if told else cluster.world.now_ns) - began_ns)


# -- healing --------------------------------------------------------------------------------------


def healing(members: int, apart: int, worlds: int) -> list[Measurement]:
    """From the end of a partition until all know all again.

    Args:
        members: How many.
        apart: How many of them are on one side.
        worlds: How many clusters.
    """
    results = []
    for name, repairs in _sides(members):
        rounds, healed = [], 0
        for seed in range(worlds):
            cluster = Cluster(seed, members, repairs)
            rng = cluster.world.rng("partition")
            cluster.run(3)
            names = list(cluster.sites)
            cut = cluster.world.network.partition(rng.sample(names, apart))
            parted = cluster.run_until(_parted(cluster, apart), _HEALED_PERIODS)
            assert parted is not None, "nobody has noticed the partition"
            cluster.run(20 * rng.random())
            cluster.world.network.mend(cut)
            mended_ns = cluster.world.now_ns
            ended = cluster.run_until(cluster.agreed, _HEALED_PERIODS)
            healed += ended is not None
            rounds.append([float((ended or cluster.world.now_ns) - mended_ns)])
        text = f"from the end of a partition until all know all; at most {_HEALED_PERIODS} periods"
        found = _found(name, text, worlds, rounds)
        found.counts = {"members": members, HEALED: round(healed / worlds, 4)}
        results.append(found)
    return results


def _parted(cluster: Cluster, apart: int) -> Callable[[], bool]:
    """Whether everybody knows only those of its own side to be active."""

    def parted() -> bool:
        known = [site.engine.num_members + 1 for site in cluster.sites.values()]
        return sum(known) <= apart**2 + (len(known) - apart) ** 2

    return parted
