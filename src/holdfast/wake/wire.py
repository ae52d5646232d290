"""What clients and the governor's service say to each other, by method.

======================  ===========================================================================
Acquire                 name, unmonitored → the write end of a pipe beside the answer, which comes
                        once the wake lease is held
AcquireWithToken        the same, and the caller sends the read end of a pipe of its own
ApplicationActivity     name → as Acquire, granted only while the machine is awake
Listen                  name, time-out → the listener's number; from then on the service calls
                        BeforeSuspend and AfterResume, and perhaps Evicted, of the same connection;
                        by Sleeps (oneway) it says that the machine goes down of itself, or is back
Unlisten                number →
Suspend                 time-out → how long the machine slept, or SuspendAborted; withdrawn if the
                        caller cancels it or goes
Status, List, Why       → what can be seen
Where                   → every wake lease, and who holds it now
Watch                   more: the last events and then each new one
Hop                     oneway: a copy of a wake lease was sent, received or let go, or how far its
                        holder is
======================  ===========================================================================

Durations are int nanoseconds, instants int nanoseconds of CLOCK_BOOTTIME.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from holdfast.wake.accounts import Account, Count  # noqa: TC001 - msgspec looks at them

__all__ = [
    "ACQUIRE",
    "ACQUIRE_WITH_TOKEN",
    "AFTER_RESUME",
    "APPLICATION_ACTIVITY",
    "BEFORE_SUSPEND",
    "EVICTED",
    "HOP",
    "INTERFACE",
    "LIST",
    "LISTEN",
    "SLEEPS",
    "STATUS",
    "SUSPEND",
    "UNLISTEN",
    "WATCH",
    "WHERE",
    "WHY",
    "Acquire",
    "Answered",
    "Called",
    "Checked",
    "Evicted",
    "HopReport",
    "Lease",
    "LeaseHolder",
    "LeaseHop",
    "Leases",
    "Listen",
    "Listening",
    "Located",
    "Nothing",
    "Seen",
    "Sleeps",
    "Slept",
    "Stopper",
    "Suspend",
    "WakeEvent",
    "Watch",
    "Where",
    "Why",
]

INTERFACE: Final = "org.holdfast.wake."

ACQUIRE: Final = INTERFACE + "Acquire"
ACQUIRE_WITH_TOKEN: Final = INTERFACE + "AcquireWithToken"
APPLICATION_ACTIVITY: Final = INTERFACE + "ApplicationActivity"
LISTEN: Final = INTERFACE + "Listen"
UNLISTEN: Final = INTERFACE + "Unlisten"
SUSPEND: Final = INTERFACE + "Suspend"
STATUS: Final = INTERFACE + "Status"
LIST: Final = INTERFACE + "List"
WHY: Final = INTERFACE + "Why"
WHERE: Final = INTERFACE + "Where"
WATCH: Final = INTERFACE + "Watch"
HOP: Final = INTERFACE + "Hop"

BEFORE_SUSPEND: Final = INTERFACE + "BeforeSuspend"
AFTER_RESUME: Final = INTERFACE + "AfterResume"
EVICTED: Final = INTERFACE + "Evicted"
SLEEPS: Final = INTERFACE + "Sleeps"


class Nothing(msgspec.Struct, frozen=True):
    """Parameters of who has nothing to say."""


class Acquire(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parameters of `ACQUIRE`, `ACQUIRE_WITH_TOKEN` and `APPLICATION_ACTIVITY`."""

    name: str
    unmonitored: bool = False


class Listen(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parameters of `LISTEN`."""

    name: str
    timeout_ns: int | None = None
    on_timeout: Literal["abort", "go_on", "evict"] = "abort"


class Listening(msgspec.Struct, frozen=True):
    """The answer to `LISTEN`, and the parameters of `UNLISTEN`."""

    listener: int


class Called(msgspec.Struct, frozen=True):
    """Parameters of `BEFORE_SUSPEND` and `AFTER_RESUME`."""

    listener: int


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to `BEFORE_SUSPEND` and `AFTER_RESUME`; most listeners account for nothing."""

    account: Account | None = None


class Sleeps(msgspec.Struct, frozen=True):
    """Parameters of `SLEEPS`."""

    listener: int
    begins: bool


class Evicted(msgspec.Struct, frozen=True):
    """Parameters of `EVICTED`."""

    listener: int
    reason: str


class Suspend(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parameters of `SUSPEND`; None: wait for ever."""

    timeout_ns: int | None = None


class Slept(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to `SUSPEND`."""

    duration_ns: int
    reason: str = ""


class Seen(msgspec.Struct, frozen=True):
    """The answer to `STATUS`."""

    state: str
    suspends: int
    aborts: int
    failures: int
    last_failure: str | None
    last_sleep_ns: int | None
    total_sleep_ns: int
    wake_leases: tuple[str, ...]
    wake_lease_count: int
    listeners: tuple[str, ...]
    requests: int
    backend: str
    stranded: int = 0
    saved: int = 0
    saved_by: int = 0
    trouble: str | None = None


class Lease(msgspec.Struct, frozen=True):
    """One wake lease, in the answer to `LIST`.

    Attributes:
        number: Its number with the governor.
        name: What it is for.
        kind: "wake", "unmonitored" or "activity".
        inode: Of its pipe: the same for all copies.
        pid: Of the process that asked for it, or 0.
        uid: Of the same, or -1.
        command: What it is called; may be empty.
        asked_ns: When it was asked for, in nanoseconds of CLOCK_BOOTTIME.
        granted_ns: When it was granted; None: it waits.
    """

    number: int
    name: str
    kind: str
    inode: int
    pid: int
    uid: int
    command: str
    asked_ns: int
    granted_ns: int | None


class Leases(msgspec.Struct, frozen=True):
    """The answer to `LIST`, oldest first."""

    wake_leases: list[Lease]


class LeaseHolder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A process that holds a wake lease now; see `holdfast.wake.whereabouts`.

    Attributes:
        fds: Its descriptors of it.
        state: "holding", "frozen" or "leaked".
        halt: Why it does not run: "stopped", "traced", "frozen", "in the kernel"; None: it runs.
        announced: Whether it acquired the lease, was said to have received it, or was meant to
            inherit it.
        let_go: It said that it had let go.
        heir_of: The pid of the one from whom it has inherited the descriptor, or None.
        index: The message until which it holds on, or None.
        processed: How many it had processed when it last said so, or None.
        processed_ns: When that was, in nanoseconds of CLOCK_BOOTTIME.
    """

    pid: int
    uid: int
    command: str
    fds: tuple[int, ...]
    state: str
    halt: str | None
    announced: bool
    let_go: bool = False
    heir_of: int | None = None
    index: int | None = None
    processed: int | None = None
    processed_ns: int | None = None


class LeaseHop(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one copy of a wake lease travelled, by what was said; None: nobody has said.

    Attributes:
        sender, receiver: Their pids.
        index: The message that it goes with.
        sent_ns, received_ns, released_ns: When, in nanoseconds of CLOCK_BOOTTIME.
        processed: How many messages the receiver had processed when it last said so.
        processed_ns: When that was.
    """

    sender: int | None = None
    receiver: int | None = None
    index: int | None = None
    sent_ns: int | None = None
    received_ns: int | None = None
    released_ns: int | None = None
    processed: int | None = None
    processed_ns: int | None = None


class Located(msgspec.Struct, frozen=True, omit_defaults=True):
    """One wake lease, in the answer to `WHERE`.

    Attributes:
        place: "held", "in flight" (no process was seen with it), "waiting" (not granted yet), or
            "unknown" (it was granted while we looked).
        on_the_way: How many copies were sent and, by what was said, not received.
        hiding: Where a copy can be that was not seen: "message", "denied", "hidden", "outside",
            "skipped".
        hops: How its copies travelled, oldest first; of many, only the last.
    """

    lease: Lease
    place: str
    holders: tuple[LeaseHolder, ...] = ()
    on_the_way: int = 0
    hiding: tuple[str, ...] = ()
    hops: tuple[LeaseHop, ...] = ()


class Where(msgspec.Struct, frozen=True):
    """The answer to `WHERE`, oldest first."""

    wake_leases: list[Located]


class Stopper(msgspec.Struct, frozen=True):
    """Who has stopped most of the last attempts; see `holdfast.wake.saboteurs`.

    Attributes:
        cause: "wake_lease", "listener", "backend" or "overrun".
        name: Of the wake lease or listener; may be empty.
        by: Who took the wake lease: its command and pid; may be empty.
        times: How many attempts.
        of: Of how many.
    """

    cause: str
    name: str
    by: str
    times: int
    of: int


class Checked(msgspec.Struct, frozen=True):
    """What the head of one pipeline accounted for in the last attempt, and what was made of it.

    Attributes:
        name: Of its listener and its wake leases.
        by: Its command and pid.
        account: What it said.
        stranded: How many messages were stranded when the back-end was entered; 0: none, or it was
            not entered.
        unknown: Of how many nobody has said that they are processed.
    """

    name: str
    by: str
    account: Account
    stranded: int
    unknown: int


class Why(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to `WHY`: sentences, and of some of them what they are made of.

    Attributes:
        lines: The sentences.
        stoppers: Who stops one attempt after the other, the worst first.
        pipelines: What was accounted for in the last attempt, the worst first; of many, only these.
    """

    lines: list[str]
    stoppers: tuple[Stopper, ...] = ()
    pipelines: tuple[Checked, ...] = ()


class Watch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parameters of `WATCH`.

    Attributes:
        since: Begin with the event of this number, if it is remembered; None: with the next one.
    """

    since: int | None = None


class WakeEvent(msgspec.Struct, frozen=True):
    """One answer to `WATCH`; see the table in `holdfast.wake.governor`.

    Attributes:
        number: Counts from 0 and never stops: a gap was forgotten before it could be sent.
        at_ns: When, in nanoseconds of CLOCK_BOOTTIME.
        kind: What happened.
        name: Of the wake lease or listener that it is about; may be empty.
        subject: The number of the wake lease, listener, request or attempt, or -1.
        detail: A few words more; may be empty.
    """

    number: int
    at_ns: int
    kind: str
    name: str
    subject: int
    detail: str


class HopReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """Parameters of `HOP`.

    Attributes:
        event: What became of a copy; "shared": whatever its holder starts inherits it on purpose;
            "progress": its holder holds on, and is so far.
        inode: Of the wake lease.
        pid: To whom it was sent, if that is known.
        index: The message that it goes with.
        processed: How many messages its holder has processed.
    """

    event: Literal["sent", "received", "released", "shared", "progress"]
    inode: int
    pid: int | None = None
    index: Count | None = None
    processed: Count | None = None
