"""What is fed to each decoder, and what must be true of its answer.

Of a **decoder**: whatever the bytes are, it answers with a value, or with `MalformedPacket` and
nothing else. A second reader, simple and slow (`reference`), answers the same. What was read,
written again, is what was read; or it is shorter (a number need not be in its shortest form), and
then it says the same.

Of an **engine**: what is refused as `MalformedPacket`, `DataTooBig` or `DataFromOurselves` has
changed nothing at all. Whatever else it was fed, it is not in its own list, and what it sends can
be read, and is no longer than a packet.

Of a **session**: nothing is raised; an answer to a stranger is no longer than the question.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

from holdfast.errors import DataFromOurselves, DataTooBig, MalformedPacket, MembershipError
from holdfast.membership import (
    ALL_REPAIRS,
    I64,
    U16,
    Announce,
    Bincode,
    Broadcast,
    Config,
    Member,
    Membership,
    Node,
    Postcard,
    ProbeRandomMember,
    Repair,
    SendIndirectProbe,
    SocketAddr,
    State,
    TurnUndead,
    notes,
    talk,
)
from holdfast.membership.mailbox import Mailbox
from holdfast.membership.session import Session
from tests.fuzz.reference import NoValue, Reference

UNCHANGED = (MalformedPacket, DataTooBig, DataFromOurselves)
CONFIG = Config.lan(8)
BORN_NS = 1_700_000_000_000_000_000
GENERATION = talk.generation(BORN_NS, marked=True)
ME, PEER, OTHER = (Node("10.0.0.1", port, GENERATION) for port in (1, 2, 3))
CRATE = Node("::1", 7946, 1_700_000_000)
STRANGER = ("10.9.9.9", 9)


@dataclass(frozen=True)
class Rich:
    """An identity with all that a layout can have."""

    where: SocketAddr
    name: str
    key: bytes | None
    racks: tuple[U16, ...]
    age: I64
    old: bool

    @property
    def addr(self) -> Hashable:
        return self.where

    def renew(self) -> Rich | None:
        return None

    def win_addr_conflict(self, other: Rich, /) -> bool:
        return self.age > other.age


RICH = Rich(("10.0.0.1", 1), "änne", b"\0\xff", (0, 250, 251, 65_535), -300, old=True)
POOR = Rich(("::1", 65_535), "", None, (), 0, old=False)


class Wrong(AssertionError):
    """A decoder, or what stands behind it, has answered as it must not."""


def need(holds: bool, what: str) -> None:
    """Raise if it does not hold."""
    if not holds:
        raise Wrong(what)


def refused(act: Callable[[], Any]) -> tuple[Any, str]:
    """What came of it, and why it was refused; any other exception is passed on."""
    try:
        return act(), ""
    except MalformedPacket as error:
        return None, shape(error)


def shape(error: Exception) -> str:
    """What an error says, but for its numbers and names: to tell kinds of answers apart."""
    return type(error).__name__ + re.sub(r"[\d'\"\\\[\]:.a-fx#]+", "*", str(error))[:80]


def says_the_same(read: bytes, again: bytes, decoded: Callable[[], bool]) -> None:
    """What was read and written again."""
    if again != read:
        need(len(again) < len(read), f"read {read.hex()}, wrote {again.hex()}")
        need(decoded(), f"read {read.hex()}, wrote {again.hex()}, which says something else")


def ends(read: Callable[[bytes], Any], data: bytes) -> None:
    """What was read ends there: with one byte more it is something else."""
    need(refused(lambda: read(data + b"\xc0"))[1] != "", f"one byte more is read as well: {data!r}")


# -- codecs ---------------------------------------------------------------------------------------


class Frames:
    """The headers of packets, and their updates, of one type of identities."""

    def __init__(self, codec: Any, kind: type, *, postcard: bool) -> None:
        self.codec = codec
        self._reference = Reference(kind, postcard=postcard)

    def __call__(self, data: bytes) -> str:
        codec = self.codec
        read, why = refused(lambda: codec.decode_header(data))
        need(read == expected(lambda: self._reference.header(data)), f"a header: {read}")
        if read is None:
            return why
        header, at = read
        again = codec.encode_header(header)
        says_the_same(data[:at], again, lambda: codec.decode_header(again) == (header, len(again)))
        kind = type(header.message)
        if kind in (Announce, TurnUndead, Broadcast) or len(data) - at < 2:
            return kind.__name__
        count, start = int.from_bytes(data[at : at + 2], "big"), at + 2
        return f"{kind.__name__} {self._members(data, start, count)}"

    def _members(self, data: bytes, at: int, count: int) -> str:
        """So many members, by the straight way and by the short cut."""
        codec = self.codec
        read, why = refused(lambda: codec.decode_members(data, at, count))
        split = codec.split_members(data, at, count)
        need(read == expected(lambda: self._reference.members(data, at, count)), f"members: {read}")
        if read is None:
            need(split is None, f"members that cannot be read were split: {why}")
            return why
        members, end = read
        again = b"".join(map(codec.encode_member, members))
        says_the_same(
            data[at:end],
            again,
            lambda: codec.decode_members(again, 0, count) == (members, len(again)),
        )
        if split is not None:
            raws, stop = split
            need((b"".join(raws), stop) == (data[at:end], end), "the short cut ends elsewhere")
            need([codec.decode_member(raw) for raw in raws] == members, "the short cut reads other")
            need([codec.encode_member(m) for m in members] == raws, "it has split what is unusual")
        return f"{min(count, 3)} {split is None}"


def expected(act: Callable[[], Any]) -> Any:
    """What the second reader makes of it; None: no value."""
    try:
        return act()
    except NoValue:
        return None


# -- engines and sessions -------------------------------------------------------------------------


class Heard:
    """All that an engine says."""

    def __init__(self) -> None:
        self.sends: list[tuple[Any, bytes]] = []
        self.others: list[Any] = []

    def __len__(self) -> int:
        return len(self.sends) + len(self.others)

    def notify(self, notification: Any, /) -> None:
        self.others.append(notification)

    def send_to(self, member: Any, data: bytes, /) -> None:
        self.sends.append((member, data))

    def submit_after(self, timer: Any, delay_ns: int, /) -> None:
        self.others.append((timer, delay_ns))

    def now_ns(self) -> int:
        return 7_000_000_000


# What belongs to the program and not to what it knows.
_FIXED = {"codec", "config", "_runtime_type", "_members"}


def frozen(thing: Any) -> Any:
    """Everything that an object knows, its chance included, as a value that can be compared."""
    if isinstance(thing, Random):
        return thing.getstate()
    if isinstance(thing, dict):
        return [(key, frozen(value)) for key, value in thing.items()]
    if isinstance(thing, set):
        return frozenset(thing)
    if isinstance(thing, list | deque):
        return [frozen(item) for item in thing]
    if isinstance(thing, tuple | Enum) or not type(thing).__module__.startswith("holdfast"):
        return thing
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    names += getattr(thing, "__dict__", ())
    return [(name, frozen(getattr(thing, name))) for name in names if name not in _FIXED]


class Packets:
    """Engines of one codec, mended and as the crate, and a session; set up anew when changed."""

    def __init__(
        self, codec: Any, *, postcard: bool, engine: type[Membership[Node]] = Membership
    ) -> None:
        self.codec = codec
        self._frames = Frames(codec, Node, postcard=postcard)
        self._engine = engine
        self._made: dict[frozenset[Repair], tuple[Membership[Node], Any]] = {}
        self._session: Session | None = None

    def __call__(self, data: bytes) -> str:
        frame = self._frames(data)
        ways = [self._feed(repairs, data) for repairs in (ALL_REPAIRS, frozenset[Repair]())]
        self._serve(data)
        return f"{frame} {' '.join(ways)}"

    def _make(self, repairs: frozenset[Repair]) -> tuple[Membership[Node], Any]:
        engine = self._engine(
            ME,
            CONFIG,
            rng=Random(5),
            codec=self.codec,
            repairs=repairs,
            broadcast_handler=Mailbox(marked=True),
        )
        heard = Heard()
        engine.apply_many([Member(one, 0, State.ALIVE) for one in (PEER, OTHER, CRATE)], heard)
        engine.handle_timer(ProbeRandomMember(0), heard)
        for timer in [one[0] for one in heard.others if isinstance(one, tuple)]:
            if isinstance(timer, SendIndirectProbe):
                engine.handle_timer(timer, heard)
        return engine, frozen(engine._local)

    def _feed(self, repairs: frozenset[Repair], data: bytes) -> str:
        made = self._made.get(repairs)
        engine, before = self._make(repairs) if made is None else made
        self._made[repairs] = engine, before
        heard = Heard()
        try:
            engine.handle_data(data, heard)
        except UNCHANGED as error:
            need(len(heard) == 0, f"refused, and says {heard.sends or heard.others}")
            need(frozen(engine._local) == before, "refused, and has changed something")
            return shape(error)
        except MembershipError as error:
            way = shape(error)
        else:
            way = f"{len(heard.sends)} {len(heard.others)}"
        del self._made[repairs]
        need(engine.identity.addr not in {m.identity.addr for m in engine.members()}, "is its own")
        for _, sent in heard.sends:
            need(len(sent) <= CONFIG.max_packet_size, f"sends {len(sent)} bytes")
            need(not self._frames(sent).startswith("Malformed"), f"sends {sent.hex()}")
        return way

    def _serve(self, data: bytes) -> None:
        session = self._session
        if session is None:
            session = self._session = Session(
                "me", ME, CONFIG, rng=Random(5), codec=self.codec, seeds=("10.0.0.1:2",)
            )
            session.start(0)
            session.take()
        before = session.engine.num_members, session.engine.incarnation
        session.handle_data(data, STRANGER, 1)
        effects = session.take()
        for to, sent in effects.sends:
            if to == STRANGER:
                need(len(sent) <= len(data), "an answer is longer than its question")
        if (session.engine.num_members, session.engine.incarnation) != before:
            self._session = None


# -- what travels within packets, and beside them -------------------------------------------------


def check_letter(data: bytes) -> str:
    """An item of a session."""
    item, why = refused(lambda: talk.decode(data))
    if item is None:
        return why
    again = talk.encode(item)
    need(talk.decode(again) == item, f"read {data.hex()}, wrote {again.hex()}")
    need(len(again) <= len(data), f"{again.hex()} is longer than {data.hex()}")
    ends(talk.decode, data)
    return type(item).__name__


def check_question(data: bytes) -> str:
    """A question, and its answer."""
    look, why = refused(lambda: talk.read_question(data))
    if look is None:
        return why
    ends(talk.read_question, data)
    answer = talk.page(look, [], len(data))
    need(len(answer) <= len(data), "an answer is longer than its question")
    need(talk.read_page(answer) == (look.nonce, [], False), "an answer that says something else")
    return "question"


def check_page(data: bytes) -> str:
    """An answer."""
    page, why = refused(lambda: talk.read_page(data))
    if page is None:
        return why
    ends(talk.read_page, data)
    return f"page of {min(len(page[1]), 3)}"


def check_note(data: bytes) -> str:
    """An item of an engine, in either codec."""
    return " ".join(_note(codec, data) for codec in _PLAIN)


def _note(codec: Any, data: bytes) -> str:
    if not notes.is_note(data) or len(data) == len(notes.MAGIC):
        return "no note"
    kind = data[len(notes.MAGIC)]
    form = _NOTES.get(kind)
    if form is None:
        return "an unknown note"
    read, write = form
    value, why = refused(lambda: read(codec, data))
    if why:
        return why
    again = write(codec, value)
    need(read(codec, again) == value, f"read {data.hex()}, wrote {again.hex()}")
    ends(lambda more: read(codec, more), data)
    # A flag in a digest is one byte, and any but 0 is yes.
    need(len(again) < len(data) or again == data or kind == notes.Kind.DIGEST, data.hex())
    return f"note {kind}"


def _state(codec: Any, members: list[Member[Node]]) -> bytes:
    return notes.state([codec.encode_member(member) for member in members])


# How each kind of note is read, and written.
_NOTES: dict[int, tuple[Callable[[Any, bytes], Any], Callable[[Any, Any], bytes]]] = {
    notes.Kind.ACCUSE: (notes.read_accuse, lambda codec, read: notes.accuse(codec, *read)),
    notes.Kind.SLEEP: (notes.read_sleep, lambda codec, read: notes.sleep(codec, *read)),
    notes.Kind.DIGEST: (
        lambda _codec, data: notes.read_digest(data),
        lambda _codec, read: notes.digest(read.parts, answer=read.answer),
    ),
    notes.Kind.STATE: (notes.read_state, _state),
}
_PLAIN: tuple[Any, Any] = Bincode(Node), Postcard(Node)
TARGETS: dict[str, Callable[[bytes], str]] = {
    "bincode": Packets(_PLAIN[0], postcard=False),
    "postcard": Packets(_PLAIN[1], postcard=True),
    "bincode-rich": Frames(Bincode(Rich), Rich, postcard=False),
    "postcard-rich": Frames(Postcard(Rich), Rich, postcard=True),
    "letter": check_letter,
    "note": check_note,
    "question": check_question,
    "page": check_page,
}
