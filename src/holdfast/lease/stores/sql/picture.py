"""What a store object knows of the leases that are held: changed in place, copied for who asks."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.lease.record import Record

__all__ = ["Picture"]


class Picture:
    """The records by name, as they were last read. Guarded by its store's lock.

    With ten thousand leases, each claim and renewal must cost the same as with one: so nothing is
    copied when a record changes, but only when somebody looks, once for all who look until the next
    change.
    """

    __slots__ = ("_records", "_shown")

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._shown: Mapping[str, Record] | None = None

    def get(self, name: str) -> Record | None:
        """One record."""
        return self._records.get(name)

    def see(self, seen: Mapping[str, Record | None]) -> None:
        """These are so now; None is a vacancy."""
        for name, record in seen.items():
            if self._records.get(name) == record:
                continue
            self._shown = None
            if record is None:
                del self._records[name]
            else:
                self._records[name] = record

    def replace(self, records: dict[str, Record]) -> None:
        """All of it is so now, and nothing else."""
        if records != self._records:
            self._records, self._shown = records, None

    def show(self) -> Mapping[str, Record]:
        """All of it, as it is now and will not change."""
        if self._shown is None:
            self._shown = MappingProxyType(dict(self._records))
        return self._shown
