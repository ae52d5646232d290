"""The bytes of leases in shared states: what lies where, and how it is read and written.

================  ==========================================================================
state             what it holds
================  ==========================================================================
lease.own.HASH    `Owned`: whose the lease is, under which epoch, with its first term; its pins
lease.term.HASH   `Term`: the newest extension, keyed by the epoch that it belongs to
lease.store       `Ledger`: which epochs were given out, in which boot and time namespace
================  ==========================================================================

HASH stands for namespace and name, which may be longer, and of other characters, than a state's
name; both are in the record in full. Each state begins with eight bytes (``HFL``, the number of the
format, the length of what follows), then comes MessagePack; what lies behind is left from longer
records. Eight zeros: nobody has written.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from holdfast.errors import InvalidArgument, LeaseError, Unsupported
from holdfast.lease.record import Record, check_word, owner_text

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "LEDGER",
    "LEDGER_SIZE",
    "OWN",
    "OWN_SIZE",
    "TERM",
    "TERM_SIZE",
    "Ledger",
    "Owned",
    "Term",
    "digest",
    "pack",
    "packed",
    "record_of",
    "room_for",
    "unpack",
]

FORMAT = 1
LEDGER = "lease.store"
OWN = "lease.own."
TERM = "lease.term."

OWN_SIZE = 512  # an ordinary owner's facts fit; with its bell, such a state takes three pages
TERM_SIZE = 384  # the most of which eight slots and the header fit into one page
LEDGER_SIZE = 256
_GROWTH = 512
_PIN_ROOM = 1024  # of a page is not for facts about the owner: others must be able to pin

_PREFIX = struct.Struct("<3sBI")
_MAGIC = b"HFL"


class Owned(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """The ownership record. A vacancy keeps the last epoch, so that the next is greater.

    Attributes:
        namespace: Of the lease.
        name: Of the lease, in full.
        epoch: Of this holding, or of the last; 0 before the first.
        pins: Who has asked that it does not expire, sorted.
        holder: "" for a vacancy; then the rest means nothing.
        owner_json: As in `Record`.
        start_ns: Of the first term.
        duration_ns: Of the first term.
        writer: Of the first term.
        era: The boot id when it was claimed.
    """

    namespace: str
    name: str
    epoch: int
    pins: tuple[str, ...] = ()
    holder: str = ""
    owner_json: str = ""
    start_ns: int = 0
    duration_ns: int = 0
    writer: str = ""
    era: str = ""


class Term(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """The term of the holding with that epoch, extended; of any other holding it says nothing."""

    epoch: int
    start_ns: int
    duration_ns: int
    writer: str
    era: str


class Ledger(msgspec.Struct, array_like=True, frozen=True, tag=3, gc=False):
    """What all stores of a directory share.

    Attributes:
        next_epoch: The first that was given to nobody; all greater ones are free, too.
        boot_id: Of the machine, when the store was last opened first after a boot.
        offset_ns: By how much CLOCK_BOOTTIME of those who use it differs from the machine's own.
    """

    next_epoch: int
    boot_id: str
    offset_ns: int


_T = TypeVar("_T", Owned, Term, Ledger)
_encode = msgspec.msgpack.Encoder().encode
_DECODERS: dict[type, Any] = {
    kind: msgspec.msgpack.Decoder(kind).decode for kind in (Owned, Term, Ledger)
}


def digest(namespace: str, name: str) -> str:
    """HASH: 32 hexadecimal digits. No two pairs share one but by a chance of 2**-64 or less."""
    text = f"{len(namespace)} {namespace}{name}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def pack(record: Owned | Term | Ledger) -> bytes:
    """The bytes of a record."""
    body = _encode(record)
    return _PREFIX.pack(_MAGIC, FORMAT, len(body)) + body


def unpack(kind: type[_T], data: Buffer) -> _T | None:
    """The record in a state's bytes; None if nobody has written.

    Raises:
        LeaseError: Something else lies there.
        Unsupported: A later version wrote it.
    """
    view = memoryview(data)
    magic, number, length = _PREFIX.unpack_from(view)
    if magic != _MAGIC:
        if not any(view[: _PREFIX.size]):
            return None
        raise LeaseError("this is no record of a lease")
    if number != FORMAT:
        raise Unsupported(f"the record has format {number}, this version knows {FORMAT}")
    try:
        found: _T = _DECODERS[kind](view[_PREFIX.size : _PREFIX.size + length])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LeaseError(f"this is no record of a lease: {error}") from error
    return found


def record_of(owned: Owned, term: Term | None, era: str) -> Record | None:
    """The picture that a record gives, with the newest term of that very holding if it has one.

    None for a vacancy. A holder of an earlier boot is certainly gone, for there is one host: of its
    term a nanosecond is left, from boot on, since a term must have some length.

    Raises:
        LeaseError: The record contradicts itself.
    """
    try:
        pins = frozenset(check_word(by, "entity that pins") for by in owned.pins)
        if not owned.holder:
            return None
        last = owned if term is None else term
        now = last.era == era
        return Record(
            name=owned.name,
            holder=owned.holder,
            epoch=owned.epoch,
            start_ns=last.start_ns if now else 0,
            duration_ns=last.duration_ns if now else 1,
            writer=last.writer,
            era=last.era,
            owner_json=owned.owner_json,
            pins=pins,
        )
    except InvalidArgument as error:
        raise LeaseError(f"the record contradicts itself: {error}") from error


def room_for(length: int, page_size: int) -> int:
    """The size to which a state grows for a record of so many bytes.

    Raises:
        InvalidArgument: It is more than a page.
    """
    if length > page_size:
        raise InvalidArgument(
            f"the record of a lease would have {length} bytes, and a page has {page_size}",
            hint="use shorter names, or fewer pins",
        )
    return min(page_size, -(-length // _GROWTH) * _GROWTH)


def packed(
    namespace: str, record: Record, pins: tuple[str, ...], page_size: int
) -> tuple[Record, Owned, bytes]:
    """What a claim writes: the record, the same as `Owned`, and its bytes.

    If it is too long for a page with all facts about the owner, it has fewer: the command line goes
    first, then all of them. Some of the page is left for those who will pin.
    """
    owned = _owned_of(namespace, record, pins)
    data = pack(owned)
    room = page_size - _PIN_ROOM
    for cut in (_without_argv, _without_facts) if len(data) > room else ():
        if len(data) > room:
            record = replace(record, owner_json=cut(record))
            owned = _owned_of(namespace, record, pins)
            data = pack(owned)
    return record, owned, data


def _owned_of(namespace: str, record: Record, pins: tuple[str, ...]) -> Owned:
    return Owned(
        namespace,
        record.name,
        record.epoch,
        pins,
        record.holder,
        record.owner_json,
        record.start_ns,
        record.duration_ns,
        record.writer,
        record.era,
    )


def _without_argv(record: Record) -> str:
    facts = record.owner
    if facts is None or "argv" not in facts:
        return record.owner_json
    return owner_text(facts | {"argv": []})


def _without_facts(record: Record) -> str:
    del record
    return ""
