"""`LocalStore`: leases of one host, in shared memory. No server; after a name's first use, no I/O.

Each lease is a state of `holdfast.state`, its ownership, and from its first extension on a second
one, its term (``layout.py`` has the bytes, ``handles.py`` the handles). The states are
retained: they outlive whoever made them. Each call is one commit, which fails if what it decided
upon has changed, and then it decides anew:

==================  =====================  ========================================================
call                ownership              term
==================  =====================  ========================================================
claim, release      written                not looked at
extend              required unchanged     written
expire              written                required unchanged, and made if it is missing: nobody
                                           can extend meanwhile what is expired by its first term
pin, unpin          written                not looked at
a user's gate       required unchanged     not looked at, so that renewals do not disturb
==================  =====================  ========================================================

A process killed anywhere leaves what was before, or what comes after. The clock is CLOCK_BOOTTIME,
one for the host; a boot ends all terms. Where epochs come from, and how it is made sure that the
clock is the same for all, is in ``ledger.py``.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.clock import SystemClock
from holdfast.closing import Closing
from holdfast.errors import (
    Busy,
    Closed,
    Deleted,
    HoldfastError,
    LeaseError,
    LeaseLost,
    StateError,
    Unavailable,
    Unsupported,
)
from holdfast.lease import rules
from holdfast.lease.record import Reading, Record, check_word
from holdfast.lease.rules import Request
from holdfast.lease.stores.local import layout
from holdfast.lease.stores.local.handles import Handles, member
from holdfast.lease.stores.local.layout import Owned, Term
from holdfast.lease.stores.local.ledger import Epochs, time_offset_ns
from holdfast.lease.stores.local.waiting import Waiting
from holdfast.process import boot_id
from holdfast.state import PAGE_SIZE, Namespace, Transaction, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.clock import Clock
    from holdfast.lease.stores.local.handles import Seen, Slot

__all__ = ["LocalStore"]

_numbers = itertools.count(1)


class _Process:
    """Which process this is, of all that forks have made: each has another object."""


_this_process = _Process()


def _after_fork_in_child() -> None:
    global _this_process  # noqa: PLW0603 - the parent's stores know the other one
    _this_process = _Process()


os.register_at_fork(after_in_child=_after_fork_in_child)


class LocalStore(Closing):
    """One process's access to the leases of its host; see `holdfast.lease.stores.Store`.

    Args:
        directory: Where the states lie; None: where those of `holdfast.state.subscribe` do. One on
            a disk survives a reboot, which ends all terms. Only states that lie there can be gated.
        namespace: Whose leases.
        writer: The id of this object; None: one of host, process and chance.
        clock: Whose CLOCK_BOOTTIME; None: the kernel's.

    Raises:
        InvalidArgument: The namespace or the writer is no word, or the directory is none.
        NotPermitted: The directory is not safe, or cannot be written.
        OutOfSpace: There is no room in it.
        Unavailable: Somebody keeps it locked: a process that was stopped while it made a state.
        Unsupported: There is no clock for all who use the directory.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        namespace: str = "default",
        writer: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.namespace = check_word(namespace, "namespace")
        own = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}-{os.getpid()}-{next(_numbers)}"
        self.writer = check_word(own if writer is None else writer, "writer")
        self._process = _this_process
        self._now = (SystemClock() if clock is None else clock).boottime_ns
        self._era = boot_id()
        if not self._era:
            raise Unsupported("this kernel does not say which boot it is", hint="mount /proc")
        self._closed = False
        self._picture: dict[str, Record] = {}
        self._states = Namespace(directory, retain=True)
        try:
            self._handles = Handles(
                self._states, snapshot, namespace=namespace, era=self._era, page_size=PAGE_SIZE
            )
            self._slots = self._handles.slots
            self._waiting = Waiting(self._handles, self._states.close)
            self._epochs = Epochs(
                lambda: self._handles.subscribe(layout.LEDGER, layout.LEDGER_SIZE),
                self._handles.greatest_epoch,
                boot_id=self._era,
                offset_ns=time_offset_ns(),
            )
            self.refresh()
        except Busy as error:
            self._states.close()
            raise Unavailable(error.what, on=error.on, hint=error.hint) from error
        except BaseException:
            self._states.close()
            raise

    # -- ownership --------------------------------------------------------------------------------

    def claim(
        self,
        name: str,
        holder: str,
        duration_ns: int,
        *,
        owner: Mapping[str, Any] | None = None,
    ) -> Record:
        """Take a vacant lease.

        Raises:
            LeaseError: Something else than a record lies there. Nobody can claim it.
            InvalidArgument: It does not fit into a page, even without the facts about the owner.
            OutOfSpace: There is no room for the record.
        """
        request = Request.of(name, holder, duration_ns, owner)
        attempt = 0
        while True:
            slot = self._slots.get(name) or self._open(name)
            try:
                txn = slot.own.transaction()
                _, owned, current, pins = self._owned(slot, txn)
                if current is not None:
                    current = self._seen(slot)
                    if current is None:
                        continue
                change = rules.claim(
                    current,
                    request,
                    Reading(self._now(), self._era),
                    epoch=self._epochs.above(owned.epoch),
                    writer=self.writer,
                    pins=pins,
                )
                assert change.after is not None, "a claim ends with a record"
                record, wanted, data = layout.packed(
                    self.namespace, change.after, owned.pins, PAGE_SIZE
                )
                if self._handles.put(slot.own, txn, data, txn):
                    slot.owned = (txn.commit(), wanted, record, pins)
                    self._picture[name] = record
                    return record
            except (StateError, Closed) as error:
                attempt = self._again(error, attempt, slot)

    def extend(self, record: Record, duration_ns: int) -> Record:
        """Promise `duration_ns` from now on."""
        name = record.name
        attempt = 0
        while True:
            slot = self._slots.get(name) or self._find(name)
            if slot is None:
                rules.extend(None, record, duration_ns, self._reading(), writer=self.writer)
                continue
            try:
                txn = slot.own.transaction()
                part = txn.add(slot.term or self._handles.need_term(slot))
                current = slot.whole(self._owned(slot, txn), part)
                self._see(name, current)
                change = rules.extend(
                    current, record, duration_ns, self._reading(), writer=self.writer
                )
                later = change.after
                assert later is not None, "an extension ends with a record"
                if not change.writes:
                    return later
                term = Term(later.epoch, later.start_ns, later.duration_ns, later.writer, later.era)
                if self._handles.put(slot.term, part, layout.pack(term), txn):
                    txn.commit()
                    slot.termed = (part.version, term)
                    slot.joined = (txn.version, part.version, later)
                    self._picture[name] = later
                    return later
            except (StateError, Closed) as error:
                attempt = self._again(error, attempt, slot)

    def extend_many(self, requests: Sequence[tuple[Record, int]]) -> Sequence[Record | Exception]:
        """Extend many leases, each for itself; one that cannot be read is a `LeaseError` there."""
        results: list[Record | Exception] = []
        for record, duration_ns in requests:
            try:
                results.append(self.extend(record, duration_ns))
            except LeaseError as error:
                results.append(error)
        return results

    def expire(self, record: Record | str) -> None:
        """Remove a lease whose end has passed."""
        name = check_word(record if isinstance(record, str) else record.name, "name of a lease")
        attempt = 0
        while True:
            slot = self._slots.get(name) or self._find(name)
            if slot is None:
                rules.expire(None, record, self._reading())
                continue
            try:
                txn = slot.own.transaction()
                seen = _, owned, current, pins = self._owned(slot, txn)
                if current is not None:
                    part = txn.add(slot.term or self._handles.need_term(slot))
                    current = slot.whole(seen, part)
                self._see(name, current)
                rules.expire(current, record, self._reading())
                if self._vacate(slot, txn, owned, pins):
                    return
            except (StateError, Closed) as error:
                attempt = self._again(error, attempt, slot)

    def release(self, record: Record) -> bool:
        """Give a lease back."""
        attempt = 0
        while True:
            slot = self._slots.get(record.name) or self._find(record.name)
            if slot is None:
                return False
            try:
                txn = slot.own.transaction()
                _, owned, current, pins = self._owned(slot, txn)
                if not rules.release(current, record).writes:
                    self._seen(slot)
                    return False
                if self._vacate(slot, txn, owned, pins):
                    return True
            except (StateError, Closed) as error:
                attempt = self._again(error, attempt, slot)

    def _vacate(self, slot: Slot, txn: Any, owned: Owned, pins: frozenset[str]) -> bool:
        vacant = Owned(self.namespace, slot.name, owned.epoch, owned.pins)
        if not self._handles.put(slot.own, txn, layout.pack(vacant), txn):
            return False
        slot.owned = (txn.commit(), vacant, None, pins)
        self._picture.pop(slot.name, None)
        return True

    def gate(self, record: Record, transaction: object) -> None:
        """Let a transaction of `holdfast.state` commit only while the holding stands.

        Renewals do not disturb it; a pin that is set meanwhile does, and makes it conflict. If the
        lease is lost already, the transaction is aborted.
        """
        if not isinstance(transaction, Transaction):
            kind = type(transaction).__name__
            raise TypeError(f"leases in shared memory gate a state's Transaction, and no {kind}")
        attempt = 0
        while True:
            slot = self._slots.get(record.name) or self._find(record.name)
            current = None
            if slot is not None:
                try:
                    _, _, current, _ = self._owned(slot, member(transaction, slot))
                except (Closed, Deleted) as error:
                    if not transaction.active:
                        raise  # it is one of the user's own states that is gone
                    attempt = self._again(error, attempt, slot)
                    continue
            if rules.release(current, record).writes:
                return
            if transaction.active:
                transaction.abort()
            raise LeaseLost(
                f"the lease is not {record.holder!r}'s any more, under epoch {record.epoch}",
                on=record.name,
                hint="nothing was written; claim it anew before you go on",
            )

    # -- pins -------------------------------------------------------------------------------------

    def pin(self, name: str, by: str) -> None:
        """Keep a lease from expiring."""
        self._pin(name, by, rules.pin, self._open)

    def unpin(self, name: str, by: str) -> None:
        """Take that back."""
        self._pin(name, by, rules.unpin, self._find)

    def pins(self) -> Mapping[str, frozenset[str]]:
        """Who has pinned what."""
        self._need_open()
        return {owned.name: frozenset(owned.pins) for owned, _ in self._survey() if owned.pins}

    def _pin(
        self,
        name: str,
        by: str,
        rule: Callable[[frozenset[str], str], frozenset[str]],
        find: Callable[[str], Slot | None],
    ) -> None:
        check_word(name, "name of a lease")
        check_word(by, "entity that pins")
        attempt = 0
        while True:
            slot = self._slots.get(name) or find(name)
            if slot is None:
                return
            try:
                txn = slot.own.transaction()
                _, owned, _, before = self._owned(slot, txn)
                after = rule(before, by)
                wanted = msgspec.structs.replace(owned, pins=tuple(sorted(after)))
                if after == before:
                    txn.abort()
                elif self._handles.put(slot.own, txn, layout.pack(wanted), txn):
                    txn.commit()
                else:
                    continue
                self._seen(slot)
                return
            except (StateError, Closed) as error:
                attempt = self._again(error, attempt, slot)

    # -- looking ----------------------------------------------------------------------------------

    def records(self) -> Mapping[str, Record]:
        """What this object knows."""
        return dict(self._picture)

    def refresh(self) -> Mapping[str, Record]:
        """Read all records. One that cannot be read is left out, and claimed by nobody."""
        picture = self._picture
        before = dict(picture)
        found = {owned.name: record for owned, record in self._survey() if record is not None}
        # What other threads have seen meanwhile, through this object, is newer than what was found.
        for name, record in found.items():
            if picture.get(name) is before.get(name):
                picture[name] = record
        for name, old in before.items():
            if name not in found and picture.get(name) is old:
                picture.pop(name, None)
        return dict(picture)

    def look(self, name: str) -> Record | None:
        """Read one record."""
        check_word(name, "name of a lease")
        attempt = 0
        while True:
            slot = self._slots.get(name) or self._find(name)
            if slot is None:
                return None
            try:
                return self._seen(slot)
            except (StateError, Closed) as error:
                attempt = self._again(error, attempt, slot)

    def overdue(self, limit: int = 100) -> Sequence[Record]:
        """Records whose end has passed."""
        found = self.refresh()
        reading = self._reading()
        late = (
            record
            for _, record in sorted(found.items())
            if not record.pins and rules.expired(record, reading)
        )
        return list(itertools.islice(late, limit))

    def wait_changed(self, timeout: float | None = None, *, name: str | None = None) -> bool:
        """Wait until the records are others than `records` shows.

        For one lease the commit itself wakes who waits. For all of them this looks 20 times a
        second, or half of the time where there are so many that a look takes longer.
        """
        self._need_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        if name is None:
            before = dict(self._picture)
            return self._waiting.for_any(lambda: self.refresh() != before, deadline)
        seen = self._picture.get(check_word(name, "name of a lease"))
        hash_ = layout.digest(self.namespace, name)
        return self._waiting.for_one(hash_, lambda: self.look(name) != seen, deadline)

    # -- time -------------------------------------------------------------------------------------

    def clock(self) -> Reading:
        """What CLOCK_BOOTTIME shows; the boot is its era."""
        self._need_open()
        return self._reading()

    def now_ns(self) -> int:
        """The same, as a number."""
        return self.clock().now_ns

    def advance(self, elapsed_ns: int, *, since: Reading) -> Reading:
        """Nobody has to.

        Raises:
            Unsupported: Always: the kernel's clock runs by itself.
        """
        del elapsed_ns, since
        self._need_open()
        raise Unsupported("the clock of the host runs by itself", on=self.namespace)

    def _reading(self) -> Reading:
        return Reading(self._now(), self._era)

    # -- ending -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the place. Gated transactions that are open can still commit."""
        self._closed = True
        if self._process is _this_process:
            self._waiting.end()
        else:
            self._waiting.forget()

    def _need_open(self) -> None:
        if self._process is not _this_process:
            raise Closed("the store is another process's", hint="open one after the fork")
        if self._closed:
            raise Closed("the store is closed", on=self.namespace, hint="open another")

    # -- one lease --------------------------------------------------------------------------------

    def _open(self, name: str) -> Slot:
        self._need_open()
        return self._handles.open(name)

    def _find(self, name: str) -> Slot | None:
        """The handles of a lease; None, and then the picture shows so, if there never was one."""
        self._need_open()
        slot = self._handles.find(name)
        if slot is None:
            self._see(name, None)
        return slot

    def _owned(self, slot: Slot, part: Any) -> Seen:
        """Whose it is, as a transaction shows it."""
        if self._closed or self._process is not _this_process:
            self._need_open()
        slot.used = True
        return slot.shown(part)

    def _seen(self, slot: Slot) -> Record | None:
        """Read the whole record, and what `records` shows of it from now on."""
        self._need_open()
        slot.used = True
        record = self._handles.look_at(slot)
        self._see(slot.name, record)
        return record

    def _see(self, name: str, record: Record | None) -> None:
        if record is None:
            self._picture.pop(name, None)
        else:
            self._picture[name] = record

    def _survey(self) -> list[tuple[Owned, Record | None]]:
        self._need_open()
        found = self._handles.survey()
        self._need_open()  # else some of them are missing because it was closed
        return found

    def _again(self, error: HoldfastError, attempt: int, slot: Slot) -> int:
        self._need_open()
        return self._handles.again(error, attempt, slot)
