"""Views of a simulation: the same words as `holdfast.state.View`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import builtins

    from holdfast.testing.memory_store import Record, Version

__all__ = ["MemoryView", "ThrottledView"]


class MemoryView:
    """A look at a version without a copy. `check` is False as soon as there is a newer one.

    In shared memory it may stay True for some commits more: nobody can rely on that.
    """

    __slots__ = ("_record", "_version")

    def __init__(self, record: Record, version: Version) -> None:
        """Made by `MemoryState.view`."""
        self._record = record
        self._version = version

    @property
    def memoryview(self) -> builtins.memoryview:
        """A read-only memoryview of the bytes."""
        return memoryview(self._version.data)

    @property
    def version(self) -> int:
        """The version that the bytes are of."""
        return self._version.number

    def check(self) -> bool:
        """Whether everything read through this view so far was version `version`, untorn."""
        return self._record.newest is self._version

    def __len__(self) -> int:
        return len(self._version.data)

    def __bytes__(self) -> bytes:
        return self._version.data

    def __buffer__(self, flags: int, /) -> builtins.memoryview:
        return memoryview(self._version.data)


class ThrottledView(MemoryView):
    """A throttled handle shows a copy of its own, which nobody overwrites."""

    __slots__ = ()

    def check(self) -> bool:
        """Always True."""
        return True
