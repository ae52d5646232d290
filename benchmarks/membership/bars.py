"""What membership must reach (the numbers are those of the design)."""

from __future__ import annotations

from benchmarks.membership.datagrams import NAME
from benchmarks.membership.questions import SIZES
from benchmarks.membership.trials import MESSAGES, PERIODS, REMAIN
from benchmarks.results import AtMost, Bar, Counted, Needed

__all__ = ["BARS"]


def _idle() -> list[Needed]:
    found: list[Needed] = []
    for family, text, count, limit in (
        ("ping", "first failed ping ≤ 1.1 periods after a death", PERIODS, 1.1),
        ("suspicion", "first suspicion ≤ 2.1 periods after a death", PERIODS, 2.1),
        ("load", "≤ 2.2 messages a member and period", MESSAGES, 2.2),
    ):
        for members in SIZES:
            question = f"virtual.{family}.n{members}"
            found.append(Counted(9, f"{members} members: {text}", question, count, limit))
    return found


BARS: tuple[Needed, ...] = (
    *_idle(),
    Counted(
        10, "a fifth is slow: wronged ≤ 1/20 of without repairs", "virtual.slow.n50", REMAIN, 0.05
    ),
    AtMost(
        11, "≥ 20,000 packets a second, 95 % known: ≤ 50 µs", "packets.known", 50_000, beside=NAME
    ),
    Bar(11, "a packet ≤ 2.5x an empty asyncio datagram", "packets.known", NAME, 1 / 2.5),
    AtMost(11, "≥ 200,000 new members a second: ≤ 5 µs", "packets.new", 5_000),
    AtMost(12, "1,024 members for 60 periods in ≤ 20 s", "simulation.n1024", 20e9),
)
