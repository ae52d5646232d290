"""Whole packets, right and wrong: the engine takes anything, and its short cut changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import (
    DataFromOurselves,
    DataTooBig,
    MalformedPacket,
    MembershipError,
)
from holdfast.membership import (
    U16,
    Ack,
    Announce,
    Bincode,
    Broadcast,
    Config,
    Feed,
    ForwardedAck,
    Gossip,
    Header,
    IndirectAck,
    IndirectPing,
    Member,
    Membership,
    Node,
    Ping,
    PingReq,
    Postcard,
    ProbeRandomMember,
    RemoveDown,
    SendIndirectProbe,
    State,
    TurnUndead,
)

CODECS: dict[str, Any] = {"bincode": Bincode, "postcard": Postcard}
BOTH = pytest.mark.parametrize("name", CODECS)
CONFIG = Config.lan(3)


class Notes:
    """All that an engine says, in order."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def notify(self, notification: Any, /) -> None:
        self.all.append(notification)

    def send_to(self, member: Any, data: bytes, /) -> None:
        self.all.append((member, data))

    def submit_after(self, timer: Any, delay_ns: int, /) -> None:
        self.all.append((timer, delay_ns))


@dataclass(frozen=True)
class Fickle:
    """An identity at one of eight addresses, where whoever comes last is the present one."""

    number: U16

    @property
    def addr(self) -> int:
        return self.number % 8

    def renew(self) -> Fickle | None:
        return Fickle(self.number + 8) if self.number < 400 else None

    def win_addr_conflict(self, other: Fickle, /) -> bool:
        return False


def nodes(rng: Random) -> Node:
    ip = rng.choice(["10.0.0.1", "10.0.0.251", "::1"])
    return Node(ip, rng.choice([5, 251, 8000]), rng.choice([0, 1, 300, 2**32]))


def fickle(rng: Random) -> Fickle:
    return Fickle(rng.randrange(24))


MESSAGES = (
    lambda _: Ping(7),
    lambda _: Ack(1),
    lambda other: PingReq(other, 1),
    lambda other: IndirectPing(other, 1),
    lambda other: IndirectAck(other, 1),
    lambda other: ForwardedAck(other, 1),
    lambda _: Announce(),
    lambda _: Feed(),
    lambda _: Gossip(),
    lambda _: Gossip(),
    lambda _: Gossip(),
    lambda _: Broadcast(),
    lambda _: TurnUndead(),
)


class Sender:
    """Packets of a small world, mostly right, often changed on the way."""

    def __init__(self, codec: Any, one: Any, rng: Random) -> None:
        self.codec = codec
        self.one = one
        self.rng = rng
        self.sections: list[list[Member[Any]]] = [[]]

    def packet(self, dst: Any) -> bytes:
        rng = self.rng
        message = rng.choice(MESSAGES)(self.one(rng))
        src = self.one(rng)
        # The same news again, in part: most of what is heard is known.
        section = list(rng.choice(self.sections))
        for _ in range(rng.randrange(4)):
            state = rng.choice([State.ALIVE] * 6 + [State.SUSPECT, State.DOWN])
            member = Member(self.one(rng), rng.choice([0, 0, 0, 1, 300]), state)
            section.insert(rng.randrange(len(section) + 1), member)
        section = section[-rng.randrange(1, 12) :]
        self.sections = [*self.sections[-6:], section]
        encoded = bytearray(b"".join(map(self.codec.encode_member, section)))
        for _ in range(rng.choice([0, 0, 1, 2])):
            self.change(encoded)
        count = len(section) + rng.choice([0] * 12 + [-1, 1])
        data = self.codec.encode_header(Header(src, rng.choice([0, 0, 1]), dst, message))
        if not isinstance(message, Announce | Broadcast | TurnUndead):
            data += max(count, 0).to_bytes(2, "big") + encoded
        return bytes(data)

    def change(self, data: bytearray) -> None:
        rng = self.rng
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(5)
        if what == 0:
            data.insert(at, rng.randrange(256))
        elif what == 1 and data:
            data.pop(min(at, len(data) - 1))
        elif what == 2 and data:
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif what == 3:
            data[at:at] = data[at : at + rng.randrange(20)]
        else:
            # A number in a form that is longer than need be.
            data[at : at + 1] = b"\xfb" + data[at : at + 1] + b"\0"


def without_short_cut(codec: Any) -> Any:
    class Naive(type(codec)):  # type: ignore[misc]
        def split_members(self, data: bytes, at: int, count: int, /) -> None:
            return None

    naive = Naive.__new__(Naive)
    naive.__dict__.update(codec.__dict__)
    return naive


@BOTH
@pytest.mark.parametrize(("kind", "one"), [(Node, nodes), (Fickle, fickle)], ids=["node", "fickle"])
def test_the_short_cut_makes_no_difference(name: str, kind: Any, one: Any) -> None:
    """Specification 17: the same packets through an engine that decodes every member.

    Each effect and each state must be the same, in the same order, over 12,000 changed packets, in
    which members are renamed, forgotten and met again, and the engine itself changes identity.
    """
    rng = Random(f"{name} {kind.__name__}")
    codec = CODECS[name](kind)
    me = one(rng)
    quick, naive = (
        Membership(me, CONFIG, rng=Random(5), codec=made, repairs=frozenset())
        for made in (codec, without_short_cut(codec))
    )
    sender = Sender(codec, one, rng)
    skipped = 0
    for round_ in range(3000):
        acts: list[Any] = [("handle_data", sender.packet(quick.identity))]
        if rng.random() < 0.3:
            known = quick.membership_state()
            acts += [("handle_timer", RemoveDown(member.identity)) for member in known]
        if rng.random() < 0.03:
            acts.append(("change_identity", one(rng)))
        for act, argument in acts:
            settled = len(quick._local.members.settled)
            outcomes = [outcome(engine, act, argument) for engine in (quick, naive)]
            assert outcomes[0] == outcomes[1], (round_, act, argument)
            skipped += settled > 0
        assert naive._local.members.settled == set()
    assert skipped > 500


def outcome(engine: Any, act: str, argument: Any) -> list[Any]:
    notes = Notes()
    try:
        getattr(engine, act)(argument, notes)
    except MembershipError as error:
        notes.all.append((type(error), str(error)))
    return [
        *notes.all,
        list(engine._local.members),
        engine.identity,
        engine.incarnation,
        engine.connection,
        engine.updates_backlog,
    ]


UNCHANGED = (MalformedPacket, DataTooBig, DataFromOurselves)
ME, PEER = Node("10.0.0.1", 1, 1), Node("10.0.0.2", 1, 1)


def fed(name: str, data: bytes) -> None:
    """Whatever it is, it is handled or refused; and where nothing was changed, nothing was."""
    codec = CODECS[name](Node)
    engine: Membership[Node] = Membership(
        ME, CONFIG, rng=Random(5), codec=codec, repairs=frozenset()
    )
    notes = Notes()
    engine.apply_many([Member(PEER, 0, State.ALIVE)], notes)
    engine.handle_timer(ProbeRandomMember(0), notes)
    engine.handle_timer(SendIndirectProbe(PEER, 0), notes)
    before = state_of(engine)
    said = len(notes.all)
    try:
        engine.handle_data(data, notes)
    except UNCHANGED:
        assert state_of(engine) == before
        assert len(notes.all) == said
    except MembershipError:
        pass


def state_of(engine: Any) -> list[Any]:
    local = engine._local
    return [
        list(local.members),
        local.identity,
        local.incarnation,
        local.connection,
        local.token,
        local.probe.succeeded,
        local.probe.target,
        len(local.updates),
        set(local.members.settled),
    ]


@BOTH
@given(data=st.binary(max_size=400))
def test_any_datagram_is_handled_or_refused(name: str, data: bytes) -> None:
    fed(name, data)


@BOTH
@given(st.data())
def test_any_change_to_a_packet_is_handled_or_refused(name: str, data: st.DataObject) -> None:
    codec = CODECS[name](Node)
    members = st.builds(
        Member,
        st.sampled_from([ME, PEER, Node("::1", 5, 5), Node("10.0.0.2", 1, 9), Node("10.0.0.1", 1)]),
        st.integers(0, 65_535),
        st.sampled_from(State),
    )
    message = data.draw(st.sampled_from(MESSAGES))(data.draw(st.sampled_from([ME, PEER])))
    section = data.draw(st.lists(members, max_size=5))
    packet = bytearray(codec.encode_header(Header(PEER, 0, ME, message)))
    packet += len(section).to_bytes(2, "big") + b"".join(map(codec.encode_member, section))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(packet)))
        packet[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    fed(name, bytes(packet))
