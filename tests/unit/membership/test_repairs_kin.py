"""What members of ours say to each other: who is kin, notes, comparing lists."""

from __future__ import annotations

from random import Random

import pytest

from holdfast.errors import DecodeFailed, InvalidArgument, MalformedPacket
from holdfast.membership import (
    ALL_REPAIRS,
    WIRE_REPAIRS,
    Ack,
    Announce,
    Broadcast,
    Feed,
    Gossip,
    Membership,
    PeriodicExchange,
    Ping,
    ProbeRandomMember,
    Repair,
    SendIndirectProbe,
    notes,
)
from holdfast.membership.anti_entropy import PERIODS, Comparison
from holdfast.membership.kin import Kin
from holdfast.membership.member import Members
from tests.unit.membership.mended import Timed, among, introduce, mended
from tests.unit.membership.stage import (
    CODEC,
    ME,
    SIMPLE,
    Id,
    Packet,
    alive,
    changed,
    down,
    packet,
    suspect,
)

A, B, C, D = (Id(number) for number in range(2, 6))


# -- who is kin -----------------------------------------------------------------------------------


@pytest.mark.parametrize("repair", Repair, ids=lambda repair: repair.value)
def test_only_who_has_words_of_his_own_introduces_himself(repair: Repair) -> None:
    engine = mended(repair)
    runtime = among(engine, A, B)
    due = runtime.timer(ProbeRandomMember)
    runtime.clear()
    engine.handle_timer(due, runtime)
    engine.handle_data(packet(A, Announce(), updates=None), runtime)
    (ping,), (feed,) = runtime.sent(Ping), runtime.sent(Feed)
    mine = [alive(ME)] if repair in WIRE_REPAIRS else []
    assert ping.updates == mine
    assert feed.updates == [*mine, alive(B)]


def test_a_ping_that_introduces_is_answered_in_kind() -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A)
    for updates, answer in (([], []), ([alive(A)], [alive(ME)]), ([], [])):
        runtime.clear()
        engine.handle_data(packet(A, Ping(1), updates=updates), runtime)
        (ack,) = runtime.sent(Ack)
        assert ack.updates == answer
    assert A in engine._local.kin


@pytest.mark.parametrize(
    "first",
    [alive(A, 1), suspect(A), alive(B), alive(Id(2, 1))],
    ids=["another incarnation", "a suspicion", "another member", "another life"],
)
def test_nothing_else_introduces(first: object) -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A)
    engine.handle_data(packet(A, Ping(1), updates=[first]), runtime)  # type: ignore[list-item]
    assert A not in engine._local.kin


def test_who_is_down_cannot_introduce_himself() -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A, B)
    engine.apply_many([down(A)], runtime)
    engine.handle_data(packet(A, Ping(1), updates=[alive(A)]), runtime)
    assert A not in engine._local.kin


def test_to_the_crate_an_introduction_is_nothing() -> None:
    told = []
    for updates in ([], [alive(A)]):
        engine = mended()
        runtime = among(engine, A)
        runtime.clear()
        engine.handle_data(packet(A, Ping(1), updates=updates), runtime)
        told.append((runtime.all, engine.membership_state(), engine.updates_backlog))
    assert told[0] == told[1]


def test_kin_are_known_to_each_other_after_one_ping() -> None:
    here, there = mended(Repair.SLEEP), mended(Repair.SLEEP, identity=A)
    mine, other = among(here, A), among(there, ME)
    due = mine.timer(ProbeRandomMember)
    mine.clear()
    here.handle_timer(due, mine)
    other.clear()
    there.handle_data(mine.sent(Ping)[0].data, other)
    here.handle_data(other.sent(Ack)[0].data, mine)
    assert A in here._local.kin
    assert ME in there._local.kin
    here.handle_timer(mine.timer(SendIndirectProbe), mine)
    due = mine.timer(ProbeRandomMember)
    mine.clear()
    here.handle_timer(due, mine)
    assert mine.sent(Ping)[0].updates == []  # it is known by now


def test_kin_are_bounded_by_the_members() -> None:
    members: Members[Id] = Members(Random(1))
    members.apply(alive(A))
    kin: Kin[Id] = Kin(members)
    for number in range(200):
        kin.add(Id(number % 250))
        kin.add(A)
    assert len(kin) < 30
    assert A in kin
    assert kin.active_besides(B) == 1
    assert kin.active_besides(A) == 0
    assert kin.sample(3, Random(1)) == [A]


# -- notes ----------------------------------------------------------------------------------------


def test_notes_are_read_as_they_were_written() -> None:
    assert notes.read_accuse(CODEC, notes.accuse(CODEC, suspect(A, 3), alive(B, 2))) == (
        suspect(A, 3),
        alive(B, 2),
    )
    assert notes.read_sleep(CODEC, notes.sleep(CODEC, alive(A, 3), 77)) == (alive(A, 3), 77)
    parts = tuple(range(notes.BUCKETS))
    assert notes.read_digest(notes.digest(parts, answer=True)) == (True, parts)
    encoded = [CODEC.encode_member(one) for one in (alive(A), down(B, 9))]
    assert notes.read_state(CODEC, notes.state(encoded)) == [alive(A), down(B, 9)]


WHOLE = [
    notes.accuse(CODEC, suspect(A), alive(B)),
    notes.sleep(CODEC, alive(A), 1),
    notes.digest((0,) * notes.BUCKETS, answer=False),
    notes.state([CODEC.encode_member(alive(C))]),
]


@pytest.mark.parametrize("note", WHOLE, ids=["accuse", "sleep", "digest", "state"])
def test_a_broken_note_has_no_effect(note: bytes) -> None:
    cuts = [note[:length] for length in range(len(notes.MAGIC), len(note))]
    for broken in (*cuts, note + b"\0"):
        engine = mended(*ALL_REPAIRS)
        runtime = among(engine, A, B)
        introduce(engine, runtime, A)
        runtime.clear()
        with pytest.raises(DecodeFailed):
            engine.handle_data(packet(A, Broadcast(), items=[broken], updates=None), runtime)
        assert {m.identity for m in engine.members()} == {A, B}
        assert (runtime.all, len(engine._local.sleepers)) == ([], 0)


def test_an_accusation_of_nobody_who_is_suspect_is_broken() -> None:
    engine = mended(*ALL_REPAIRS)
    runtime = among(engine, A, B)
    note = notes.accuse(CODEC, alive(A), alive(B))
    with pytest.raises(DecodeFailed):
        engine.handle_data(packet(A, Gossip(), items=[note]), runtime)


class Items:
    """A handler that notes what it gets, and wants it passed on."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def receive_item(self, data: bytes, sender: Id | None, /) -> Items | None:
        self.got.append(data)
        return self

    def should_add_broadcast_data(self, member: Id, /) -> bool:
        return True

    def invalidates(self, other: object, /) -> bool:
        return False


def test_notes_are_not_for_the_applications_handler() -> None:
    handler = Items()
    engine = mended(Repair.SLEEP, handler=handler)
    runtime = among(engine, A)
    strange = notes.MAGIC + b"\x63what a later version says"
    items = [b"one", WHOLE[1], strange, WHOLE[3], b"two"]
    engine.handle_data(packet(A, Gossip(), items=items), runtime)
    assert handler.got == [b"one", b"two"]
    assert A in engine._local.kin


def test_an_item_of_the_application_cannot_look_like_a_note() -> None:
    with pytest.raises(InvalidArgument, match="begin"):
        mended(Repair.SLEEP, handler=Items()).add_broadcast(notes.MAGIC + b"x")
    assert mended(handler=Items()).add_broadcast(notes.MAGIC + b"x")


def test_notes_and_items_travel_together() -> None:
    engine = mended(Repair.SLEEP, handler=Items())
    runtime = among(engine, A, B)
    introduce(engine, runtime, A)
    engine.add_broadcast(b"item")
    engine.announce_sleep(runtime)
    runtime.clear()
    engine.gossip(runtime)
    note = notes.sleep(CODEC, alive(ME), 3600)
    assert {p.to: p.items for p in runtime.sent(Gossip)} == {A: [note, b"item"], B: [b"item"]}


# -- comparing lists ------------------------------------------------------------------------------


def pair(*repairs: Repair, here: list[object], there: list[object]) -> tuple[Membership[Id], ...]:
    """Two members that know each other to be kin, and what each of them knows besides."""
    engines = []
    for identity, other, known in ((ME, A, here), (A, ME, there)):
        engine = mended(*repairs, identity=identity)
        runtime = among(engine, other)
        introduce(engine, runtime, other, at=identity)
        engine.apply_many(known, runtime, broadcast=False)  # type: ignore[arg-type]
        engines.append(engine)
    return tuple(engines)


def converse(here: Membership[Id], there: Membership[Id]) -> list[Packet]:
    """One exchange, until nobody has anything more to say; all that was sent."""
    said, runtimes = [], {ME: Timed(), A: Timed()}
    here.handle_timer(PeriodicExchange(0), runtimes[ME])
    engines = {ME: here, A: there}
    while packets := [p for one in runtimes.values() for p in one.packets]:
        for one in runtimes.values():
            one.clear()
        said += packets
        for sent in packets:
            if sent.to in engines:
                engines[sent.to].handle_data(sent.data, runtimes[sent.to])
    return said


def view(engine: Membership[Id]) -> set[object]:
    return {m for m in engine.membership_state() if m.identity not in (ME, A)}


def test_what_only_one_knows_both_know_after_an_exchange() -> None:
    here, there = pair(
        Repair.ANTI_ENTROPY, here=[alive(B), alive(C, 4)], there=[alive(C, 6), alive(D)]
    )
    said = converse(here, there)
    assert view(here) == view(there) == {alive(B), alive(C, 6), alive(D)}
    assert [p.to for p in said] == [A, ME, A]  # a digest, an answer with both, a state
    assert all(isinstance(p.message, Broadcast) for p in said)


def test_where_nothing_differs_there_is_one_packet() -> None:
    here, there = pair(Repair.ANTI_ENTROPY, here=[alive(B)], there=[alive(B)])
    assert len(converse(here, there)) == 1


@pytest.mark.parametrize("dead_here", [True, False])
def test_a_death_is_told_in_both_directions(dead_here: bool) -> None:
    views: list[list[object]] = [[down(B, 3)], [alive(B, 3)]]
    here, there = pair(Repair.ANTI_ENTROPY, here=views[not dead_here], there=views[dead_here])
    converse(here, there)
    assert view(here) == view(there) == {down(B, 3)}


def test_nobody_learns_of_the_dead_whom_he_never_knew() -> None:
    """Else those who are forgotten by one would come back from another, for ever."""
    here, there = pair(Repair.ANTI_ENTROPY, here=[down(B), alive(C)], there=[])
    converse(here, there)
    assert view(there) == {alive(C)}


def test_who_is_suspected_by_the_other_refutes() -> None:
    here, there = pair(Repair.ANTI_ENTROPY, here=[suspect(A)], there=[])
    converse(here, there)
    assert there.incarnation == 1
    assert alive(A, 1) in here.members()


def test_without_the_repair_nothing_is_compared() -> None:
    here, _ = pair(Repair.SLEEP, here=[alive(B)], there=[])
    runtime = Timed()
    note = notes.digest((1,) * notes.BUCKETS, answer=True)
    here.handle_data(packet(A, Broadcast(), items=[note], updates=None), runtime)
    assert runtime.all == []
    assert not any(isinstance(t, PeriodicExchange) for t, _ in among(mended(), A).timers)


def test_an_exchange_comes_again() -> None:
    engine = mended(Repair.ANTI_ENTROPY)
    runtime = among(engine, A)
    timer = runtime.timer(PeriodicExchange)
    runtime.clear()
    engine.handle_timer(timer, runtime)
    assert runtime.all == [("submit", (timer, PERIODS * SIMPLE.probe_period_ns))]  # no kin: nobody


@pytest.mark.parametrize("size", [200, 300, 1400])
def test_however_long_the_lists_packets_are_bounded_and_it_ends(size: int) -> None:
    config = changed(SIMPLE, max_packet_size=size)
    others = [Id(number) for number in range(10, 210)]
    engines = []
    for identity, other, known in ((ME, A, others[:120]), (A, ME, others[80:])):
        engine = mended(Repair.ANTI_ENTROPY, identity=identity, config=config)
        runtime = among(engine, other, *known)
        introduce(engine, runtime, other, at=identity)
        engines.append(engine)
    here, there = engines
    for _ in range(200):
        said = converse(here, there)
        assert max(len(p.data) for p in said) <= size
        if len(said) == 1:
            break
    assert {m.identity for m in here.members()} >= set(others)
    assert view(here) == view(there)


def test_a_comparison_looks_again_when_the_list_has_changed() -> None:
    members: Members[Id] = Members(Random(1))
    comparison = Comparison(CODEC, members)
    seen = {comparison.digest(alive(ME))}
    for update in (alive(A), alive(B), suspect(B), down(B), alive(Id(2, 1))):
        members.apply(update)
        seen.add(comparison.digest(alive(ME)))
    members.forget(A.addr)
    seen.add(comparison.digest(alive(ME)))
    # Of the six lists, the one without B is that from before B came; the last is the first.
    assert len(seen) == 5
    assert comparison.digest(alive(ME)) != comparison.digest(alive(ME, 1))


def test_a_note_is_no_frame() -> None:
    with pytest.raises(MalformedPacket):
        notes.read_state(CODEC, notes.MAGIC)
