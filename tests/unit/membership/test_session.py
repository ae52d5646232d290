"""The decisions of a node: whom to call, what to tell, how to go. No sockets, no clock."""

from __future__ import annotations

from random import Random

import pytest

from holdfast.errors import InvalidArgument
from holdfast.membership import ALL_REPAIRS, Node, talk
from holdfast.membership import mailbox as mailbox_module
from holdfast.membership import roster as roster_module
from holdfast.membership import session as session_module
from holdfast.membership.changes import (
    BACKLOG_MAX,
    ClusterEvent,
    MemberJoined,
    Missed,
    Reader,
)
from holdfast.membership.session import Session
from holdfast.membership.stages import TABLE, Event, Stage
from tests.unit.membership.net import LINGER_NS, MS, Address, Net, S, names


@pytest.fixture
def net() -> Net:
    return Net()


# -- joining --------------------------------------------------------------------------------------


def test_two_nodes_know_each_other_by_name_and_tags(net: Net) -> None:
    a = net.add("a", 1, tags={"role": "db"})
    b = net.add("b", 2, "10.0.0.1:1")
    net.run(1)
    assert (a.stage, b.stage) == (Stage.JOINED, Stage.JOINED)
    assert [(m.name, m.tags, m.me) for m in b.members()] == [
        ("b", {}, True),
        ("a", {"role": "db"}, False),
    ]
    assert net.changes(a) == [("MemberJoined", "b")]


def test_a_node_without_seeds_waits_and_sends_nothing(net: Net) -> None:
    net.add("a", 1)
    net.run(100)
    assert net.sent == []


def test_calls_are_less_and_less_often_and_never_end(net: Net) -> None:
    a = net.add("a", 1, "10.0.0.1:9")
    net.run(10)
    first = a.counts["calls"]
    net.run(10)
    second = a.counts["calls"] - first
    assert 5 < first < 12
    assert second < first / 2
    net.run(300)
    assert a.counts["calls"] - first - second >= 300 / 30


def test_a_dead_seed_costs_nothing(net: Net) -> None:
    net.add("a", 1)
    b = net.add("b", 2, "10.0.0.1:9", "10.0.0.1:1", "nobody:1")
    net.run(0.1)
    assert b.stage is Stage.JOINED


def test_ones_own_address_among_the_seeds_is_not_called(net: Net) -> None:
    seeds = ("10.0.0.1:1", "10.0.0.1:2")
    a, b = net.add("a", 1, *seeds), net.add("b", 2, *seeds)
    net.run(2)
    assert names(a) == names(b) == ["a", "b"]
    assert not any(source == to for source, to, _ in net.sent)


def test_a_name_is_looked_up_at_each_call_until_it_leads_somewhere(net: Net) -> None:
    b = net.add("b", 2, "seed.example:1")
    net.run(2)
    assert names(b) == ["b"]
    assert net.looked_up.count("seed.example:1") > 2
    assert b.counts["unresolved"] == net.looked_up.count("seed.example:1")
    net.names["seed.example:1"] = [("10.0.0.1", 1)]
    net.add("a", 1)
    net.run(5)
    assert b.stage is Stage.JOINED


def test_two_clusters_that_started_apart_are_joined_by_their_seeds(net: Net) -> None:
    apart = {frozenset({1, 3}), frozenset({1, 4}), frozenset({2, 3}), frozenset({2, 4})}
    net.cut = lambda source, to: frozenset({source[1], to[1]}) in apart
    a = net.add("a", 1)
    net.add("b", 2, "10.0.0.1:1")
    c = net.add("c", 3, "10.0.0.1:1")
    net.add("d", 4, "10.0.0.1:3")
    net.run(5)
    assert (names(a), names(c)) == (["a", "b"], ["c", "d"])
    net.cut = lambda _source, _to: False
    net.run(45)
    assert names(a) == names(c) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("seed", ["", "a", "a:", ":1", "a:b", "a:70000", "::1:1", "[::1]", "a:-1"])
def test_a_seed_that_is_no_address_is_refused(net: Net, seed: str) -> None:
    with pytest.raises(InvalidArgument):
        net.add("a", 1, seed)


# -- names ----------------------------------------------------------------------------------------


def is_letter(data: bytes) -> bool:
    return talk.TAG in data


def test_whoever_does_not_say_its_name_is_told_of_under_its_address(net: Net) -> None:
    a = net.add("a", 1)
    b = net.add("b", 2, "10.0.0.1:1")
    net.cut = lambda source, _to: source == ("10.0.0.1", 2) and is_letter(net.sent[-1][2])
    net.run(1)
    assert net.changes(a) == []
    net.run(3)
    assert net.changes(a) == [("MemberJoined", "10.0.0.1:2")]
    net.cut = lambda _source, _to: False
    net.run(20)
    assert net.changes(a) == [("MemberJoined", "10.0.0.1:2"), ("MemberUpdated", "b")]
    assert names(b) == ["a", "b"]


def test_a_name_that_was_lost_on_the_way_is_asked_for_again(net: Net) -> None:
    a = net.add("a", 1)
    lost = [3]

    def cut(_source: Address, _to: Address) -> bool:
        if is_letter(net.sent[-1][2]) and lost[0]:
            lost[0] -= 1
            return True
        return False

    net.cut = cut
    net.add("b", 2, "10.0.0.1:1")
    net.run(1.9)
    assert lost == [0]
    assert net.changes(a) == [("MemberJoined", "b")]


def test_a_node_of_the_crate_gets_no_letters(net: Net) -> None:
    a = net.add("a", 1)
    crate = net.add("crate", 2, "10.0.0.1:1", marked=False)
    net.run(5)
    a.broadcast("news", b"x", net.now_ns)
    net.carry_out(("10.0.0.1", 1))
    net.run(5)
    assert names(a) == ["10.0.0.1:2", "a"]
    assert names(crate) == ["10.0.0.1:1", "crate"]
    assert not any(is_letter(data) for _, _, data in net.sent)
    assert crate.counts["broadcast_failed"] == 0
    stranger = crate.engine.identity
    a._mailbox.hellos.append((stranger, talk.Hello("x", {}, answer=True)))
    a._settle()
    assert a.take().sends == [], "it does not understand our answer, whatever it has sent"
    a.leave(net.now_ns, LINGER_NS)
    net.carry_out(("10.0.0.1", 1))
    net.run(1)
    assert names(crate) == ["crate"]
    assert not any(is_letter(data) for _, _, data in net.sent)


def test_a_member_of_ours_on_the_wire_of_the_crate_says_nothing_of_its_own(net: Net) -> None:
    crates = net.add("a", 1, marked=False)
    assert crates.engine.repairs < ALL_REPAIRS
    b = net.add("b", 2, "10.0.0.1:1", marked=False)
    net.run(3)
    assert names(b) == ["10.0.0.1:1", "b"]
    assert not any(is_letter(data) for _, _, data in net.sent)


def test_a_name_of_an_earlier_life_is_not_taken_for_the_present_one(net: Net) -> None:
    a, b, _ = three(net)
    before = Node("10.0.0.1", 2, b.engine.identity.generation - 1)
    assert a.roster.hello(before, "old", {}, net.now_ns) == []
    assert names(a) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "tags"), [("", {}), ("a\nb", {}), ("a", {"": "x"}), ("a", {"k": "v" * 600})]
)
def test_names_and_tags_that_cannot_travel_are_refused(
    net: Net, name: str, tags: dict[str, str]
) -> None:
    with pytest.raises(InvalidArgument):
        net.add(name, 1, tags=tags)


# -- ends -----------------------------------------------------------------------------------------


def three(net: Net) -> tuple[Session, Session, Session]:
    a = net.add("a", 1)
    b, c = (net.add(name, port, "10.0.0.1:1") for name, port in (("b", 2), ("c", 3)))
    net.run(3)
    assert names(a) == names(b) == names(c) == ["a", "b", "c"]
    return a, b, c


def test_whoever_stops_without_a_word_has_failed(net: Net) -> None:
    a, b, c = three(net)
    net.kill(b)
    net.run(20)
    assert net.changes(a)[-1] == net.changes(c)[-1] == ("MemberFailed", "b")


def test_whoever_says_farewell_has_left(net: Net) -> None:
    a, b, c = three(net)
    b.leave(net.now_ns, LINGER_NS)
    net.carry_out(("10.0.0.1", 2))
    net.run(1)
    assert b.stage is Stage.LEFT
    for other in (a, c):
        assert net.changes(other)[-1] == ("MemberLeft", "b")
        assert names(other) == ["a", "c"]
    net.run(60)
    assert net.changes(a)[-1] == ("MemberLeft", "b"), "it came back"


def test_a_farewell_survives_the_loss_of_all_but_its_last_round(net: Net) -> None:
    a, b, _ = three(net)
    until = net.now_ns + LINGER_NS // 2
    net.cut = lambda source, _to: source == ("10.0.0.1", 2) and net.now_ns < until
    b.leave(net.now_ns, LINGER_NS)
    net.carry_out(("10.0.0.1", 2))
    net.run(0.5)
    assert net.changes(a)[-1] == ("MemberLeft", "b")


def test_whoever_leaves_says_nothing_else_and_hears_nothing(net: Net) -> None:
    a, b, _ = three(net)
    net.sent.clear()
    b.leave(net.now_ns, 10 * S)
    net.carry_out(("10.0.0.1", 2))
    net.run(9)
    said = [data for source, _, data in net.sent if source == ("10.0.0.1", 2)]
    assert len(said) == 2 * session_module.FAREWELL_ROUNDS, "two listeners, and no other packet"
    assert all(is_letter(data) for data in said)
    assert b.counts["rejoins"] == 0
    assert names(a) == ["a", "c"]
    b.handle_data(talk.ask(1), ("10.9.9.9", 9), net.now_ns)
    assert b.take().sends == []


def test_a_farewell_to_some_reaches_all(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "FAREWELL_FANOUT", 1)
    sessions = [net.add("n0", 1)]
    sessions += [net.add(f"n{at}", at + 1, "10.0.0.1:1") for at in range(1, 10)]
    net.run(3)
    sessions[4].leave(net.now_ns, LINGER_NS)
    net.carry_out(("10.0.0.1", 5))
    net.run(3)
    for at, session in enumerate(sessions):
        if at != 4:
            assert net.changes(session)[-1] == ("MemberLeft", "n4")


def test_alone_there_is_nobody_to_say_farewell_to(net: Net) -> None:
    a = net.add("a", 1, "10.0.0.1:9")
    a.leave(net.now_ns, 10 * S)
    assert a.stage is Stage.LEFT


def test_a_new_life_at_the_same_address_takes_over_at_once(net: Net) -> None:
    a, b, c = three(net)
    net.kill(b)
    net.run(0.5)
    net.add("b2", 2, "10.0.0.1:1")
    net.run(2)
    for other in (a, c):
        assert names(other) == ["a", "b2", "c"]
        assert ("MemberFailed", "b") not in net.changes(other)
        assert net.changes(other)[-1] == ("MemberUpdated", "b2")


def test_a_new_life_after_the_end_of_the_old_one_joins_anew(net: Net) -> None:
    a, b, _ = three(net)
    net.kill(b)
    net.run(20)
    net.add("b", 2, "10.0.0.1:1")
    net.run(2)
    assert net.changes(a)[-2:] == [("MemberFailed", "b"), ("MemberJoined", "b")]


# -- partitions -----------------------------------------------------------------------------------


def test_two_nodes_that_lost_each_other_find_each_other_again(net: Net) -> None:
    a = net.add("a", 1)
    b = net.add("b", 2, "10.0.0.1:1")
    net.run(3)
    net.cut = lambda _source, _to: True
    net.run(60)
    assert (a.stage, b.stage) == (Stage.CALLING, Stage.CALLING)
    assert names(a) == ["a"]
    net.cut = lambda _source, _to: False
    net.run(40)
    assert names(a) == names(b) == ["a", "b"]
    assert net.changes(a) == [("MemberJoined", "b"), ("MemberFailed", "b"), ("MemberJoined", "b")]


def test_nodes_without_seeds_find_each_other_again_too(net: Net) -> None:
    a, b, c = three(net)
    net.kill(b)
    net.run(20)
    net.cut = lambda _source, _to: True
    net.run(60)
    assert (names(a), names(c)) == (["a"], ["c"])
    c._seeds._addresses.clear()
    net.cut = lambda _source, _to: False
    net.run(40)
    assert names(a) == names(c) == ["a", "c"]


def test_nodes_that_lost_each_other_at_one_instant_do_not_call_at_one_instant(net: Net) -> None:
    for port in range(2, 22):
        net.add(f"n{port}", port, "10.0.0.1:1")
    net.sent.clear()
    due = {session.next_due() for session in net.nodes.values()}
    assert len(due) > 15


# -- events ---------------------------------------------------------------------------------------


def test_an_event_reaches_everybody_once_and_not_its_author(net: Net) -> None:
    sessions = [net.add("n0", 1)]
    sessions += [net.add(f"n{at}", at + 1, "10.0.0.1:1") for at in range(1, 8)]
    net.run(3)
    sessions[2].broadcast("deploy", b"v7", net.now_ns)
    net.carry_out(("10.0.0.1", 3))
    net.run(3)
    for at, session in enumerate(sessions):
        told = net.told[session.engine.identity.addr]
        events = [change for change in told if isinstance(change, ClusterEvent)]
        heard = [(e.member.name, e.name, e.payload) for e in events]
        assert heard == ([] if at == 2 else [("n2", "deploy", b"v7")])


def test_an_event_that_fits_no_packet_is_refused(net: Net) -> None:
    a = net.add("a", 1)
    with pytest.raises(InvalidArgument):
        a.broadcast("x", b"y" * 2000, net.now_ns)
    assert a.engine.broadcast_backlog == 0


# -- what comes in --------------------------------------------------------------------------------


def test_any_bytes_are_counted_and_harmless(net: Net) -> None:
    a, _, _ = three(net)
    rng = Random(1)
    good = [data for _, to, data in net.sent if to == ("10.0.0.1", 1)]
    for at in range(3000):
        data = bytearray(rng.choice(good))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        a.handle_data(bytes(data[: rng.randrange(len(data) + 1)]), ("10.9.9.9", at), net.now_ns)
        a.handle_data(talk.QUESTION + rng.randbytes(40), ("10.9.9.9", at), net.now_ns)
        a.handle_data(rng.randbytes(60), ("10.9.9.9", at), net.now_ns)
    a.take()
    assert a.counts["malformed_packet"] > 3000


def test_a_question_is_answered_and_its_asker_is_no_member(net: Net) -> None:
    a, _, _ = three(net)
    a.handle_data(talk.ask(77), ("10.9.9.9", 5), net.now_ns)
    [(to, data)] = a.take().sends
    nonce, members, more = talk.read_page(data)
    assert (to, nonce, more) == (("10.9.9.9", 5), 77, False)
    assert [(m.name, m.me) for m in members] == [("a", True), ("b", False), ("c", False)]
    assert names(a) == ["a", "b", "c"]


def test_an_answer_is_never_longer_than_its_question(net: Net) -> None:
    a = net.add("a", 1)
    for at in range(2, 12):
        net.add(f"n{at}", at, "10.0.0.1:1", tags={"about": "x" * 400})
    net.run(3)
    found: list[str] = []
    after, more = "", True
    while more:
        question = talk.ask(1, after)
        a.handle_data(question, ("10.9.9.9", 5), net.now_ns)
        [(_, data)] = a.take().sends
        assert len(data) <= len(question)
        _, members, more = talk.read_page(data)
        found += [member.name for member in members]
        after = members[-1].address
    assert sorted(found) == names(a)
    a.handle_data(talk.QUESTION + b"\x93\x01\xa0\xc4\x00", ("10.9.9.9", 5), net.now_ns)
    [(_, data)] = a.take().sends
    assert talk.read_page(data)[1:] == ([], True)


# -- the tables -----------------------------------------------------------------------------------


def test_every_stage_can_be_reached_and_left() -> None:
    assert {stage for stage, _ in TABLE} == set(Stage) - {Stage.LEFT}
    assert {after for after, _ in TABLE.values()} == set(Stage) - {Stage.NEW}
    assert {event for _, event in TABLE} == set(Event)


def test_generations_are_known_to_be_ours_and_grow_with_time() -> None:
    ours = Node("10.0.0.1", 1, talk.generation(1_800_000_000 * S, marked=True))
    later = Node("10.0.0.1", 1, talk.generation(1_800_000_000 * S + MS, marked=True))
    assert later.win_addr_conflict(ours)
    renewed = ours.renew()
    assert renewed is not None
    assert talk.is_ours(ours)
    assert talk.is_ours(renewed)
    for theirs in (0, 1_800_000_000, 1_800_000_000 * S, 2**64 - 1):
        assert not talk.is_ours(Node("10.0.0.1", 1, theirs))
    assert not talk.is_ours(Node("10.0.0.1", 1, talk.generation(1_800_000_000 * S, marked=False)))


def test_a_slow_reader_is_told_how_much_it_missed() -> None:
    reader = Reader(limit=3)
    net = Net()
    member = net.add("a", 1).me()
    for _ in range(5):
        reader.put(MemberJoined(member))
    assert reader.take() == Missed(2)
    assert [reader.take() for _ in range(4)] == [MemberJoined(member)] * 3 + [None]
    assert BACKLOG_MAX >= 1000


def test_what_is_remembered_is_bounded(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    a = net.add("a", 1)
    monkeypatch.setattr(roster_module, "FAREWELLS_MAX", 10)
    monkeypatch.setattr(mailbox_module, "SEEN_MAX", 10)
    for at in range(600):
        node = Node("10.0.0.2", 7, at)
        farewell = talk.encode(talk.Farewell(talk.who(node)))
        assert a._mailbox.receive_item(farewell, node) is not None
        assert a._mailbox.receive_item(farewell, node) is None
        a._mailbox.receive_item(talk.encode(talk.Hello("x", {}, answer=False)), node)
    assert len(a._mailbox._seen) == 10
    assert len(a._mailbox.hellos) == mailbox_module.LETTERS_MAX
    a._mailbox.take_hellos()
    for at in range(200):
        node = Node("10.0.0.2", at + 1, talk.generation(S, marked=True))
        a.roster.up(node, 0)
        a.roster.farewell(node)
        assert isinstance(a.roster.down(node, 0), list)
    assert len(list(a.roster.known())) <= roster_module.PAST_MAX
    assert len(a.roster._farewells) == 10
