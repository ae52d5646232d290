"""The table of wake leases: who asked, what is granted, what waits."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from holdfast.errors import InvalidArgument, OutOfSpace
from holdfast.wake.model import Block, Grant, HeldLease, WakeLeaseKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.wake.governor.journal import Journal
    from holdfast.wake.model import Config

__all__ = ["Leases"]


class Leases:
    """Every wake lease that was asked for and is not closed, oldest first.

    A waiting one forbids a suspend like a granted one: somebody wants the machine awake.
    """

    __slots__ = ("_all", "_config", "_granted", "_journal", "_waiting")

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._all: dict[int, HeldLease] = {}
        self._granted = 0
        self._waiting: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[HeldLease]:
        return iter(self._all.values())

    def check(self, lease_id: int) -> None:
        """Whether there is room for that one.

        Raises:
            InvalidArgument: It is there already.
            OutOfSpace: There are `leases_max`.
        """
        if lease_id in self._all:
            raise InvalidArgument("a wake lease of that number exists", on=str(lease_id))
        if len(self._all) >= self._config.leases_max:
            raise OutOfSpace(
                f"there are {len(self._all)} wake leases already",
                hint="close some; a program that asks for one a message wants another strategy",
            )

    def add(self, lease: HeldLease) -> None:
        """It is asked for, and waits until `grant`."""
        self._all[lease.lease_id] = lease
        self._waiting[lease.lease_id] = None

    def wait(self, lease: HeldLease, now_ns: int) -> None:
        """Say that it cannot be granted now."""
        self._journal.tell(now_ns, "lease-waits", lease.name, lease.lease_id)

    def grant(self, now_ns: int, *, activity: bool) -> list[HeldLease]:
        """Grant what waits, application activity only if said so. Returns what was granted."""
        granted: list[HeldLease] = []
        if not self._waiting:
            return granted
        for lease_id in list(self._waiting):
            waiting = self._all[lease_id]
            if waiting.kind is WakeLeaseKind.ACTIVITY and not activity:
                continue
            del self._waiting[lease_id]
            lease = HeldLease(
                lease_id,
                waiting.name,
                waiting.kind,
                waiting.requester,
                waiting.asked_ns,
                now_ns,
            )
            self._all[lease_id] = lease
            if self._granted == 0:
                self._journal.tell(now_ns, "held")
                self._journal.want(Block(held=True))
            self._granted += 1
            self._journal.tell(now_ns, "lease-granted", lease.name, lease_id)
            self._journal.want(Grant(lease_id))
            granted.append(lease)
        return granted

    def close(self, lease_id: int, now_ns: int) -> HeldLease | None:
        """It is closed; None if it is not there (any more)."""
        lease = self._all.pop(lease_id, None)
        if lease is None:
            return None
        self._journal.tell(now_ns, "lease-closed", lease.name, lease_id)
        if lease.granted_ns is None:
            del self._waiting[lease_id]
        else:
            self._granted -= 1
            if self._granted == 0:
                self._journal.tell(now_ns, "free")
                self._journal.want(Block(held=False))
        return lease

    def oldest(self) -> tuple[HeldLease, ...]:
        """As many as a status shows, oldest first."""
        return tuple(islice(self._all.values(), self._config.leases_shown))

    def names(self) -> tuple[str, ...]:
        """The names of `oldest`."""
        return tuple(lease.name for lease in self.oldest())
