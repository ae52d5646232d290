"""The letters between members of ours: what comes with the engine's packets, and packets of it.

The engine hands every item to the `Mailbox`, which keeps those that are new until the session asks.
What shall go on to others is answered with a key. A `Hello` goes no further than to whom it was
sent; a `Farewell` and a `Shout` go round, each once.

Letters to one member are packets of the protocol as any other: a Broadcast with one item, or a
Gossip with one update and one item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import MalformedPacket
from holdfast.membership import talk
from holdfast.membership.member import Member, State
from holdfast.membership.messages import Broadcast, Gossip, Header

if TYPE_CHECKING:
    from holdfast.membership.codec.base import Codec
    from holdfast.membership.identity import Node
    from holdfast.membership.updates import Key

__all__ = ["Mailbox", "farewell_packet", "hello_packet"]

# So many letters that go round are remembered, so that each is taken in once.
SEEN_MAX = 4096
# So many letters of one kind may come with one packet; a packet of ours has one or a few.
LETTERS_MAX = 256


class _GoesRound:
    """The key of a letter: none makes another void."""

    __slots__ = ()

    def invalidates(self, _other: object, /) -> bool:
        return False


_GOES_ROUND = _GoesRound()


class Mailbox:
    """Takes items in for a session; it is the engine's broadcast handler.

    Args:
        marked: Whether this member has anything to do with items at all.
    """

    def __init__(self, *, marked: bool) -> None:
        self._marked = marked
        self._seen: dict[tuple[Node, int], None] = {}
        self.hellos: list[tuple[Node, talk.Hello]] = []
        self.farewells: list[Node] = []
        self.shouts: list[tuple[Node, talk.Shout]] = []

    def receive_item(self, data: bytes, sender: Node | None, /) -> Key | None:
        """Take a letter in, if it is new.

        Raises:
            MalformedPacket: It is no letter of ours.
        """
        if not self._marked:
            raise MalformedPacket("this member takes no items", hint='wire="foca"')
        item = talk.decode(data)
        if isinstance(item, talk.Hello):
            if sender is not None and len(self.hellos) < LETTERS_MAX:
                self.hellos.append((sender, item))
            return None
        author = talk.node_of(item.who)
        number = item.number if isinstance(item, talk.Shout) else 0
        if not self._is_new(author, number):
            return None
        if sender is None:
            return _GOES_ROUND  # our own: it is no news to us
        if isinstance(item, talk.Shout):
            self.shouts.append((author, item))
        else:
            self.farewells.append(author)
        return _GOES_ROUND

    def should_add_broadcast_data(self, member: Node, /) -> bool:
        """Items go to members of ours only."""
        return self._marked and talk.is_ours(member)

    def _is_new(self, author: Node, number: int) -> bool:
        key = (author, number)
        if key in self._seen:
            return False
        if len(self._seen) >= SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        return True

    def take_hellos(self) -> list[tuple[Node, talk.Hello]]:
        """Who has said its name, and it."""
        taken, self.hellos = self.hellos, []
        return taken

    def take_farewells(self) -> list[Node]:
        """Who goes on purpose."""
        taken, self.farewells = self.farewells, []
        return taken

    def take_shouts(self) -> list[tuple[Node, talk.Shout]]:
        """What was shouted, and by whom."""
        taken, self.shouts = self.shouts, []
        return taken


def hello_packet(
    codec: Codec[Node], src: Node, incarnation: int, dst: Node, hello: talk.Hello
) -> bytes:
    """A packet to one member that says our name.

    Raises:
        EncodeFailed: An identity has no form on the wire.
    """
    return codec.encode_header(Header(src, incarnation, dst, Broadcast())) + _framed(hello)


def farewell_packet(codec: Codec[Node], src: Node, incarnation: int, dst: Node) -> bytes:
    """A packet to one member that says that we are down; and to one of ours, that we want to be.

    Raises:
        EncodeFailed: An identity has no form on the wire.
    """
    packet = codec.encode_header(Header(src, incarnation, dst, Gossip()))
    packet += (1).to_bytes(2, "big") + codec.encode_member(Member(src, 0, State.DOWN))
    if talk.is_ours(src) and talk.is_ours(dst):
        packet += _framed(talk.Farewell(talk.who(src)))
    return packet


def _framed(item: talk.Item) -> bytes:
    encoded = talk.encode(item)
    return len(encoded).to_bytes(2, "big") + encoded
