"""The plain values of `holdfast.state`: what may be done, what was seen, what is known."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgspec

from holdfast.errors import InvalidArgument
from holdfast.state.files import PAGE_SIZE

__all__ = ["Permission", "Snapshot", "StateInfo"]


class Permission(enum.Flag):
    """What a subscription may do. Writing includes reading: a transaction starts from a copy."""

    READ = 1
    WRITE = 2

    @classmethod
    def parse(cls, given: str | int | Permission) -> Permission:
        """From "r", "w", "rw" or the flags (K18); ``WRITE`` alone means both.

        Raises:
            InvalidArgument: None of them.
        """
        words = {"r": 1, "w": 3, "rw": 3, "wr": 3}
        value = given.value if isinstance(given, Permission) else given
        if isinstance(value, str):
            value = words.get(value, 0)
        if type(value) is not int or value not in {1, 2, 3}:
            raise InvalidArgument(
                "not a permission",
                on=repr(given),
                hint='use "r", "rw", or Permission.READ | Permission.WRITE',
            )
        return cls.READ | cls.WRITE if value & 2 else cls.READ

    def __str__(self) -> str:
        return "rw" if Permission.WRITE in self else "r"


class Snapshot(msgspec.Struct, frozen=True):  # made twenty times as fast as a dataclass
    """One version of one state.

    Attributes:
        data: Its bytes.
        version: Its number; 0 before the first commit.
        incarnation: Which state of that name: 32 hexadecimal digits.
        time_ns: When it was committed, CLOCK_BOOTTIME in nanoseconds; 0 for version 0.
        pid: Who committed it, as a process number in its own namespace; 0 for version 0.
    """

    data: bytes
    version: int
    incarnation: str
    time_ns: int
    pid: int


@dataclass(frozen=True, slots=True)
class StateInfo:
    """What is known of a state and of this handle, for people and for tools.

    Attributes:
        name: The state's name.
        path: Its file in the namespace's directory.
        permissions: Of this handle: "r" or "rw".
        size: Bytes of the newest version.
        version: Its number.
        written: Whether anybody has ever committed data.
        incarnation: Which state of that name.
        retained: Whether it stays when the last subscriber has gone.
        persistent: The user's file that keeps it, or None.
        created_ns: When it was made, CLOCK_REALTIME.
        time_ns: When the newest version was committed, CLOCK_BOOTTIME.
        pid: By whom.
        watch: How this handle's descriptor learns of changes: "inotify", "timer", or None as long
            as nobody has asked for it.
        others: Whether anybody else is subscribed.
        commits: Made through this handle.
        conflicts: Commits of this handle that failed because somebody was first.
        overtaken: Copies of this handle that commits had spoilt, and that were made again.
        slots_filling: Slots that somebody is filling now, or died over.
        memory_bytes: Shared memory that the state's files take.
    """

    name: str
    path: str
    permissions: str
    size: int
    version: int
    written: bool
    incarnation: str
    retained: bool
    persistent: str | None
    created_ns: int
    time_ns: int
    pid: int
    watch: str | None
    others: bool
    commits: int
    conflicts: int
    overtaken: int
    slots_filling: int
    memory_bytes: int


def check_size(size: int) -> int:
    """The size itself, if a state can have it: 1 to one page (K15).

    Raises:
        InvalidArgument: It cannot.
    """
    if type(size) is not int or not 1 <= size <= PAGE_SIZE:
        raise InvalidArgument(
            f"a state holds 1 to {PAGE_SIZE} bytes, not {size!r}", hint="use several states"
        )
    return size
