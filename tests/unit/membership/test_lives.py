"""A wall clock that went back: a new life with a lower generation than the last one's."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from holdfast.clock import SystemClock
from holdfast.membership import Config, Node, talk
from holdfast.membership.lives import LEAP_FIRST_MS, SOON_NS, Lives
from holdfast.membership.session import Session
from tests.unit.membership.net import CODEC, MS, Net, S, names
from tests.unit.membership.nodes import names as names_of
from tests.unit.membership.nodes import node, run, together, until

B = ("10.0.0.1", 2)
HOUR = 3600
YEARS = 10 * 365 * 24 * HOUR
SILENT = replace(Config.local(), notify_down_members=False)


def reborn(net: Net, back_s: float, *, marked: bool = True, config: Config) -> Session:
    """B again, on a machine whose clock went back."""
    realtime_ns = 1_700_000_000 * S + net.now_ns - round(back_s * S)
    session = Session(
        "b2",
        Node(*B, talk.generation(realtime_ns, marked=marked)),
        config,
        rng=Random(4),
        codec=CODEC,
        seeds=("10.0.0.1:1",),
        marked=marked,
    )
    net.nodes[B] = session
    net.told[B] = []
    session.start(net.now_ns)
    net.carry_out(B)
    return session


@pytest.mark.parametrize("config", [Config.local(), SILENT], ids=["tells the down", "does not"])
@pytest.mark.parametrize("buried", [False, True], ids=["at once", "when it was declared down"])
@pytest.mark.parametrize("back_s", [0.2, 60, HOUR, YEARS])
def test_a_new_life_from_the_past_is_let_in_after_a_few_packets(
    back_s: float, buried: bool, config: Config
) -> None:
    net = Net()
    a = net.add("a", 1, config=config)
    b, c = (net.add(name, port, "10.0.0.1:1", config=config) for name, port in (("b", 2), ("c", 3)))
    net.run(5)
    last = b.engine.identity
    net.kill(b)
    net.run(40 if buried else 0.1)
    assert ("b" in names(a)) is not buried
    net.sent.clear()
    again = reborn(net, back_s, config=config)
    net.run(1)
    assert names(a) == names(again) == names(c) == ["a", "b2", "c"]
    assert again.engine.identity.win_addr_conflict(last)
    assert talk.is_ours(again.engine.identity)
    assert len(net.sent) < 250
    net.sent.clear()
    rejoins = again.counts["rejoins"]
    net.run(60)
    assert names(a) == names(again) == names(c) == ["a", "b2", "c"]
    assert again.counts["rejoins"] == rejoins
    assert rejoins <= 17
    net.kill(again)
    net.run(40)
    healthy = reborn(net, 0, config=config)
    net.run(1)
    assert names(a) == names(healthy) == ["a", "b2", "c"], "having leapt too far costs nothing"


def test_on_the_wire_of_the_crate_it_is_the_same() -> None:
    net = Net()
    a = net.add("a", 1, marked=False)
    b = net.add("b", 2, "10.0.0.1:1")  # a life of ours, and so far ahead
    net.run(5)
    last = b.engine.identity
    net.kill(b)
    again = reborn(net, 0, marked=False, config=Config.local())
    net.run(2)
    assert [member.node for member in a.members()[1:]] == [again.engine.identity]
    assert again.engine.identity.win_addr_conflict(last)
    assert not talk.is_ours(again.engine.identity)


def test_a_wrong_verdict_now_and_then_is_no_reason_to_leap() -> None:
    lives = Lives()
    one = Node(*B, 1000)
    assert lives.refused(one, 0) is None
    assert lives.refused(one, SOON_NS + 1) is None
    assert lives.refused(one, SOON_NS + 2) == Node(*B, 1000 + LEAP_FIRST_MS)
    assert lives.refused(one, SOON_NS + 3) == Node(*B, 1000 + 4 * LEAP_FIRST_MS)
    assert lives.refused(one, 3 * SOON_NS) is None


def test_leaps_end_with_the_numbers_and_pass_by_the_mark() -> None:
    lives = Lives()
    last = Node(*B, 2**64 - 1)
    assert [lives.refused(last, 0) for _ in range(100)] == [None] * 100
    assert lives._refusals < 40
    lives = Lives()
    below = Node(*B, (talk.MARK << talk.MARK_BITS) - 1)
    assert lives.refused(below, 0) is None
    assert lives.refused(below, 0) == Node(*B, (talk.MARK + 1) << talk.MARK_BITS)


class Past(SystemClock):
    """The date is of a day ago."""

    def realtime_ns(self) -> int:
        return super().realtime_ns() - 24 * HOUR * 1000 * MS


def test_a_machine_that_starts_in_the_past_is_a_member_soon() -> None:
    async def main() -> None:
        async with together(3) as (a, b, c):
            address, last = b.address, b.members()[0].node
            b.close()
            again = node("n1", a, bind=address)
            again._clock = Past()
            async with again:
                await until(lambda: names_of(a) == names_of(c) == ["n0", "n1", "n2"])
                await until(lambda: again.members()[0].node.win_addr_conflict(last))
                await until(lambda: names_of(again) == ["n0", "n1", "n2"])
                assert again.counts["rejoins"] <= 12

    run(main)
