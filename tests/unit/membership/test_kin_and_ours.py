"""Two things that one can know of a peer: that its engine is kin, and that its session is ours."""

from __future__ import annotations

from random import Random

from holdfast.membership import ALL_REPAIRS, Config, Node, notes, talk
from holdfast.membership.session import Session
from tests.unit.membership.net import CODEC, LINGER_NS, Net, names

STRANGE = ("10.0.0.1", 9)


def test_kin_without_a_session_of_ours_gets_notes_and_no_letters() -> None:
    """An engine with all repairs, in a program that has items of its own."""
    net = Net()
    a, b = net.add("a", 1), net.add("b", 2, "10.0.0.1:1")
    stranger = Session(
        "engine",
        Node(*STRANGE, 1_700_000_000),
        Config.local(),
        rng=Random(4),
        codec=CODEC,
        seeds=("10.0.0.1:1",),
        marked=False,
        repairs=ALL_REPAIRS,
    )
    net.nodes[STRANGE], net.told[STRANGE] = stranger, []
    stranger.start(net.now_ns)
    net.carry_out(STRANGE)
    net.run(6)
    assert stranger.engine.identity in a.engine._local.kin
    assert not talk.is_ours(stranger.engine.identity)
    assert names(a) == names(b) == ["10.0.0.1:9", "a", "b"]
    net.sent.clear()
    a.broadcast("news", b"", net.now_ns)
    assert b.prepare_sleep(net.now_ns, 3600 * 10**9, LINGER_NS)
    for addr in (("10.0.0.1", 1), ("10.0.0.1", 2)):
        net.carry_out(addr)
    net.run(2)
    got = [data for _, to, data in net.sent if to == STRANGE]
    assert [data for data in got if notes.MAGIC in data]
    assert not [data for data in got if talk.TAG in data]
    assert stranger.counts["broadcast_failed"] == 0
    del net.nodes["10.0.0.1", 2]
    net.run(60)
    assert names(stranger) == ["10.0.0.1:1", "10.0.0.1:2", "engine"], "it knows that b sleeps"


def test_whoever_is_ours_has_a_name_before_it_is_known_to_be_kin() -> None:
    net = Net()
    a = net.add("a", 1)
    b = net.add("b", 2, "10.0.0.1:1")
    net.run(0.1)
    assert names(a) == ["a", "b"]
    assert b.engine.identity not in a.engine._local.kin
