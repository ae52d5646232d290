"""The watchdogs: what goes on for longer than it should, with the names of those who do it.

They only speak. Their limits and rhythm are the source's; that a report names somebody is ours,
since its readers could not find out whom to ask.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

from holdfast.wake.causes import clause, seconds
from holdfast.wake.model import Blocker, WakeLeaseKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.timers import TimerQueue
    from holdfast.wake.governor.journal import Journal
    from holdfast.wake.governor.leases import Leases
    from holdfast.wake.model import Cause, Config, HeldLease

__all__ = ["LongLeases", "NoSuspend", "SuspendLoop"]

# How many names a watchdog counts for; the one that spoke least recently is forgotten.
_NAMES_MAX: Final = 1024


class LongLeases:
    """Names a wake lease that is held for very long, twice for one name at most.

    While somebody uses the machine, or holds an unmonitored lease, it will not suspend anyhow and
    nobody is blamed. When the last of those is closed, everybody's time begins anew.

    All have the same time, and so who began first is late first: one timer does for all. It is not
    put back when a lease is closed, as nearly all are long before: it then finds nothing.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        timers: TimerQueue[Callable[[int], None]],
        leases: Leases,
    ) -> None:
        self._config = config
        self._journal = journal
        self._timers = timers
        self._leases = leases
        self._exempting = 0
        self._running: dict[int, tuple[int, HeldLease]] = {}  # with when they are late, in order
        self._timed = False
        self._reports: OrderedDict[str, int] = OrderedDict()

    def granted(self, lease: HeldLease, now_ns: int) -> None:
        """It is held from now on."""
        if lease.kind is not WakeLeaseKind.WAKE:
            self._exempting += 1
            self._running.clear()
        elif not self._exempting:
            self._start(lease, now_ns)

    def closed(self, lease: HeldLease, now_ns: int) -> None:
        """It is held no more; if it ever was."""
        if lease.granted_ns is None:
            return
        self._running.pop(lease.lease_id, None)
        if lease.kind is WakeLeaseKind.WAKE:
            return
        self._exempting -= 1
        if not self._exempting:
            for other in self._leases:
                if other.kind is WakeLeaseKind.WAKE and other.granted_ns is not None:
                    self._start(other, now_ns)

    def _start(self, lease: HeldLease, now_ns: int) -> None:
        if self._config.long_lease_ns:
            late_ns = now_ns + self._config.long_lease_ns
            self._running[lease.lease_id] = late_ns, lease
            if not self._timed:
                self._time(late_ns)

    def _time(self, late_ns: int) -> None:
        self._timed = True
        self._timers.add(late_ns, self._look)

    def _look(self, now_ns: int) -> None:
        self._timed = False
        for late_ns, lease in list(self._running.values()):
            if late_ns > now_ns:
                self._time(late_ns)
                return
            del self._running[lease.lease_id]
            self._long(lease, now_ns)

    def _long(self, lease: HeldLease, now_ns: int) -> None:
        reports = self._reports.pop(lease.name, 0)
        self._reports[lease.name] = reports + 1
        if len(self._reports) > _NAMES_MAX:
            self._reports.popitem(last=False)
        if reports >= self._config.long_lease_reports:
            return
        held_ns = now_ns - (now_ns if lease.granted_ns is None else lease.granted_ns)
        self._journal.report(
            now_ns,
            "long-wake-lease",
            (lease.name,),
            f"wake lease {lease.name}, acquired by {lease.requester}, is held for "
            f"{seconds(held_ns)}",
        )


class SuspendLoop:
    """Counts attempts in a row that did not enter the back-end, and names who spoilt them.

    Attributes:
        saboteurs: How many of those attempts each spoilt, until they are reported.
    """

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._attempts = 0
        self.saboteurs: Counter[tuple[Cause, str]] = Counter()

    def entered(self) -> None:
        """The back-end was entered, with whatever outcome."""
        self._attempts = 0
        self.saboteurs.clear()

    def aborted(self, blockers: Iterable[Blocker], now_ns: int) -> None:
        """An attempt ended, and the listeners were told so, without that."""
        self._attempts += 1
        if self._attempts > self._config.suspend_loop:
            return
        self.saboteurs.update({(each.cause, each.name) for each in blockers})
        if self._attempts == self._config.suspend_loop:
            worst = self.saboteurs.most_common(3)
            told = ", ".join(
                f"{clause(Blocker(cause, name))} ({times} of {self._attempts})"
                for (cause, name), times in worst
            )
            self._journal.report(
                now_ns,
                "suspend-loop",
                tuple(name for (_, name), _ in worst if name),
                f"{self._attempts} attempts in a row did not reach the back-end: {told}",
            )


class NoSuspend:
    """Counts how often application activity began since the machine last went down."""

    def __init__(self, config: Config, journal: Journal, leases: Leases) -> None:
        self._config = config
        self._journal = journal
        self._leases = leases
        self._activities = 0
        self._cycles = 0
        self._told = False

    def granted(self, lease: HeldLease, now_ns: int) -> None:
        """A wake lease is held from now on."""
        if lease.kind is not WakeLeaseKind.ACTIVITY:
            return
        self._activities += 1
        if self._activities > 1:
            return
        self._cycles += 1
        if self._cycles <= self._config.no_suspend or self._told:
            return
        self._told = True
        names = self._leases.names()
        self._journal.report(
            now_ns,
            "no-suspend",
            names,
            f"application activity began {self._cycles} times without a suspend between; "
            f"held now: {', '.join(names)}",
        )

    def closed(self, lease: HeldLease) -> None:
        """It is held no more."""
        if lease.kind is WakeLeaseKind.ACTIVITY and lease.granted_ns is not None:
            self._activities -= 1

    def suspended(self) -> None:
        """The machine went down and came back."""
        self._cycles = 0
        self._told = False
