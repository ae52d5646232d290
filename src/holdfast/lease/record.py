"""What a store knows of one lease, and which names, holders and durations may stand in it.

A lease has two records. The *ownership* record says whose it is: name, holder, epoch, and facts
about the owner for people. It changes only at hand-over. The *term* record says how long the
promise runs: start, duration, the clock's era and the writer. It changes at each renewal. `Record`
is both, as one picture taken at one instant.

Nobody holds a lease that no record says is his, and nobody can claim one while there is a record of
anybody: the passing of time alone changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DURATION_NS_MAX",
    "Reading",
    "Record",
    "check_duration",
    "check_epoch",
    "check_instant",
    "check_word",
    "checked_record",
    "owner_text",
]

# 146 years: the sum of a clock's reading and a duration still fits into a database's 64 bits.
DURATION_NS_MAX = 2**62

_PLAIN: frozenset[type] = frozenset({str, int, bool, type(None)})
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Reading:
    """What a store's clock showed.

    Attributes:
        now_ns: Nanoseconds since the era began. They have nothing to do with any calendar.
        era: Which life of the clock record this is. A record that was lost and made anew counts
            from zero again, in another era: readings of two eras cannot be compared.
        step_ns: How much this clock may gain at once, for time that passed before the reading too;
            0 for a clock that runs by itself.
    """

    now_ns: int
    era: str
    step_ns: int = 0

    def __post_init__(self) -> None:
        now_ns, step_ns = self.now_ns, self.step_ns
        if not (type(now_ns) is int and 0 <= now_ns <= DURATION_NS_MAX):
            check_instant(now_ns, "reading of a clock")
        check_word(self.era, "era of a clock")
        if type(step_ns) is not int or step_ns != 0:
            check_instant(step_ns, "step of a clock")

    @property
    def latest_ns(self) -> int:
        """What the clock would show now at most, if all time that has passed were counted.

        A clock that others advance is always late: the next step will add time that has passed
        already. A promise that started at `now_ns` could be shorter by that; one that starts here
        cannot.
        """
        return self.now_ns + self.step_ns


@dataclass(frozen=True, slots=True)
class Record:
    """A lease that somebody holds, as it was when it was read.

    Two records are equal if every field is. That is what a store compares before it changes
    anything: of the fields, none can be left out (see `holdfast.lease.rules`).

    Attributes:
        name: The lease.
        holder: Who holds it.
        epoch: The fencing token: unique in the store, and it grows from one holding of a name to
            the next, vacancies between them included.
        start_ns: `Reading.latest_ns` of the store's clock when it was claimed or last extended.
        duration_ns: How long it is promised from there on.
        writer: The id of the store object that wrote the term.
        era: The era of the clock that `start_ns` was read from.
        owner_json: Facts about the owner as one line of JSON, or "".
        pins: Who has asked that it does not expire.
    """

    name: str
    holder: str
    epoch: int
    start_ns: int
    duration_ns: int
    writer: str
    era: str
    owner_json: str = ""
    pins: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_word(self.name, "name of a lease")
        check_word(self.holder, "holder")
        check_epoch(self.epoch)
        check_instant(self.start_ns, "start of a term")
        check_duration(self.duration_ns)
        check_word(self.writer, "writer")
        check_word(self.era, "era of a clock")
        for entity in self.pins:
            check_word(entity, "entity that pins")

    @property
    def owner(self) -> dict[str, Any] | None:
        """Facts about the owner (`holdfast.process.Owner.from_dict` reads them), or None."""
        if not self.owner_json:
            return None
        facts = json.loads(self.owner_json)
        return facts if isinstance(facts, dict) else None

    def start_in(self, era: str) -> int:
        """The start of the term, as the clock of that era would have shown it at the latest.

        What was written in another era was written before this one began, at zero or earlier.
        """
        return self.start_ns if self.era == era else 0

    def end_in(self, era: str) -> int:
        """The last reading of that era at which the term certainly still runs."""
        return self.start_in(era) + self.duration_ns


class _Draft:
    """A `Record` whose fields can still be set: of the same layout, so that it can become one."""

    __slots__ = tuple(Record.__slots__)

    def __init__(
        self,
        name: str,
        holder: str,
        epoch: int,
        start_ns: int,
        duration_ns: int,
        writer: str,
        era: str,
        owner_json: str,
        pins: frozenset[str],
    ) -> None:
        self.name = name
        self.holder = holder
        self.epoch = epoch
        self.start_ns = start_ns
        self.duration_ns = duration_ns
        self.writer = writer
        self.era = era
        self.owner_json = owner_json
        self.pins = pins


def checked_record(
    name: str,
    holder: str,
    epoch: int,
    start_ns: int,
    duration_ns: int,
    writer: str,
    era: str,
    owner_json: str,
    pins: frozenset[str],
) -> Record:
    """A `Record` of fields that the caller has checked already, or has from another record.

    It takes a fifth of the time of ``Record(...)``, which looks at each field, and sets each by the
    roundabout way of a frozen class.
    """
    draft: Any = _Draft(name, holder, epoch, start_ns, duration_ns, writer, era, owner_json, pins)
    draft.__class__ = Record
    record: Record = draft
    return record


def check_word(value: object, what: str) -> str:
    """A name, a holder, a writer or a pinning entity: printable, and at least one character.

    Raises:
        InvalidArgument: It is something else. Line breaks, tabs, control characters and half
            surrogates are not printable; a blank is.
    """
    if type(value) is str and value and value.isprintable():
        return value
    if not isinstance(value, str):
        raise InvalidArgument(f"the {what} is no string: {value!r}")
    if not value or not value.isprintable():
        raise InvalidArgument(
            f"no {what}: {value!r}", hint="use printable characters, and at least one"
        )
    return value


def check_duration(value: object) -> int:
    """A duration in nanoseconds: any that is longer than nothing.

    Raises:
        InvalidArgument: It is no int, not positive, or more than a store's column can hold.
    """
    if type(value) is int and 0 < value <= DURATION_NS_MAX:
        return value
    number = _whole(value, "duration")
    if not 0 < number <= DURATION_NS_MAX:
        raise InvalidArgument(
            f"no duration of a lease: {number} ns", hint="give more than 0, and at most 2**62"
        )
    return number


def check_instant(value: object, what: str) -> int:
    """An instant of a store's clock, 0 or later.

    Raises:
        InvalidArgument: It is no int, negative, or more than a store's column can hold.
    """
    if type(value) is int and 0 <= value <= DURATION_NS_MAX:
        return value
    number = _whole(value, what)
    if not 0 <= number <= DURATION_NS_MAX:
        raise InvalidArgument(f"no {what}: {number} ns")
    return number


def check_epoch(value: object) -> int:
    """An epoch: the first is 1.

    Raises:
        InvalidArgument: It is no int, or less.
    """
    if type(value) is int and value >= 1:
        return value
    number = _whole(value, "epoch")
    if number < 1:
        raise InvalidArgument(f"no epoch: {number}")
    return number


def owner_text(owner: Mapping[str, Any] | None) -> str:
    """Facts about an owner as the one line of JSON that is kept of them; "" for None.

    Raises:
        InvalidArgument: JSON has no such values.
    """
    if owner is None:
        return ""
    if type(owner) is dict and _plain(owner):
        try:
            return _encode(owner).decode()  # in a tenth of the time
        except (ValueError, OverflowError):
            pass  # half surrogates: the arguments of a command need not be UTF-8
    try:
        return json.dumps(dict(owner), sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"the facts about an owner cannot be kept: {error}",
            hint="use plain values, as Owner.to_dict() has them",
        ) from error


def _plain(facts: dict[str, Any]) -> bool:
    """Whether msgspec writes these as the json module does; of other kinds it writes too many."""
    for value in facts.values():
        if type(value) not in _PLAIN and (
            type(value) is not list or not _PLAIN.issuperset(map(type, value))
        ):
            return False
    return True


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgument(f"the {what} is no int: {value!r}", hint="time is int nanoseconds")
    return value
