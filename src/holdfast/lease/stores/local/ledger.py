"""What all stores of one directory share: the epochs, and proof that they read the same clock.

Epochs are given out in blocks. A store takes one from the ledger, a shared state, and goes on
with it without asking, as long as nobody else has taken one since: a look at the ledger's version
is a load from memory. If somebody has, the rest is thrown away, for a newer block. So among all
leases of the directory an epoch is greater than that of every claim that was over before this one
began; it is unique; and a store that is alone pays nothing for either.

A ledger that was lost or overwritten is made anew, above all epochs that the records still show.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol

from holdfast.errors import Busy, Closed, Conflict, Deleted, LeaseError, Unavailable, Unsupported
from holdfast.lease.stores.local.layout import LEDGER, Ledger, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BLOCK", "Epochs", "time_offset_ns"]

BLOCK = 1000
_ATTEMPTS_MAX = 1000


class _Transaction(Protocol):
    @property
    def data(self) -> memoryview: ...
    def write(self, offset: int, data: bytes, /) -> None: ...
    def commit(self) -> int: ...
    def abort(self) -> None: ...


class _State(Protocol):
    @property
    def version(self) -> int: ...
    def transaction(self) -> _Transaction: ...
    def close(self) -> None: ...


class _Block:
    """Epochs that are ours, and the ledger's version when they became so."""

    __slots__ = ("numbers", "version")

    def __init__(self, numbers: Iterator[int], version: int) -> None:
        self.numbers = numbers
        self.version = version


class Epochs:
    """The epochs that one store gives out. Any thread may ask.

    Args:
        subscribe: Opens the state of the ledger, and makes it if need be.
        greatest: The greatest epoch that any record of the directory shows, or 0.
        boot_id: Of this boot.
        offset_ns: See `time_offset_ns`.

    Raises:
        Unsupported: The others live in another time namespace: their CLOCK_BOOTTIME is another. Or
            a later version has been here.
    """

    def __init__(
        self,
        subscribe: Callable[[], _State],
        greatest: Callable[[], int],
        *,
        boot_id: str,
        offset_ns: int,
    ) -> None:
        self._subscribe = subscribe
        self._greatest = greatest
        self._boot_id = boot_id
        self._offset_ns = offset_ns
        self._lock = threading.Lock()
        self._block = _Block(iter(()), -1)
        self._state = subscribe()
        self._write(0, 0)

    def above(self, last: int) -> int:
        """An epoch that was never given before, greater than `last` and than all earlier ones."""
        block = self._block
        try:
            if self._state.version == block.version:
                epoch = next(block.numbers, 0)
                if epoch > last:
                    return epoch
        except (Deleted, Closed):
            self._reopen()
        return self._write(last + 1, BLOCK)

    def _reopen(self) -> None:
        with self._lock:
            self._state.close()
            self._state = self._subscribe()

    def _write(self, at_least: int, count: int) -> int:
        """Take `count` epochs and return the first; or see only that the ledger is in order."""
        for _ in range(_ATTEMPTS_MAX):
            try:
                txn = self._state.transaction()
            except (Deleted, Closed):
                self._reopen()
                continue
            found, first = self._read(txn)
            first = max(first, at_least)
            wanted = Ledger(first + count, self._boot_id, self._offset_ns)
            if wanted == found:
                txn.abort()
                return first
            txn.write(0, pack(wanted))
            try:
                version = txn.commit()
            except (Conflict, Busy):
                continue
            except Deleted:
                self._reopen()
                continue
            if count:
                self._block = _Block(iter(range(first + 1, first + count)), version)
            return first
        raise Unavailable("others take epochs all the time", on=LEDGER, hint="try again")

    def _read(self, txn: _Transaction) -> tuple[Ledger | None, int]:
        try:
            ledger = unpack(Ledger, txn.data)
        except LeaseError:
            ledger = None  # something else has written there: the records tell
        if ledger is None:
            return None, self._greatest() + 1
        if ledger.boot_id == self._boot_id and ledger.offset_ns != self._offset_ns:
            raise Unsupported(
                f"CLOCK_BOOTTIME is {self._offset_ns - ledger.offset_ns} ns ahead of that of the "
                "others, who live in another time namespace",
                on=LEDGER,
                hint="share leases within one time namespace, or give this one another directory",
            )
        return ledger, ledger.next_epoch


def time_offset_ns() -> int:
    """By how much CLOCK_BOOTTIME differs here from the machine's own: time_namespaces(7).

    Raises:
        Unsupported: It cannot be known: this process has asked for another time namespace for its
            children, and the kernel shows the children's offset.
    """
    try:
        ours, childrens = (
            os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("time", "time_for_children")
        )
        with open("/proc/self/timens_offsets", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return 0  # a kernel without time namespaces: before 5.6, or built so
    if ours != childrens:
        raise Unsupported(
            "the offset of this process' time namespace cannot be known",
            on="/proc/self/timens_offsets",
            hint="open the store before unshare(2), or in a child",
        )
    for row in rows:
        if row and row[0] in {"boottime", "7"}:
            return int(row[1]) * 1_000_000_000 + int(row[2])
    return 0
