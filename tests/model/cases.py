"""What is explored: the protocol with all safeguards, and with each of them missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.model import bell
from tests.model.explorer import Report, Scenario, explore
from tests.model.memory import Buffered, Interleaved, Memory, Weak
from tests.model.safeguards import Missing, Safeguard
from tests.model.scenarios import A_IF_B, B_IF_A, BOTH, ONLY_B, commits, joint, numbers

Build = Callable[..., Scenario]


@dataclass(frozen=True)
class Whole:
    """All safeguards in place: nothing is found, and all states were visited."""

    title: str
    build: Build
    memory: type[Memory]
    long: bool = False  # with --full only

    def run(self) -> Report:
        return explore(self.build(self.title), self.memory())


@dataclass(frozen=True)
class Ablation:
    """Some safeguards missing, and the invariant that is then found broken.

    Attributes:
        breaks: The invariant; empty: nothing is found, for another safeguard does the same.
    """

    missing: Missing
    build: Build
    memory: type[Memory]
    breaks: str

    @property
    def title(self) -> str:
        return "; ".join(sorted(safeguard.title for safeguard in self.missing))

    def run(self) -> Report:
        return explore(self.build(self.title, without=self.missing), self.memory())


def c(*counts: int, slots: int = 3, reads: int = 1, mortal: bool = True) -> Build:
    return partial(commits, counts=counts, slots=slots, reads=reads, mortal=mortal)


ONE_JOINT = partial(joint, plans=[BOTH])
JOINT_AND_SINGLE = partial(joint, plans=[BOTH], singles=[0], snapshot=False)
SMALL_PAIR = partial(joint, plans=[BOTH, BOTH], snapshot=False, descriptors=2, attempts=1)
PAIR = partial(joint, plans=[BOTH, BOTH], snapshot=False, descriptors=2)
SMALL_SKEW = partial(joint, plans=[A_IF_B, B_IF_A], snapshot=False, descriptors=2, attempts=1)
SKEW = partial(joint, plans=[A_IF_B, B_IF_A], snapshot=False, descriptors=2)
STALE = partial(joint, plans=[BOTH, ONLY_B], collects=True, snapshot=False)
COLLECTED = partial(joint, plans=[BOTH], collects=True)
TWO_SLOTS = partial(joint, plans=[BOTH], singles=[0], slots=2, mortal=False)

WHOLE = [
    Whole("2 + 1 commits, 1 read", c(2, 1), Interleaved),
    Whole("2 + 1 commits of 2 slots, 1 read", c(2, 1, slots=2), Interleaved),
    Whole("2 + 1 commits of 2 slots, 1 read", c(2, 1, slots=2), Buffered),
    Whole("1 + 1 + 1 commits", c(1, 1, 1, reads=0), Interleaved),
    Whole("1 + 1 commits, 1 read", c(1, 1), Buffered),
    Whole("1 + 1 commits, 1 read", c(1, 1), Weak),
    Whole("2 commits of 2 slots, 2 reads", c(2, slots=2, reads=2), Weak),
    Whole("a dead owner, 2 + 2 commits, a late 1", partial(numbers, unique=True), Interleaved),
    Whole("a joint commit, a snapshot", ONE_JOINT, Interleaved),
    Whole("a joint commit, a snapshot", ONE_JOINT, Buffered),
    Whole("a joint commit, a snapshot", partial(ONE_JOINT, moments=False), Weak),
    Whole("a joint commit, a single one", JOINT_AND_SINGLE, Interleaved),
    Whole("a joint commit, a single one", JOINT_AND_SINGLE, Buffered),
    Whole("a joint and a single commit of 2 slots, a snapshot", TWO_SLOTS, Interleaved),
    Whole("a joint commit, a snapshot, clearing up", COLLECTED, Interleaved),
    Whole("a joint commit, clearing up", partial(COLLECTED, snapshot=False), Weak),
    Whole("a joint commit, one of B alone, clearing up", STALE, Interleaved),
    Whole("2 joint commits, 1 attempt each", SMALL_PAIR, Interleaved),
    Whole("A if B, and B if A, 1 attempt each", SMALL_SKEW, Interleaved),
    Whole("2 + 2 rings", partial(bell.scenario, committers=2, commits=2), Interleaved),
    Whole("a joint commit that rings, settled by another", bell.joint_scenario, Interleaved),
    Whole("a joint commit that rings, settled by another", bell.joint_scenario, Buffered),
    Whole("1 + 1 rings", partial(bell.scenario, committers=2), Buffered),
    Whole("2 + 2 commits, 1 read", c(2, 2), Interleaved, long=True),
    Whole("2 + 1 commits, 1 read", c(2, 1), Buffered, long=True),
    Whole("2 + 1 commits, 1 read", c(2, 1), Weak, long=True),
    Whole("2 + 1 commits of 2 slots, 1 read", c(2, 1, slots=2), Weak, long=True),
    Whole("a joint commit, a single one", partial(JOINT_AND_SINGLE, mortal=False), Weak, long=True),
    Whole(
        "a joint and a single commit, a snapshot",
        partial(joint, plans=[BOTH], singles=[0]),
        Interleaved,
        long=True,
    ),
    Whole(
        "2 joint commits with 1 descriptor, clearing up",
        partial(joint, plans=[BOTH, BOTH], collects=True, snapshot=False),
        Interleaved,
        long=True,
    ),
    Whole("2 joint commits, 2 attempts each", PAIR, Interleaved, long=True),
    Whole("A if B, and B if A, 2 attempts each", SKEW, Interleaved, long=True),
]


def cut(
    safeguard: Safeguard,
    build: Build,
    breaks: str,
    memory: type[Memory] = Interleaved,
    *others: Safeguard,
) -> Ablation:
    return Ablation(frozenset({safeguard, *others}), build, memory, breaks)


REUSE = c(2, slots=2)
RINGS = partial(bell.scenario, committers=2)
WEAK_PAIR = partial(ONE_JOINT, moments=False)

ABLATIONS = [
    cut(Safeguard.TAG_AFTER, REUSE, "bytes"),
    cut(Safeguard.TAG_BEFORE, REUSE, "", Weak),
    cut(Safeguard.TAG_BEFORE, ONE_JOINT, ""),
    cut(Safeguard.COPY_FENCE, REUSE, "bytes", Weak),
    cut(Safeguard.HEAD_ACQUIRE, REUSE, "damage", Weak),
    cut(Safeguard.CLAIM_SECOND_LOOK, c(1, 1), "damage"),
    cut(Safeguard.OWNER_CHECK, c(1, 1, slots=2), "damage"),
    cut(Safeguard.UNIQUE_NUMBERS, partial(numbers, unique=False), "damage"),
    cut(Safeguard.FILLING_MARK, REUSE, "bytes"),
    cut(Safeguard.FILLING_FENCE, REUSE, "bytes", Weak),
    cut(Safeguard.FILLING_RELEASE, REUSE, "damage", Weak),
    cut(Safeguard.TAG_RELEASE, REUSE, "", Weak),
    cut(Safeguard.HEAD_RELEASE, REUSE, "damage", Weak),
    cut(Safeguard.TAG_RELEASE, REUSE, "bytes", Weak, Safeguard.HEAD_RELEASE, Safeguard.TAG_BEFORE),
    cut(Safeguard.PUBLISH_VALIDATES, c(1, 1), "commits"),
    cut(Safeguard.RELEASE_LAST, c(1, 1), "damage"),
    cut(Safeguard.OWNER_RELEASE, c(1, 1), "damage", Weak),
    cut(Safeguard.PENDING_SECOND_LOOK, TWO_SLOTS, "bytes"),
    cut(Safeguard.PENDING_ACQUIRE, partial(TWO_SLOTS, snapshot=False, reads=1), "damage", Weak),
    cut(Safeguard.STATUS_SEQUENCE, STALE, "bytes"),
    cut(Safeguard.STATUS_ACQUIRE, WEAK_PAIR, "half", Weak),
    cut(Safeguard.INSTALL_RELEASE, WEAK_PAIR, "", Weak),
    cut(Safeguard.DECISION_RELEASE, WEAK_PAIR, "half", Weak),
    cut(Safeguard.DECISION_RELEASE, WEAK_PAIR, "damage", Weak, Safeguard.INSTALL_RELEASE),
    cut(Safeguard.DECIDE_LAST, ONE_JOINT, "commits"),
    cut(Safeguard.DECISION_VALIDATES, JOINT_AND_SINGLE, "commits"),
    cut(Safeguard.CONDITIONS_INSTALLED, SMALL_SKEW, "condition"),
    cut(Safeguard.SNAPSHOT_TWICE, ONE_JOINT, "half"),
    cut(Safeguard.UNIQUE_PENDING, partial(JOINT_AND_SINGLE, mortal=False), "commits"),
    cut(Safeguard.ABORT_FIRST, JOINT_AND_SINGLE, "commits"),
    cut(Safeguard.ROLL_FORWARD, JOINT_AND_SINGLE, "commits"),
    cut(Safeguard.SETTLE_BEFORE_FREE, ONE_JOINT, "recycled"),
    cut(
        Safeguard.FREE_OWN_USE,
        partial(joint, plans=[BOTH, BOTH], collects=True, snapshot=False, mortal=False),
        "recycled",
    ),
    cut(Safeguard.NOTE_BEFORE_HEADS, COLLECTED, "recycled"),
    cut(Safeguard.NOTE_ACQUIRE, partial(COLLECTED, snapshot=False), "recycled", Weak),
    cut(Safeguard.CLEARING_VALIDATES, COLLECTED, "recycled"),
    cut(Safeguard.RING_FIRST, RINGS, "bell"),
    cut(Safeguard.TWO_COUNTERS, RINGS, "bell"),
    cut(Safeguard.WANT_BEFORE_LOOK, RINGS, "bell"),
    cut(Safeguard.DRAIN_BEFORE_WANT, RINGS, "bell"),
    cut(Safeguard.DEATH_NOTICE, RINGS, "bell"),
    cut(Safeguard.STRICT_PUBLISH, partial(RINGS, fenced=True), "bell", Weak),
    cut(Safeguard.STRICT_WANT, partial(RINGS, fenced=True), "", Weak),
]
__all__ = ["ABLATIONS", "WHOLE", "Ablation", "Whole"]
