"""From a message to a datagram: what is sent, to whom, and what travels with it.

::

    packet  header │ count:u16 member member … │ length:u16 item │ length:u16 item …
            codec    only with some messages     only with some, and only where there is room

The numbers of the frame are in network order, whatever the codec. The section of updates is there,
with a count of 0 if need be, whenever more than its own two bytes are left after the header.

Source: the specification of the wire, 4.1, 4.2 and 4.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from holdfast.errors import EncodeFailed
from holdfast.membership.identity import T
from holdfast.membership.member import INCARNATION_MAX, Member, State
from holdfast.membership.messages import (
    WITH_ITEMS,
    WITH_UPDATES,
    Announce,
    Broadcast,
    Feed,
    Gossip,
    Header,
    IndirectPing,
    Message,
    Ping,
)
from holdfast.membership.repairs import Repair

if TYPE_CHECKING:
    from holdfast.membership.local import Local
    from holdfast.membership.runtime import Runtime

__all__ = ["Outbound"]

_ANNOUNCE = Announce()
_BROADCAST = Broadcast()
_GOSSIP = Gossip()

# However long identities are, a feed tries to name so many.
_FEED_MIN = 5


class Outbound(Generic[T]):
    """Fills packets and sends them."""

    __slots__ = ("_buddy", "_local", "_room", "_room_of")

    def __init__(self, local: Local[T]) -> None:
        self._local = local
        self._buddy = Repair.BUDDY_NOTICE in local.repairs
        self._room = 0
        self._room_of: tuple[object, object] = (None, None)

    def send(
        self, dst: T, message: Message[T], runtime: Runtime[T], *, introduce: bool = False
    ) -> None:
        """Send one message, with as much of what is to be told as goes with it.

        Args:
            dst: Whom it is for.
            message: What it says.
            runtime: What sends it.
            introduce: Let `dst` know that this member is kin, if it is.

        Raises:
            EncodeFailed: The header has no form on the wire or is longer than a packet; nothing
                was sent.
        """
        local = self._local
        header = local.codec.encode_header(Header(local.identity, local.incarnation, dst, message))
        left = local.config.max_packet_size - len(header)
        if left < 0:
            raise EncodeFailed(
                f"a header of {len(header)} bytes is longer than a packet may be",
                on=str(dst),
                hint=f"raise max_packet_size above {local.config.max_packet_size}",
            )
        parts = [header]
        kind = type(message)
        if left > 2 and kind in WITH_UPDATES:
            left -= 2
            first = self._first(dst, kind, left, introduce=introduce)
            left -= sum(map(len, first))
            if kind is Feed:
                told = self._feed(dst, left, len(header) + 2)
            else:
                told = local.updates.take(left)
            parts.append((len(first) + len(told)).to_bytes(2, "big"))
            parts += first
            parts += told
            left -= sum(map(len, told))
        if left > 2 and local.notes and kind in WITH_ITEMS and dst in local.kin:
            for note in local.notes.take(left, each=2):
                parts += (len(note).to_bytes(2, "big"), note)
                left -= len(note) + 2
        if (
            left
            and local.items
            and kind in WITH_ITEMS
            and local.handler.should_add_broadcast_data(dst)
        ):
            for item in local.items.take(left):
                parts += (len(item).to_bytes(2, "big"), item)
        runtime.send_to(dst, b"".join(parts))

    def _first(self, dst: T, kind: type, space: int, *, introduce: bool) -> list[bytes]:
        """What the repairs say before anything else: who I am (`kin`), and that `dst` is a suspect.

        Lifeguard, section IV-C: a suspect should not have to hear it by chance.
        """
        local = self._local
        told = []
        if local.wire and (introduce or ((kind is Ping or kind is Feed) and dst not in local.kin)):
            told.append(local.codec.encode_member(local.me()))
        if self._buddy and (kind is Ping or kind is IndirectPing):
            known = local.members.get(dst.addr)
            if known is not None and known.state is State.SUSPECT and known.identity == dst:
                told.append(local.codec.encode_member(known))
        return told if sum(map(len, told)) <= space else []

    def send_note(self, dst: T, note: bytes, runtime: Runtime[T]) -> None:
        """Send one of kin one note, in a packet of its own."""
        self.send_notes(dst, [note], runtime)

    def send_notes(self, dst: T, notes: list[bytes], runtime: Runtime[T]) -> None:
        """Send one of kin these notes, in a packet of their own."""
        local = self._local
        header = Header(local.identity, local.incarnation, dst, _BROADCAST)
        parts = [local.codec.encode_header(header)]
        for note in notes:
            parts += (len(note).to_bytes(2, "big"), note)
        data = b"".join(parts)
        if len(data) <= local.config.max_packet_size:
            runtime.send_to(dst, data)

    def header_length(self, dst: T) -> int:
        """How long the header of a packet to `dst` is at most, where it asks for nobody else."""
        header = Header(self._local.identity, INCARNATION_MAX, dst, Ping(0xFF))
        return len(self._local.codec.encode_header(header))

    def room(self) -> int:
        """How much a packet to a member like oneself holds beside its header and one length."""
        local, (identity, config) = self._local, self._room_of
        if identity is not local.identity or config is not local.config:
            self._room_of = (local.identity, local.config)
            self._room = local.config.max_packet_size - self.header_length(local.identity) - 2
        return self._room

    def _feed(self, dst: T, space: int, used: int) -> list[bytes]:
        # The header has two identities and little more: half of it is how long a member is, about.
        wanted = max(_FEED_MIN, space // (used // 2))
        told: list[bytes] = []
        for member in self._local.members.sample_active(wanted, lambda other: other != dst):
            encoded = self._local.codec.encode_member(member)
            if len(encoded) > space:
                break
            space -= len(encoded)
            told.append(encoded)
        return told

    def announce(self, dst: T, runtime: Runtime[T]) -> None:
        """Ask `dst` to be let in."""
        self.send(dst, _ANNOUNCE, runtime)

    def announce_to_active(self, count: int, runtime: Runtime[T]) -> None:
        """Announce to random active members."""
        for member in self._local.members.sample_active(count):
            self.send(member.identity, _ANNOUNCE, runtime)

    def announce_to_down(self, count: int, runtime: Runtime[T]) -> None:
        """Announce to random members that are down."""
        for member in self._local.members.sample_down(count):
            self.send(member.identity, _ANNOUNCE, runtime)

    def gossip(self, count: int, runtime: Runtime[T]) -> None:
        """Tell random active members what is to be told, be it nothing."""
        for member in self._local.members.sample_active(count):
            self.send(member.identity, _GOSSIP, runtime)

    def broadcast(self, runtime: Runtime[T]) -> None:
        """Send the application's items to random active members that may have them."""
        local = self._local
        if not local.items:
            return
        chosen = local.members.sample_active(
            local.config.num_indirect_probes, local.handler.should_add_broadcast_data
        )
        for member in chosen:
            self.send(member.identity, _BROADCAST, runtime)
            if not local.items:
                return

    def tell_down(self, identity: T) -> None:
        """Pass on that an identity, which is or was one's own, is down.

        Raises:
            EncodeFailed: It has no form on the wire.
        """
        local = self._local
        encoded = local.codec.encode_member(Member(identity, 0, State.DOWN))
        local.updates.add(identity.addr, encoded, local.transmissions())
