"""Transactions of a simulation: the same words as `holdfast.state.Transaction`.

Between two calls of a simulation nothing happens by itself, so validating and publishing need no
more than to follow each other.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

from holdfast.errors import Closed
from holdfast.state.failures import failure

if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn

    from typing_extensions import Buffer

    from holdfast.testing.memory_state import MemoryState
    from holdfast.testing.memory_store import Version

__all__ = ["MAX_MEMBERS", "MemoryTransaction"]

MAX_MEMBERS = 64


class Copy:
    """A transaction's private copy of one state.

    Attributes:
        state: Whose copy it is.
        buffer: The bytes to work on.
        version: That it was made of; once committed, the version that it became.
        active: False once the transaction has ended.
        joined: Whether it is a further member of somebody's transaction, and ends with that one.
    """

    __slots__ = ("_before", "_memory", "active", "buffer", "joined", "state", "version")

    def __init__(self, state: MemoryState, started: Version) -> None:
        self.state = state
        self.buffer = bytearray(started.data)
        self.version = started.number
        self.active = True
        self.joined = False
        self._before = started.data
        self._memory: memoryview | None = None
        state.transactions_under_way += 1

    def memory(self) -> memoryview:
        """The bytes for the user; writable unless the handle is read-only."""
        if self._memory is None:
            memory = memoryview(self.buffer)
            self._memory = memory if self.state.writable else memory.toreadonly()
        return self._memory

    def writes(self, *, force: bool) -> bool:
        """Whether a commit shall publish it; if not, it is a condition."""
        return self.state.writable and (force or self.buffer != self._before)

    def see_unmoved(self) -> None:
        """See that the state is still at the version that was copied.

        Raises:
            Conflict: It is not.
            Deleted: It is gone.
        """
        current = self.state.newest().number
        if current != self.version:
            self.state.conflicts += 1
            self.state.refuse("conflict", self.version, current)

    def end(self) -> None:
        """Of no use any more."""
        if self.active:
            self.active = False
            if self._memory is not None:
                with contextlib.suppress(BufferError):  # parts of it are still in use
                    self._memory.release()
            self.state.transaction_ended()


class MemoryTransaction:
    """One attempt to change a state, or several: a private copy, and a commit that may fail."""

    __slots__ = ("_others", "own")

    def __init__(self, state: MemoryState, started: Version) -> None:
        """Made by `MemoryState.transaction`."""
        self.own = Copy(state, started)
        self._others: list[MemoryTransaction] = []

    # -- what it is -------------------------------------------------------------------------------

    @property
    def data(self) -> memoryview:
        """The private copy; writable unless the handle is read-only."""
        self._need_active()
        return self.own.memory()

    @property
    def version(self) -> int:
        """The version that it started from; once committed, the version that it made."""
        return self.own.version

    @property
    def active(self) -> bool:
        """Whether it can still be committed or aborted."""
        return self.own.active and self.own.state.alive

    @property
    def value(self) -> Any:
        """The private copy as a value of the type that the state was subscribed with."""
        self._need_active()
        return self.own.state.codec().decode(bytes(self.own.buffer))

    @value.setter
    def value(self, value: Any) -> None:
        self._need_writable()
        buffer = self.own.buffer
        encoded = self.own.state.codec().encode(value, len(buffer))
        buffer[: len(encoded)] = encoded

    def write(self, offset: int, data: Buffer, /) -> None:
        """Copy bytes into the private copy."""
        copied = bytes(data)
        self._need_writable()
        buffer = self.own.buffer
        if offset < 0 or len(copied) > len(buffer) - offset:
            self.own.state.refuse("out_of_bounds", offset, len(copied))
        buffer[offset : offset + len(copied)] = copied

    # -- several states ---------------------------------------------------------------------------

    def _copies(self) -> list[Copy]:
        return [self.own, *(part.own for part in self._others)]

    def __getitem__(self, state: MemoryState, /) -> MemoryTransaction:
        self._need_active()
        found = [part for part in (self, *self._others) if part.own.state is state]
        if not found:
            self.own.state.refuse("not_a_member")
        return found[0]

    def add(self, state: MemoryState, /) -> MemoryTransaction:
        """Make another state a member: all commit together, or none does."""
        self._need_leader()
        self.own.state.beside(state)
        earlier = self._copies()
        if any(copy.state.same_state(state) for copy in earlier):
            state.refuse("member_already")
        self.own.state.see_unthrottled()
        state.see_unthrottled()
        if len(earlier) >= MAX_MEMBERS:
            state.refuse("too_many", MAX_MEMBERS)
        part = state.transaction()
        part.own.joined = True
        self._others.append(part)
        self._see_unmoved(earlier)
        return part

    def _see_unmoved(self, copies: list[Copy]) -> None:
        try:
            for copy in copies:
                copy.see_unmoved()
        except BaseException:
            self._end()
            raise

    # -- ending -----------------------------------------------------------------------------------

    def commit(self, *, force: bool = False) -> int:
        """Make the private copies the newest versions; the number of the first one's.

        Raises:
            Conflict: Somebody has committed since the start; nothing was written.
            Deleted: The state is gone.
            InvalidArgument: The transaction had ended.
        """
        self._need_leader()
        copies = self._copies()
        writing = [copy for copy in copies if copy.writes(force=force)]
        if writing:
            # In the order of the core, so that the same member is found to have moved: what may be
            # written first.
            self._see_unmoved(sorted(copies, key=lambda copy: not copy.state.writable))
        for copy in writing:
            copy.version = copy.state.publish(bytes(copy.buffer))
        self._end()
        return self.own.version

    def abort(self) -> None:
        """Throw the private copies away."""
        self._need_leader()
        self._end()

    def _end(self) -> None:
        for copy in self._copies():
            copy.end()
        self._others = []

    def _need_active(self) -> None:
        state = self.own.state
        if not state.alive:
            raise Closed("the process has crashed", on=state.name, hint="start another one")
        if not self.own.active:
            self._refuse_ended()

    def _need_writable(self) -> None:
        self._need_active()
        if not self.own.state.writable:
            self.own.state.refuse("read_only")

    def _need_leader(self) -> None:
        self._need_active()
        if self.own.joined:
            self._refuse_ended()

    def _refuse_ended(self) -> NoReturn:
        raise failure("ended", self.own.state.name, self.version, self.version)

    def __enter__(self) -> Self:
        self._need_leader()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.active:
            if kind is None:
                self.commit()
            else:
                self._end()

    def __del__(self) -> None:
        if hasattr(self, "own") and not self.own.joined:
            self._end()

    def __repr__(self) -> str:
        condition = "active" if self.active else "ended"
        return f"<MemoryTransaction of {self.own.state!r} version={self.version} {condition}>"
