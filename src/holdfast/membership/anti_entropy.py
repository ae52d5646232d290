"""Anti-entropy: two members compare their lists, so that lost news arrives after all.

An update is told a limited number of times, and may get lost every time. So at times a member sends
a digest of its list to one other, and both tell each other what differs, in one packet each::

    A                                    B
    DIGEST, answer wanted   ───────────▶ which parts differ from mine?   none: done
                            ◀─────────── STATE of these parts, DIGEST
    applies; what differs?  ───────────▶ STATE of these parts

A list has `BUCKETS` parts; a member is in the part that the checksum of its bytes says. The digest
of a part is the sum of the checksums of the active members in it, the list's owner among them. Who
is down is not in the digest, as that is forgotten by each in its own time; but where something
differs, those that are down are told, too. Nobody takes a member in just because it is down.

Sources: the push and pull of memberlist, state.go, but with digests and in packets of bounded size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic
from zlib import crc32

from holdfast.membership.identity import T
from holdfast.membership.member import Member, Members, State
from holdfast.membership.notes import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from holdfast.membership.codec.base import Codec

__all__ = ["PERIODS", "Comparison"]

# How many periods of the probe from one exchange to the next.
PERIODS: Final = 10
_U32 = 0xFFFFFFFF


class Comparison(Generic[T]):
    """What one member's list looks like; it is looked at anew only when it has changed.

    Args:
        codec: Makes the bytes.
        members: The list.
    """

    __slots__ = ("_codec", "_members", "_of", "_parts")

    def __init__(self, codec: Codec[T], members: Members[T]) -> None:
        self._codec = codec
        self._members = members
        self._of: int | None = None  # the version of the list that `_parts` is of
        self._parts: list[int] = []

    def digest(self, me: Member[T]) -> tuple[int, ...]:
        """A number for each part. O(n) if the list has changed since the last time."""
        if self._of != self._members.version:
            self._of = self._members.version
            self._parts = parts = [0] * BUCKETS
            encode = self._codec.encode_member
            for member in self._members:
                if member.state is not State.DOWN:
                    checksum = crc32(encode(member))
                    parts[checksum % BUCKETS] += checksum
        parts = self._parts.copy()
        checksum = crc32(self._codec.encode_member(me))
        parts[checksum % BUCKETS] += checksum
        return tuple(part & _U32 for part in parts)

    def differing(self, me: Member[T], theirs: tuple[int, ...]) -> frozenset[int]:
        """The parts that differ."""
        ours = self.digest(me)
        return frozenset(n for n in range(BUCKETS) if ours[n] != theirs[n])

    def state(self, me: Member[T], parts: frozenset[int], space: int, rng: Random) -> list[bytes]:
        """The members of those parts as bytes, and then those that are down, as many as fit.

        If not all fit, they are chosen at random, so that each has its turn.
        """
        active = [m for m in self._members if m.active]
        encoded = [e for e in self._encode([*active, me]) if crc32(e) % BUCKETS in parts]
        rng.shuffle(encoded)
        down = [m for m in self._members if not m.active]
        rng.shuffle(down)
        told = []
        for one in (*encoded, *self._encode(down[: space // 4])):
            if len(one) > space:
                break
            space -= len(one)
            told.append(one)
        return told

    def _encode(self, members: Iterable[Member[T]]) -> Iterable[bytes]:
        return map(self._codec.encode_member, members)


def is_news(update: Member[T], members: Members[T]) -> bool:
    """Whether an update of another list is worth a look: not who is down, and unknown here."""
    return update.state is not State.DOWN or members.get(update.identity.addr) is not None
