"""Where a wake lease is now: what the descriptors show, held against what was announced.

::

                       found in a process?
                     yes │            │ no, and its pipe has not hung up
            ┌────────────┘            └──────────────┐
            ▼                                        ▼
      HELD: by each of them                   IN_FLIGHT: in a message that nobody has received,
        holding   announced, or not           or in a process that we cannot look into;
        frozen    it cannot let go            `hiding` says which of the two are possible
        leaked    it inherited the descriptor

A holder is *announced* if it acquired the lease, or was said to have received it. One that is not,
and descends from one that is, has inherited the descriptor: *leaked*, unless that one said that it
shares it with all that it starts. One that is neither got it from a program that does not announce
(it does not use this library, or its governor is another).

Source: specs of wake leases, on what nobody has (who holds it now, leaks); proc_pid_fd(5).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from holdfast.wake.hops import Process

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.wake.hops import Hop, Trail

__all__ = [
    "Halt",
    "Hiding",
    "HoldState",
    "Holder",
    "Holding",
    "Mailbox",
    "Place",
    "Scan",
    "Whereabouts",
    "command_of",
    "whereabouts",
]


class HoldState(enum.Enum):
    """How a process holds a wake lease."""

    HOLDING = "holding"
    FROZEN = "frozen"  # and does not run: it cannot let go
    LEAKED = "leaked"  # inherited from a holder, and never announced


class Halt(enum.Enum):
    """Why a process does not run."""

    STOPPED = "stopped"  # by a signal: SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU
    TRACED = "traced"  # by a debugger
    FROZEN = "frozen"  # by its cgroup's freezer
    KERNEL = "in the kernel"  # it waits there, and no signal reaches it; mostly only for a moment


class Place(enum.Enum):
    """Where a wake lease is."""

    HELD = "held"
    IN_FLIGHT = "in flight"


class Hiding(enum.Enum):
    """Where a copy can be that nobody was found to hold."""

    MESSAGE = "message"  # sent, and not yet received: always possible
    DENIED = "denied"  # in a process that we may not look into
    HIDDEN = "hidden"  # in one that /proc does not show us (hidepid)
    OUTSIDE = "outside"  # in one outside of our container
    SKIPPED = "skipped"  # in one of more processes than are looked at


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has the lease's descriptor open.

    Attributes:
        pid: Its process id.
        start_ticks: When it started, in clock ticks since boot.
        uid: Its effective user id.
        argv: Its command line, cut off; its short name where it has none.
        fds: Its descriptors of the lease; more than one are duplicates.
        state: How it holds it. The scan by itself knows only holding and frozen.
        halt: Why it does not run, or None.
        parents: Its parent, that one's parent, and so on.
        session: Its session, setsid(2).
        orphan: Whether its parent died, as far as can be seen: the one it has now is the first
            process, or of another session.
    """

    pid: int
    start_ticks: int
    uid: int
    argv: tuple[str, ...]
    fds: tuple[int, ...]
    state: HoldState = HoldState.HOLDING
    halt: Halt | None = None
    parents: tuple[Process, ...] = ()
    session: int = 0
    orphan: bool = False

    @property
    def process(self) -> Process:
        """Which process it is."""
        return Process(self.pid, self.start_ticks, self.session, self.command)

    @property
    def command(self) -> str:
        """What it is called: the last part of the program's name, in printable characters."""
        return command_of(self.argv)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A process with sockets in which messages wait that carry descriptors, some descriptors.

    Attributes:
        sockets: The descriptors of those sockets.
        waiting: How many descriptors wait in them; ours may be one of them, or none.
    """

    pid: int
    start_ticks: int
    uid: int
    argv: tuple[str, ...]
    sockets: tuple[int, ...]
    waiting: int

    @property
    def command(self) -> str:
        """What the process is called."""
        return command_of(self.argv)


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at all processes has shown.

    Attributes:
        holders: For each inode that was looked for, who has it open for writing.
        mailboxes: Where messages with descriptors wait; looked for only if a holder was missing.
        processes: How many were looked into.
        denied: How many we may not look into.
        skipped: How many were too many.
        hidden: Whether /proc does not show us all processes.
        outside: Whether there may be processes outside of our container.
    """

    holders: Mapping[int, tuple[Holder, ...]] = field(default_factory=dict)
    mailboxes: tuple[Mailbox, ...] = ()
    processes: int = 0
    denied: int = 0
    skipped: int = 0
    hidden: bool = False
    outside: bool = False

    @property
    def hiding(self) -> tuple[Hiding, ...]:
        """Where a copy can be that was not found."""
        possible = {
            Hiding.MESSAGE: True,
            Hiding.DENIED: self.denied > 0,
            Hiding.HIDDEN: self.hidden,
            Hiding.OUTSIDE: self.outside,
            Hiding.SKIPPED: self.skipped > 0,
        }
        return tuple(where for where, is_so in possible.items() if is_so)


@dataclass(frozen=True, slots=True)
class Holding:
    """A holder, and how it came to be one.

    Attributes:
        announced: It acquired the lease, or was said to have received it.
        let_go: It said that it had let go of it: the descriptor is a copy that it forgot.
        heir_of: From whom it has inherited the descriptor, if it has.
        hop: The one by which it received what it holds on for, by what was said.
    """

    holder: Holder
    announced: bool
    let_go: bool = False
    heir_of: Process | None = None
    hop: Hop | None = None

    @property
    def index(self) -> int | None:
        """It holds on until it has processed that message."""
        return None if self.hop is None else self.hop.index


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a wake lease is.

    Attributes:
        lease: The inode of its pipe.
        acquirer: Who acquired it.
        holdings: Who holds it now.
        on_the_way: Hops that were sent and, by what was said, not yet received.
        missing: Announced holders that were not found to hold it, and never said that they had
            let go: they ended, or closed it in their own way, or we cannot look into them.
        hiding: Where else a copy can be.
        mailboxes: Processes with sockets in which descriptors wait; only if it was not found.
        denied: How many processes we may not look into.
        hops: How it travelled, by what was said.
    """

    lease: int
    acquirer: Process | None
    place: Place
    holdings: tuple[Holding, ...]
    on_the_way: tuple[Hop, ...] = ()
    missing: tuple[Process, ...] = ()
    hiding: tuple[Hiding, ...] = ()
    mailboxes: tuple[Mailbox, ...] = ()
    denied: int = 0
    hops: tuple[Hop, ...] = ()


def whereabouts(trail: Trail, scan: Scan) -> Whereabouts:
    """Where the wake lease is, by what was said of it and what was seen.

    Args:
        trail: What was said: `Hops.trail`.
        scan: What was seen: a look that was asked for the lease's inode, while its pipe had not
            hung up.
    """
    declared, let_go = _declared(trail)
    holdings = tuple(
        _holding(holder, trail, declared, let_go) for holder in scan.holders.get(trail.lease, ())
    )
    found = [holding.holder.process for holding in holdings]
    return Whereabouts(
        lease=trail.lease,
        acquirer=trail.acquirer,
        place=Place.HELD if holdings else Place.IN_FLIGHT,
        holdings=holdings,
        on_the_way=tuple(
            hop for hop in trail.hops if hop.sent_ns is not None and hop.received_ns is None
        ),
        missing=tuple(each for each in declared if not _one_of(each, [*found, *let_go])),
        hiding=scan.hiding,
        mailboxes=() if holdings else scan.mailboxes,
        denied=scan.denied,
        hops=trail.hops,
    )


def command_of(argv: tuple[str, ...]) -> str:
    """What a command line's program is called, in printable characters.

    Of an interpreter with a script, both are named: "python3 upload.py" says more than "python3".
    So is a module: "python3 -m upload".
    """
    if not argv:
        return "?"
    words = [argv[0].rpartition("/")[2] or argv[0]]
    if words[0].startswith(("python", "sh", "bash", "perl", "ruby", "node")):
        script = argv[1] if len(argv) > 1 else "-"
        if not script.startswith("-"):
            words.append(script.rpartition("/")[2] or script)
        elif script == "-m":
            words += argv[1:3]
    text = " ".join(words)
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text[:64]
    )


def _declared(trail: Trail) -> tuple[list[Process], list[Process]]:
    """Those who are said to hold it or to have held it, and those of them who let go of it.

    Who has received it twice, and let go of it once, holds it still.
    """
    copies: list[tuple[Process, int, int]] = []
    if trail.acquirer is not None:
        copies.append((trail.acquirer, 1, 0))
    for hop in trail.hops:
        if hop.receiver is not None:
            taken, given = hop.received_ns is not None, hop.closed
            if taken or given:
                copies.append((hop.receiver, taken, given))
    declared: list[Process] = []
    let_go: list[Process] = []
    for process, _, _ in copies:
        if _one_of(process, declared):
            continue
        declared.append(process)
        mine = [copy for copy in copies if copy[0].is_same(process)]
        if sum(copy[1] for copy in mine) <= sum(copy[2] for copy in mine):
            let_go.append(process)
    return declared, let_go


def _holding(
    holder: Holder, trail: Trail, declared: list[Process], let_go: list[Process]
) -> Holding:
    me = holder.process
    if _one_of(me, declared):
        return Holding(holder, announced=True, let_go=_one_of(me, let_go), hop=_hop(me, trail))
    if trail.forgotten:
        return Holding(
            holder, announced=True
        )  # it may have been one of those there was no room for
    heir_of = _bequeather(holder, declared)
    if heir_of is None:
        return Holding(holder, announced=False)
    if _one_of(heir_of, list(trail.shared_by)):
        return Holding(holder, announced=True, heir_of=heir_of)
    leaked = replace(holder, state=HoldState.LEAKED)
    return Holding(leaked, announced=False, heir_of=heir_of)


def _bequeather(holder: Holder, declared: list[Process]) -> Process | None:
    """From whom it has inherited the descriptor; the nearest of its forebears, if there are more.

    An orphan's forebears cannot be seen any more, but it stays in its session.
    """
    for parent in holder.parents:
        for each in declared:
            if each.is_same(parent):
                return each
    if holder.orphan and holder.session:
        for each in reversed(declared):
            if each.session == holder.session and each.start_ticks <= holder.start_ticks:
                return each
    return None


def _hop(process: Process, trail: Trail) -> Hop | None:
    """Of the copies that it has received and not let go of, the one that it has longest to do."""
    mine = [hop for hop in trail.hops if hop.held_by(process)]
    return max(mine, key=lambda hop: -1 if hop.index is None else hop.index, default=None)


def _one_of(process: Process, others: list[Process]) -> bool:
    return any(process.is_same(other) for other in others)
