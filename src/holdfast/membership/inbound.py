"""From a datagram to its effects.

The way of a packet, in the order of the checks, which is part of the contract::

    longer than max_packet_size                     DataTooBig
    no header                                       MalformedPacket
    from one's own identity or address              DataFromOurselves
    one byte left, or any after an Announce         MalformedPacket
    for somebody else                               ignored
    fewer members than the count says               MalformedPacket
    ─────────────────────────────────────── up to here nothing was changed ──────────────────────
    the sender is alive at its incarnation          applied, as every update below
      it is down, or an old identity                the rest is dropped; it may be told: TurnUndead
    the updates                                     applied one by one, then the connection adjusted
    the items                                       to the application's handler
    the message, if connected                       answered, relayed, noted
    a broken item, or one that was refused          DecodeFailed, BroadcastFailed, at the very end

The items are read after the updates were applied, as the crate does it: so a packet whose items
are broken has had its other effects, and the error is `DecodeFailed` and not `MalformedPacket`.

Most updates of a packet are old news. Their bytes are found in `Members.settled` and skipped
without a look into them; the codec splits the section by one regular expression.

With `Repair.WHOLE_PACKETS` their framing is checked before, and nothing was changed.

Source: the specification of the crate's behaviour, 4.3, 5.2 and 17.
"""

from __future__ import annotations

from itertools import filterfalse
from typing import TYPE_CHECKING, Any, Generic

from holdfast.errors import (
    BroadcastFailed,
    DataFromOurselves,
    DataTooBig,
    DecodeFailed,
    IndirectForOurselves,
    MalformedPacket,
    MembershipError,
)
from holdfast.membership import notes
from holdfast.membership.identity import T
from holdfast.membership.local import Connection, Local
from holdfast.membership.member import Conflict, Member, State
from holdfast.membership.messages import (
    Ack,
    Announce,
    Broadcast,
    Feed,
    ForwardedAck,
    Header,
    IndirectAck,
    IndirectPing,
    Message,
    Ping,
    PingReq,
    TurnUndead,
)
from holdfast.membership.repairs import Repair

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.membership.correspondence import Correspondence
    from holdfast.membership.isolation import Isolation
    from holdfast.membership.outbound import Outbound
    from holdfast.membership.runtime import Runtime
    from holdfast.membership.standing import Standing

__all__ = ["Inbound"]

_FEED = Feed()
_TURN_UNDEAD = TurnUndead()


class Inbound(Generic[T]):
    """Takes packets apart and acts on them."""

    __slots__ = (
        "_correspondence",
        "_introduced",
        "_isolation",
        "_local",
        "_outbound",
        "_reactions",
        "_standing",
        "_whole",
    )

    def __init__(
        self,
        local: Local[T],
        outbound: Outbound[T],
        standing: Standing[T],
        isolation: Isolation[T],
        correspondence: Correspondence[T],
    ) -> None:
        self._local = local
        self._outbound = outbound
        self._standing = standing
        self._isolation = isolation
        self._correspondence = correspondence
        self._whole = Repair.WHOLE_PACKETS in local.repairs
        self._introduced = False  # whether the packet at hand says that its sender is kin
        self._reactions: dict[type, Callable[[T, Any, Runtime[T]], None]] = {
            Ping: self._on_ping,
            Ack: self._on_ack,
            PingReq: self._on_ping_req,
            IndirectPing: self._on_indirect_ping,
            IndirectAck: self._on_indirect_ack,
            ForwardedAck: self._on_forwarded_ack,
            Announce: self._on_announce,
            TurnUndead: self._on_turn_undead,
        }

    def handle_data(self, data: bytes, runtime: Runtime[T]) -> None:
        """Take one datagram in; `Membership.handle_data` says what it raises."""
        local = self._local
        limit = local.config.max_packet_size
        if len(data) > limit:
            raise DataTooBig(f"a packet of {len(data)} bytes is longer than {limit}")
        header, at = local.codec.decode_header(data)
        message = header.message
        src = header.src
        me = local.identity
        if src.addr == local.addr:
            raise DataFromOurselves(
                "a packet claims to come from this member",
                on=str(src),
                hint="a loop on the way, or two members with one address",
            )
        left = len(data) - at
        if left == 1 or (left and type(message) is Announce):
            raise MalformedPacket(f"{left} bytes too many", on=str(src))
        dst = header.dst
        if dst != me and not (type(message) is Announce and dst.addr == local.addr):
            return
        raws: list[bytes] | None = None
        updates: list[Member[T]] = []
        if left and type(message) is not Broadcast:
            count = int.from_bytes(data[at : at + 2], "big")
            at += 2
            if count:
                split = local.codec.split_members(data, at, count)
                if split is not None:
                    raws, at = split
                else:
                    updates, at = local.codec.decode_members(data, at, count)
        if self._whole and at < len(data):
            _check_items(data, at, src)

        # Everything of the frame but the items was read. From here on it takes effect.
        if not self._hear_from(header, runtime):
            self._answer_the_down(src, message, runtime)
            return
        if local.wire:
            self._introduced = type(message) in _INTRODUCING and self._introduces(
                header, raws, updates
            )
            if self._introduced:
                local.kin.add(src)
        if raws is not None:
            self._apply_raw(raws, runtime)
        self._standing.apply_many(updates, runtime, broadcast=True)
        fault = self._receive_items(data, at, src, runtime) if at < len(data) else None
        if local.connection is Connection.CONNECTED:
            reaction = self._reactions.get(type(message))
            if reaction is not None:
                reaction(src, message, runtime)
        if fault is not None:
            raise fault

    def _hear_from(self, header: Header[T], runtime: Runtime[T]) -> bool:
        """Who sends is alive. Returns whether it may: a member that is down may not."""
        update = Member(header.src, header.src_incarnation, State.ALIVE)
        local = self._local
        summary = local.members.apply(update)
        self._standing.after(summary, update, runtime)
        if local.sleepers:
            late_ns = local.config.probe_period_ns
            local.sleepers.heard_itself(header.src, local.now_ns(runtime), late_ns)
        return summary.active and summary.conflict not in _REFUSED

    def _answer_the_down(self, src: T, message: Message[T], runtime: Runtime[T]) -> None:
        # Two members that think each other down would never get out of it if this were dropped.
        if type(message) is TurnUndead:
            self._standing.hear_of_own_end(runtime)
        calls = type(message) is Announce and Repair.ISOLATION_RECOVERY in self._local.repairs
        if self._local.config.notify_down_members or calls or self._isolation.lasts:
            self._outbound.send(src, _TURN_UNDEAD, runtime)

    def _introduces(
        self, header: Header[T], raws: list[bytes] | None, updates: list[Member[T]]
    ) -> bool:
        """Whether the first update says of the sender what the header says (`kin`)."""
        if raws:
            first = self._local.codec.decode_member(raws[0])
        elif updates:
            first = updates[0]
        else:
            return False
        return first == (header.src, header.src_incarnation, State.ALIVE)

    def _apply_raw(self, raws: list[bytes], runtime: Runtime[T]) -> None:
        members, codec = self._local.members, self._local.codec
        # Lazily, one by one: what one update replaces unsettles those behind it.
        for raw in filterfalse(members.settled.__contains__, raws):
            update = codec.decode_member(raw)
            summary = self._standing.apply(update, runtime, encoded=raw)
            if summary is not None:
                members.settle(update, raw, summary)

    def _receive_items(
        self, data: bytes, at: int, src: T, runtime: Runtime[T]
    ) -> MembershipError | None:
        """Hand the items to the handler, up to the first that is broken or refused.

        The engine's own (`notes`) are not for the handler.
        """
        local = self._local
        room = (
            self._outbound.room() if Repair.REFUSE_WHAT_NEVER_FITS in local.repairs else len(data)
        )
        end = len(data)
        while at < end:
            start = at + 2
            at = start + int.from_bytes(data[at:start], "big")
            if at == start or start >= end or at > end:
                return DecodeFailed(
                    "the items of a packet are broken",
                    on=str(src),
                    hint="its updates, and the items before, were applied",
                )
            item = data[start:at]
            if local.wire and notes.is_note(item):
                try:
                    self._correspondence.receive(item, src, runtime)
                except MalformedPacket as error:
                    return DecodeFailed(error.what, on=str(src))
                continue
            try:
                key = local.handler.receive_item(item, src)
            except BroadcastFailed as error:
                return error
            except Exception as error:  # noqa: BLE001 - foreign code, and foreign bytes for it
                refusal = BroadcastFailed(f"an item was refused: {error}", on=str(src))
                refusal.__cause__ = error
                return refusal
            if key is not None and len(item) <= room:
                local.items.add(key, item, local.transmissions())
        return None

    # -- what each message is answered with -------------------------------------------------------

    def _on_ping(self, src: T, message: Ping, runtime: Runtime[T]) -> None:
        self._outbound.send(src, Ack(message.number), runtime, introduce=self._introduced)

    def _on_ack(self, src: T, message: Ack, _runtime: Runtime[T]) -> None:
        self._local.probe.receive_ack(src, message.number)

    def _on_ping_req(self, src: T, message: PingReq[T], runtime: Runtime[T]) -> None:
        self._not_me(message.target)
        self._outbound.send(message.target, IndirectPing(src, message.number), runtime)

    def _on_indirect_ping(self, src: T, message: IndirectPing[T], runtime: Runtime[T]) -> None:
        self._not_me(message.origin)
        self._outbound.send(src, IndirectAck(message.origin, message.number), runtime)

    def _on_indirect_ack(self, src: T, message: IndirectAck[T], runtime: Runtime[T]) -> None:
        self._not_me(message.target)
        self._outbound.send(message.target, ForwardedAck(src, message.number), runtime)

    def _on_forwarded_ack(self, src: T, message: ForwardedAck[T], _runtime: Runtime[T]) -> None:
        self._not_me(message.origin)
        self._local.probe.receive_forwarded_ack(src, message.number)

    def _on_announce(self, src: T, _message: Announce, runtime: Runtime[T]) -> None:
        self._outbound.send(src, _FEED, runtime)

    def _on_turn_undead(self, _src: T, _message: TurnUndead, runtime: Runtime[T]) -> None:
        self._standing.hear_of_own_end(runtime)

    def _not_me(self, identity: T) -> None:
        if identity == self._local.identity:
            raise IndirectForOurselves(
                "a peer wants this member to reach itself through it", on=str(identity)
            )


def _check_items(data: bytes, at: int, src: object) -> None:
    """See that the items end where the packet does (`Repair.WHOLE_PACKETS`).

    Raises:
        MalformedPacket: They do not.
    """
    end = len(data)
    while at < end:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if at == start or start >= end or at > end:
            raise MalformedPacket("the items of a packet are broken", on=str(src))


_REFUSED = frozenset({Conflict.LOST, Conflict.FAILED_CONDITION})
# The messages by which a member makes itself known to kin.
_INTRODUCING = frozenset({Ping, Ack, Feed})
