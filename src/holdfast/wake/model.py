"""What the governor and its surroundings say to each other: values, and nothing that acts.

Words: a *wake lease* forbids the machine to go down while it is held; a *listener* is called before
a suspend and after the resume; an *attempt* is one try to go down, from the first call to the last
answer; a *request* is somebody's wish that the machine goes down. Times are int nanoseconds of
CLOCK_BOOTTIME. Numbers of leases, listeners and requests are the driver's, and each is used once;
numbers of calls and attempts are the governor's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from holdfast.wake.accounts import Pipeline

__all__ = [
    "NAME_BYTES_MAX",
    "Aborted",
    "Answer",
    "Attempt",
    "Block",
    "Blocker",
    "Call",
    "CallRecord",
    "Cause",
    "Config",
    "Effect",
    "Ending",
    "Event",
    "Evict",
    "Failed",
    "GoDown",
    "Grant",
    "HeldLease",
    "Moment",
    "OnTimeout",
    "Outcome",
    "Phase",
    "ReadyForShutdown",
    "ReadyForSleep",
    "Report",
    "Requester",
    "Slept",
    "Status",
    "Trigger",
    "WakeLeaseKind",
    "WakeUp",
    "check_name",
]

NAME_BYTES_MAX: Final = 64

_MS = 1_000_000
_S = 1_000_000_000


class Phase(enum.Enum):
    """Where the governor stands."""

    AWAKE = "awake"
    SUSPENDING = "suspending"  # the listeners are asked
    SUSPENDED = "suspended"  # the back-end was entered and has not come back
    RESUMING = "resuming"  # the listeners are told that it is over
    STOPPING = "stopping"  # the machine shuts down: nothing suspends any more


class WakeLeaseKind(enum.Enum):
    """What a wake lease stands for."""

    WAKE = "wake"
    UNMONITORED = "unmonitored"  # the same, and the watchdog of long ones leaves it alone
    ACTIVITY = "activity"  # somebody uses the machine: granted only while it is awake


class OnTimeout(enum.Enum):
    """What to do about a listener that did not answer in its time."""

    ABORT = "abort"  # do not go down this time
    GO_ON = "go_on"  # as if it had answered
    EVICT = "evict"  # as if it had answered, and never call it again


class Moment(enum.Enum):
    """Which of its two functions a listener is called for."""

    BEFORE_SUSPEND = "before_suspend"
    AFTER_RESUME = "after_resume"


class Ending(enum.Enum):
    """How a call ended."""

    ANSWERED = "answered"
    GONE = "gone"  # the listener's connection was closed; counts as an answer
    ABORT = "abort"  # out of time, by the listener's own choice what follows
    GO_ON = "go_on"
    EVICT = "evict"
    LEFT = "left"  # the machine shuts down: nobody waits for it any more


class Trigger(enum.Enum):
    """Who wanted an attempt."""

    REQUEST = "request"
    AUTO = "auto"
    MACHINE = "machine"  # it goes down of itself: somebody else asked it to


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asked, as far as the kernel vouches for it.

    Attributes:
        connection: Number of the connection that the question came by; never used twice.
        pid: Process id at connect time, or 0.
        uid: User id at connect time, or -1.
        command: Its command line's first word, for people; may be empty.
    """

    connection: int
    pid: int = 0
    uid: int = -1
    command: str = ""

    def __str__(self) -> str:
        # Whoever named it may have thought of terminals; these words end in one.
        name = "".join(each if each.isprintable() else "?" for each in self.command) or "a process"
        return f"{name} ({self.pid})" if self.pid else name


@dataclass(frozen=True, slots=True)
class Slept:
    """The back-end went down and came back.

    Attributes:
        duration_ns: How long the machine was down, in nanoseconds.
        reason: What woke it, in words, if that is known.
    """

    duration_ns: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The back-end was entered and did not go down."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Aborted:
    """The request is over and the machine did not go down for it.

    Attributes:
        sentence: Why, in words.
        blockers: The names of the wake leases that forbade it, oldest first.
    """

    sentence: str
    blockers: tuple[str, ...] = ()


Outcome: TypeAlias = Slept | Failed | Aborted


# ---- what the governor wants done -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grant:
    """Answer the one who asked for this lease: it is held.

    Not before a `Block` that went out earlier has taken effect.
    """

    lease_id: int


@dataclass(frozen=True, slots=True)
class Call:
    """Call the listener, and say `answered` with the same number when it has answered."""

    listener_id: int
    call_id: int
    moment: Moment


@dataclass(frozen=True, slots=True)
class GoDown:
    """Enter the back-end, and say `backend_done` with the same number when it is back."""

    attempt: int


@dataclass(frozen=True, slots=True)
class WakeUp:
    """Somebody asks for a lease while the back-end is down: let it come back if it can do that."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Block:
    """A wake lease exists (True), or none does (False): take or drop what blocks the system."""

    held: bool


@dataclass(frozen=True, slots=True)
class ReadyForSleep:
    """The machine goes down of itself, and may: drop what delays it."""

    attempt: int


@dataclass(frozen=True, slots=True)
class ReadyForShutdown:
    """The machine shuts down, and may: drop what delays it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the one who asked for a suspend."""

    request_id: int
    outcome: Slept | Aborted


@dataclass(frozen=True, slots=True)
class Evict:
    """The listener is no longer one: tell it, and close what it was registered by."""

    listener_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """A watchdog speaks; it is in the ring as well.

    Attributes:
        signature: Which watchdog: "long-wake-lease", "suspend-loop", "no-suspend", "stuck",
            "slow-listener", "stranded".
        names: Whom it names, the worst first.
        sentence: What it found, for people.
    """

    signature: str
    names: tuple[str, ...]
    sentence: str


# ---- what happened ----------------------------------------------------------------------------


class Event(NamedTuple):
    """One line of the ring, and an effect: there may be somebody who watches.

    Attributes:
        number: Counts from 0 and never stops; the ring keeps the last ones.
        at_ns: When.
        kind: What: see the table in `holdfast.wake.governor`.
        name: Of the lease, listener or signature that it is about; may be empty.
        subject: Number of that lease, listener, request or attempt; -1 if it is about none.
        detail: A few words more; may be empty.
    """

    number: int
    at_ns: int
    kind: str
    name: str = ""
    subject: int = -1
    detail: str = ""


class HeldLease(NamedTuple):  # made twice for each acquire: a dataclass takes three times as long
    """A wake lease as it was at one moment.

    Attributes:
        granted_ns: When it was granted; None: it waits.
    """

    lease_id: int
    name: str
    kind: WakeLeaseKind
    requester: Requester
    asked_ns: int
    granted_ns: int | None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call of one listener, as far as it got.

    Attributes:
        ended_ns: When it ended; None: it has not.
    """

    listener_id: int
    listener: str
    moment: Moment
    began_ns: int
    ended_ns: int | None = None
    ending: Ending | None = None


class Cause(enum.Enum):
    """Why an attempt did not enter the back-end, or did not go down."""

    WAKE_LEASE = "wake_lease"  # held, or waited for, when the listeners had answered
    LISTENER = "listener"  # out of time, and its choice was to abort
    WITHDRAWN = "withdrawn"  # nobody wanted it any more, or only past his deadline
    BACKEND = "backend"  # it failed
    SHUTDOWN = "shutdown"
    OVERRUN = "overrun"  # the machine went down before we were ready, or woke before


@dataclass(frozen=True, slots=True)
class Blocker:
    """One reason, with what it was about."""

    cause: Cause
    name: str = ""
    subject: int = -1
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to go down.

    Attributes:
        number: Counts from 1.
        began_ns: When the listeners began to be asked.
        entered_ns: When the back-end was entered, or the machine was let go; None: never.
        ended_ns: When the listeners had been told that it is over; None: it goes on.
        calls: Every call made for it, in order.
        leases: The leases that forbade it, oldest first, at most `Config.leases_shown`.
        blockers: Why it did not go down, in the order in which that came to be known.
        outcome: What the back-end said; None: nothing, or not yet.
        pipelines: What the heads of pipelines accounted for, as they answered.
    """

    number: int
    trigger: Trigger
    began_ns: int
    entered_ns: int | None = None
    ended_ns: int | None = None
    calls: tuple[CallRecord, ...] = ()
    leases: tuple[HeldLease, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    outcome: Slept | Failed | None = None
    pipelines: tuple[Pipeline, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The governor at one moment.

    Attributes:
        state: Where it stands.
        suspends: How often the machine went down and came back.
        aborts: How often an attempt ended before the back-end was entered.
        failures: How often the back-end was entered and did not go down.
        last_failure: What it said the last time; None: never.
        last_sleep_ns: How long the machine was down the last time; None: never.
        last_going_down_ns: What the last sleep cost besides: from entering the back-end to its
            return, less the sleep; None: never.
        total_sleep_ns: The sum of all sleeps.
        wake_leases: The oldest, granted or waiting, oldest first, at most `Config.leases_shown`.
        wake_lease_count: How many there are.
        listeners: Names, oldest first.
        requests: How many suspends are asked for.
        next_attempt_ns: Not before then, because the last attempts failed; None: at any time.
        attempt: The one that goes on, or the last one; None: there was none yet.
        stranded: Messages of pipelines that were neither processed nor under a wake lease when the
            machine went down, in all attempts.
        saved, saved_by: Messages that would have been stranded, but for so many wake leases.
    """

    state: Phase
    suspends: int
    aborts: int
    failures: int
    last_failure: str | None
    last_sleep_ns: int | None
    last_going_down_ns: int | None
    total_sleep_ns: int
    wake_leases: tuple[HeldLease, ...]
    wake_lease_count: int
    listeners: tuple[str, ...]
    requests: int
    next_attempt_ns: int | None
    attempt: Attempt | None
    stranded: int = 0
    saved: int = 0
    saved_by: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What can be set, in nanoseconds and counts. The defaults of the watchdogs are the source's.

    Attributes:
        auto: Suspend whenever nothing forbids it, unasked.
        linger_ns: With `auto`: how long to stay awake after a resume if nobody holds anything.
        backoff_ns: The pause after the first attempt that failed or was aborted; each further one
            in a row doubles it.
        backoff_max_ns: The longest pause.
        slow_listener_ns: Name a listener in a report when it took that long, and each time again.
        stuck_ns: Name all listeners that are awaited when the calls took that long, and each time
            again.
        long_lease_ns: Report a wake lease that is held for that long; 0: do not.
        long_lease_reports: At most that many for one name.
        suspend_loop: Report after that many attempts in a row that did not enter the back-end.
        no_suspend: Report when application activity began once more than that often without a
            suspend between.
        leases_max, listeners_max, requests_max: More are refused.
        leases_shown: How many wake leases a status, an attempt or an answer names, the oldest.
        events_max: The ring's length.
        attempts_max: How many attempts are remembered.
    """

    auto: bool = False
    linger_ns: int = 100 * _MS
    backoff_ns: int = 10 * _MS
    backoff_max_ns: int = 60 * _S
    slow_listener_ns: int = 10 * _S
    stuck_ns: int = 60 * _S
    long_lease_ns: int = 300 * _S
    long_lease_reports: int = 2
    suspend_loop: int = 10
    no_suspend: int = 5
    leases_max: int = 4096
    listeners_max: int = 256
    requests_max: int = 256
    leases_shown: int = 64
    events_max: int = 6144
    attempts_max: int = 32

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value < (0 if each.name in _MAY_BE_ZERO else 1):
                raise InvalidArgument(f"{each.name} is too small", on=str(value))


_MAY_BE_ZERO = {"auto", "linger_ns", "long_lease_ns", "long_lease_reports"}

Effect: TypeAlias = (
    Grant
    | Call
    | GoDown
    | WakeUp
    | Block
    | ReadyForSleep
    | ReadyForShutdown
    | Answer
    | Evict
    | Event
    | Report
)


def check_name(name: str, what: str) -> str:
    """The name of a lease or listener, if it is one.

    Raises:
        InvalidArgument: It is empty, longer than 64 bytes in UTF-8, or cannot be printed on one
            line (the source's rule but for the last; a name is shown in terminals).
    """
    if not name:
        raise InvalidArgument(f"{what} has no name", hint="give it one that says what it is for")
    if not name.isprintable():
        raise InvalidArgument(f"the name of {what} cannot be printed", on=ascii(name[:64]))
    if len(name.encode(errors="replace")) > NAME_BYTES_MAX:
        raise InvalidArgument(
            f"the name of {what} is longer than {NAME_BYTES_MAX} bytes", on=name[:64]
        )
    return name
