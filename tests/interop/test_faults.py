"""The faults of the crate, each played at real engines step by step.

The numbers are those of the specification, section 10. What was found is in README.md.
"""

from __future__ import annotations

import pytest

from tests.interop.building import PATIENCE_S
from tests.interop.driver import Answer, Driver, Real

pytestmark = pytest.mark.timeout(PATIENCE_S)

A = "127.0.0.1:8000#5"
B = "127.0.0.1:8001#1"
C = "127.0.0.1:8002#1"
D = "127.0.0.1:8003#1"


def packet(driver: Driver, header: str, tail: str = "") -> bytes:
    return bytes.fromhex(driver.codec("postcard", "encode-header", header) + tail)


def meaning(driver: Driver, data: bytes) -> str:
    """The header of a packet as text, without what is left."""
    return driver.codec("postcard", "decode-header", data.hex()).rpartition(" ")[0]


def meanings(driver: Driver, answer: Answer) -> list[str]:
    return [meaning(driver, sent.data) for sent in answer.sent]


def fail_a_probe(real: Real) -> Answer:
    """One whole round to a member that does not answer, and the verdict on it."""
    begun = real("timer", "probe", 0)
    real("timer", *begun.timers[0].split())
    return real("timer", "probe", 0)


def let_in(driver: Driver, *settings: str) -> Real:
    """A node that knows B, and has its timers at token 0."""
    real = driver.node(A, "postcard", *settings)
    assert real("apply-quietly", f"{B}/0/a").notified == [f"up {B}", "active"]
    return real


def test_1_a_suspect_that_refuted_is_told_that_it_is_down(driver: Driver) -> None:
    a, b = let_in(driver, "lan=10"), driver.node(B, "postcard", "lan=10")
    b("apply-quietly", f"{A}/0/a")

    verdict = fail_a_probe(a)
    assert a.state() == {f"{B}/0/s"}
    [suspicion] = [timer for timer in verdict.timers if timer.startswith("down")]
    assert suspicion == f"down {B} 0 0"

    # The next probe's ping carries the suspicion; B refutes at once, and A believes it.
    [ping] = verdict.sent
    refutation = b.hand(ping.data)
    for sent in refutation.sent:
        a.hand(sent.data)
    assert a.state() == {f"{B}/1/a"}

    # The suspicion's time is over. It is void, and B hears that it is down all the same.
    fired = a("timer", *suspicion.split())
    assert a.state() == {f"{B}/1/a"}
    assert fired.notified == []
    assert meanings(driver, fired) == [f"{A} 0 {B} turn-undead"]

    # B gives its identity up, though nobody thinks it down; A sees another member.
    renewed = "127.0.0.1:8001#2"
    forced = b.hand(fired.sent[0].data)
    assert forced.notified == [f"rejoin {renewed}"]
    assert meanings(driver, forced) == [f"{renewed} 0 {A} gossip"]
    assert a.hand(forced.sent[0].data).notified == [f"rename {B} {renewed}"]


def test_1_it_is_defunct_if_it_cannot_renew(driver: Driver) -> None:
    last = f"127.0.0.1:8001#{2**64 - 1}"
    b = driver.node(last, "postcard")
    b("apply-quietly", f"{A}/0/a")
    assert b.hand(packet(driver, f"{A} 0 {last} turn-undead")).notified == ["defunct"]


def test_1_it_takes_notify_down_members(driver: Driver) -> None:
    a = let_in(driver, "simple")
    fail_a_probe(a)
    a.hand(packet(driver, f"{B} 1 {A} gossip", "0000"))
    assert a.state() == {f"{B}/1/a"}
    assert a("timer", "down", B, 0, 0).effects == []


def test_1_it_is_told_again_for_each_timer(driver: Driver) -> None:
    """Also after it is down, and even after another identity has taken its address."""
    a = let_in(driver, "lan=10")
    a("apply-quietly", f"{B}/0/d", f"{C}/0/a")
    assert meanings(driver, a("timer", "down", B, 0, 0)) == [f"{A} 0 {B} turn-undead"]
    a("apply-quietly", "127.0.0.1:8001#2/0/a")
    assert meanings(driver, a("timer", "down", B, 0, 0)) == [f"{A} 0 {B} turn-undead"]
    assert "127.0.0.1:8001#2/0/a" in a.state()
    assert meanings(driver, a("timer", "down", D, 0, 0)) == []  # no record of that address


@pytest.mark.parametrize("state", ["a", "s", "d"])
def test_2_ones_own_past_becomes_a_member_to_announce_to(driver: Driver, state: str) -> None:
    """It is down at incarnation 0, whatever was heard of it."""
    past = "127.0.0.1:8000#4"
    a = let_in(driver, "lan=10")
    learned = a("apply", f"{past}/7/{state}")
    assert learned.timers == [f"remove {past}"]
    assert learned.notified == []
    assert learned.updates == 1
    assert a.state() == {f"{B}/0/a", f"{past}/0/d"}
    called = a("timer", "announce-down", 0)
    assert meanings(driver, called) == [f"{A} 0 {past} announce"]
    assert a.hand(called.sent[0].data).error == "DataFromOurselves"


def test_3_two_members_that_lost_each_other_never_call_again(driver: Driver) -> None:
    a, b = let_in(driver, "lan=2"), driver.node(B, "postcard", "lan=2")
    running = {a: [f"{kind} 0" for kind in ("probe", "announce", "announce-down", "gossip")]}
    running[b] = b("apply-quietly", f"{A}/0/a").timers
    assert sorted(running[a]) == sorted(running[b])
    for here, there in ((a, B), (b, A)):
        verdict = fail_a_probe(here)
        ended = here("timer", "down", there, 0, 0)
        assert ended.notified == [f"down {there}", "idle"]
        for timer in [*running[here], *verdict.timers, *ended.timers]:
            if not timer.startswith("remove"):
                assert here("timer", *timer.split()).effects == []
        assert here.state() == {f"{there}/0/d"}  # it knows whom it could call
        assert here("gossip").effects == []


def test_4_after_a_change_of_identity_no_timer_runs(driver: Driver) -> None:
    later = "127.0.0.1:8000#6"
    a = let_in(driver, "lan=10")
    changed = a("change", later)
    assert [line.split()[0] for line in changed.effects] == ["send"]  # one gossip, perhaps lost
    for kind in ("probe", "announce", "announce-down", "gossip"):
        assert a("timer", kind, 0).effects == []
        # And nobody has submitted one with the new token.
        if kind != "probe":
            assert a("timer", kind, 1).effects == []
    assert a("timer", "probe", 1).error == "NotConnected"
    assert a.state() == {f"{B}/0/a"}  # there is somebody to probe
    heard = a.hand(packet(driver, f"{B} 0 {later} gossip", "0000"))
    assert heard.notified == ["active"]
    assert heard.timers == ["probe 1", "announce 1", "announce-down 1", "gossip 1"]


def test_5_an_item_that_never_fits_stays_for_ever(driver: Driver) -> None:
    a = let_in(driver, "lan=10", "items=on")
    longest = 1400 - 26 - 2 - 2  # the least header of a gossip here is 26 bytes: more never fits
    added = a("add", "6101" + "00" * (longest - 2 + 13))
    assert (added.error, added.said) == (None, "true")
    for _ in range(300):
        repeated = a("timer", "gossip", 0)
        assert [len(sent.data) < 40 for sent in repeated.sent] == [True]  # nothing but a header
    assert repeated.items == 1
    assert a("add", "6201" + "00" * 1399).error == "DataTooBig"


def test_5_so_does_an_update_that_never_fits(driver: Driver) -> None:
    header = len(packet(driver, f"{A} 0 {B} gossip"))
    a = let_in(driver, "lan=10", f"packet={header + 2 + 5}")
    a("apply", f"{C}/0/a")
    for _ in range(300):
        repeated = a("timer", "gossip", 0)
        assert {len(sent.data) for sent in repeated.sent} == {header + 2}
    assert repeated.updates == 1


def test_6_another_packet_size_trips_an_assertion_at_the_next_packet(driver: Driver) -> None:
    for size in ("packet=1401", "packet=9000", "packet=1399"):
        a = let_in(driver, "lan=10")
        assert a("set", size).error is None
        answer = a.may_panic("gossip")
        assert answer.panicked
        assert "capacity" in answer.said


def test_7_down_is_believed_at_any_incarnation(driver: Driver) -> None:
    a = let_in(driver, "simple")
    a("apply-quietly", f"{B}/9/a", f"{C}/0/a", f"{B}/0/d")
    assert a.state() == {f"{B}/0/d", f"{C}/0/a"}
    assert a("apply-quietly", f"{B}/65535/a").effects == []


def test_7_anybody_can_have_packets_sent_to_anybody(driver: Driver) -> None:
    a = let_in(driver, "simple")
    asked = a.hand(packet(driver, f"{B} 0 {A} ping-req {D} 3", "0000"))
    assert meanings(driver, asked) == [f"{A} 0 {D} indirect-ping {B} 3"]
    assert D not in " ".join(a.state())


def test_10_in_the_smallest_cluster_news_is_told_once(driver: Driver) -> None:
    for expected, size in ((1, 1), (1, 2), (2, 3), (3, 5), (4, 10)):
        assert f"transmissions={expected} " in driver.ask("settings", f"lan={size}").said


def test_14_after_256_generations_an_old_timer_is_taken_for_a_new_one(driver: Driver) -> None:
    a = let_in(driver, "simple")
    for bump in range(6, 6 + 255):
        a("change", f"127.0.0.1:8000#{bump}")
    a.hand(packet(driver, f"{B} 0 127.0.0.1:8000#260 gossip", "0000"))
    assert a("timer", "probe", 0).effects == []
    a("change", "127.0.0.1:8000#261")
    a.hand(packet(driver, f"{B} 0 127.0.0.1:8000#261 gossip", "0000"))
    assert meanings(driver, a("timer", "probe", 0)) == [f"127.0.0.1:8000#261 0 {B} ping 1"]


def test_15_a_suspect_that_was_loaded_stays_one(driver: Driver) -> None:
    a = driver.node(A, "postcard", "simple")
    loaded = a("apply", f"{B}/3/s")
    assert loaded.notified == [f"up {B}", "active"]
    assert loaded.timers == ["probe 0"]
    # Only a failed probe starts its time.
    assert f"down {B} 3 0" in fail_a_probe(a).timers
