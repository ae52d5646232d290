"""What the tests of the repairs share: an engine with some of them, and a runtime with a clock."""

from __future__ import annotations

from random import Random
from typing import Any

from holdfast.membership import (
    BroadcastHandler,
    Config,
    Membership,
    Ping,
    ProbeRandomMember,
    Repair,
    SendIndirectProbe,
)
from tests.unit.membership.stage import CODEC, ME, SIMPLE, Id, Noting, alive, packet

MS = 1_000_000
SECOND = 1000 * MS


class Timed(Noting):
    """Notes, and knows the time."""

    def __init__(self) -> None:
        super().__init__()
        self.time_ns = 1000 * SECOND

    def now_ns(self) -> int:
        return self.time_ns

    def passes(self, span_ns: int) -> None:
        self.time_ns += span_ns


def mended(
    *repairs: Repair,
    identity: Id = ME,
    config: Config = SIMPLE,
    handler: BroadcastHandler[Id] | None = None,
    seed: int = 7,
) -> Membership[Id]:
    """An engine with these repairs, and no others."""
    return Membership(
        identity,
        config,
        rng=Random(seed),
        codec=CODEC,
        repairs=frozenset(repairs),
        broadcast_handler=handler,
    )


def among(engine: Membership[Id], *others: Id) -> Timed:
    """Let it know these members, with nothing to tell; its notes begin with the first timers."""
    runtime = Timed()
    engine.apply_many([alive(other) for other in others], runtime, broadcast=False)
    return runtime


def introduce(engine: Membership[Id], runtime: Timed, *others: Id, at: Id = ME) -> None:
    """Let these members make themselves known as kin."""
    for other in others:
        engine.handle_data(packet(other, Ping(1), at, updates=[alive(other)]), runtime)


def fail_a_probe(engine: Membership[Id], runtime: Timed, config: Config = SIMPLE) -> tuple[Id, Any]:
    """A whole round without an answer, on time; whom it was for, and the next round's timer."""
    due = runtime.timers[-1][0] if runtime.timers else None
    if not isinstance(due, ProbeRandomMember):
        due = [t for t, _ in runtime.timers if isinstance(t, ProbeRandomMember)][-1]
    runtime.clear()
    engine.handle_timer(due, runtime)
    (second, rtt_ns) = next((t, d) for t, d in runtime.timers if isinstance(t, SendIndirectProbe))
    (third, period_ns) = next((t, d) for t, d in runtime.timers if isinstance(t, ProbeRandomMember))
    runtime.passes(rtt_ns)
    engine.handle_timer(second, runtime)
    runtime.passes(period_ns - rtt_ns)
    runtime.clear()
    engine.handle_timer(third, runtime)
    return second.member, third
