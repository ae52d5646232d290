"""What a subscriber holds: `State`.

The way down: `State` (what users do) → `Subscription` (its files, its descriptor, what a fork
means) → ``core.native.Handle`` (reading and committing, in C).
"""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.closing import Closing
from holdfast.durations import seconds
from holdfast.errors import Busy, Deleted, HoldfastError, InvalidArgument
from holdfast.state import files, subscribers
from holdfast.state.core import native
from holdfast.state.subscription import Subscription
from holdfast.state.transaction import transact, transaction
from holdfast.state.values import Snapshot, StateInfo, check_size
from holdfast.state.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import timedelta

    from holdfast.state.namespace import Namespace
    from holdfast.state.transaction import Transaction
    from holdfast.state.typed import Codec

__all__ = ["State"]

_R = TypeVar("_R")


@native.quick
class State(Subscription, Closing):
    """A subscription to a state: made by `subscribe` or `Namespace.subscribe`.

    Handles are cheap (one descriptor, one mapping), and each is its own subscriber: two of one
    state in one process see each other as others. Any thread may use any handle. After a fork the
    child's copy subscribes by itself when it is first used. A handle can be sent to another process
    by `multiprocessing`: it arrives as a subscription of its own.

    As a context manager it unsubscribes at the end; so does its disappearance.
    """

    __slots__ = ()

    # -- what it is -------------------------------------------------------------------------------

    @property
    def permissions(self) -> str:
        """What this handle may do: "r" or "rw"."""
        return str(self._permissions)

    @property
    def incarnation(self) -> str:
        """Which state of that name: 32 hexadecimal digits, new whenever the state is made anew."""
        return self._facts.incarnation

    @property
    def path(self) -> str:
        """The state's file in the namespace's directory."""
        return self._path

    @property
    def persistent(self) -> bool:
        """Whether a file of the user's keeps the contents."""
        return False

    def _need_codec(self) -> Codec:
        if self._codec is None:
            raise InvalidArgument(
                "this handle has no type", on=self.name, hint="subscribe(name, …, type=…)"
            )
        return self._codec

    @property
    def value(self) -> Any:
        """The newest version as a value of the type given at subscription; None if unwritten.

        Raises:
            InvalidArgument: No type was given.
            Damaged: The bytes are not a value of it.
        """
        codec = self._need_codec()
        data, _, _, _, written = self._sample()
        return codec.decode(data) if written else None

    def _decoded(self, data: bytes) -> Any:
        return self._need_codec().decode(data)

    def _encoded(self, value: Any) -> bytes:
        return self._need_codec().encode(value, self.size)

    def snapshot(self) -> Snapshot:
        """The newest version with its number, time and author, all of one moment.

        Raises:
            Closed, Deleted, Damaged: There is nothing to be read.
        """
        data, version, time_ns, pid, _ = self._sample()
        return Snapshot(data, version, self._facts.incarnation, time_ns, pid)

    def info(self) -> StateInfo:
        """What is known of the state and of this handle.

        Raises:
            Closed, Deleted, Damaged: As for a read. Nothing counts as shown by it.
        """
        size, version, time_ns, pid, written = self._look()
        commits, conflicts, overtaken, filling = self._counters()
        return StateInfo(
            name=self.name,
            path=self._path,
            permissions=self.permissions,
            size=size,
            version=version,
            written=written,
            incarnation=self._facts.incarnation,
            retained=self._facts.retained,
            persistent=None,
            created_ns=self._facts.created_ns,
            time_ns=time_ns,
            pid=pid,
            watch=None if self._watch is None else self._watch.method,
            others=files.anybody_else(self._fd),
            commits=commits,
            conflicts=conflicts,
            overtaken=overtaken,
            slots_filling=filling,
            memory_bytes=self._namespace.memory(self.name),
        )

    # -- changing it ------------------------------------------------------------------------------

    def transact(
        self,
        fn: Callable[[Transaction], _R],
        *states: State,
        attempts: int | None = None,
        timeout: float | timedelta | None = None,
    ) -> _R:
        """Call ``fn(txn)``, commit, and on a conflict begin again; what `fn` returned.

        `fn` may run several times, so it should have no effect but on `txn`. Whatever it raises
        ends the matter: nothing is written, nothing is tried again (K50). Raise `Abort` to give up.

        Args:
            fn: Changes ``txn.data`` or ``txn.value``; with several states ``txn[state].data``.
            states: Further states that commit together with this one, or not at all.
            attempts: How many at most; None for no limit.
            timeout: Seconds after which no new attempt is begun; None for ever.

        Raises:
            Conflict: The attempts or the time ran out; `Conflict.attempts` says how many were made.
            Busy: The same, and at the last one every slot was being filled by others.
        """
        if not (self._writable or any(state._writable for state in states)):
            self.refuse("read_only")
        start = functools.partial(transaction, self, *states) if states else self.transaction
        return transact(start, fn, attempts=attempts, timeout_s=seconds(timeout, "timeout"))

    def set_size(self, size: int) -> None:
        """Change how many bytes the state holds.

        It is a commit: the version rises, watchers wake, open transactions conflict. As long as
        nobody has written, any size from 1 to one page will do; afterwards it can only grow, and
        the new bytes are zeros (K23 to K25).

        Raises:
            InvalidArgument: Out of range, or smaller than what was written; nothing was changed.
            NotPermitted: This handle is read-only.
            OutOfSpace: The file system has no room.
        """
        self._resize(check_size(size))

    def delete(self, *, keep_file: bool = False) -> None:
        """Delete the state for everybody; a later `subscribe` makes a new one.

        This handle, and others of this process, raise `Deleted` from now on.

        Args:
            keep_file: Leave the user's file of a persistent state where it is.

        Raises:
            Busy: Another process is subscribed; nothing was changed (K31).
            NotPermitted: This handle is read-only.
        """
        del keep_file  # no state is persistent yet
        if not self._writable:
            self.refuse("read_only")
        self._look()  # closed, deleted, or a fork's child that has yet to subscribe: it says so
        with self._namespace.locked():
            # Our own subscriptions do not count, in whatever handle. Nobody can come or go
            # meanwhile: that needs the lock.
            with subscribers.aside(self._facts.identity):
                others = files.anybody_else(self._fd)
            if others:
                raise Busy(
                    "another process is subscribed",
                    on=self.name,
                    hint=f"see who: fuser -v {self._path}",
                )
            self._mark_deleted()
            self._namespace.remove(self.name, self._facts.identity)

    # -- waiting for changes ----------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that is readable when there is a version that this handle has not shown.

        For select, poll, epoll and event loops: it stays readable until this handle looks (reads,
        views, takes a snapshot or starts a transaction). It may become readable for no reason, it
        merges many changes into one notice, and no change is ever lost: not even if its author is
        killed before it could wake anybody. It becomes readable on deletion, too. Looking costs a
        few system calls on a handle that has a descriptor: use another handle for reading at will.

        Raises:
            Closed: The handle was closed.
        """
        if self._watch is None:
            self.changed()  # closed, or a fork's child? It says so, or subscribes.
            self._watch = Watch(self, self._fd, bell=self._has_bell)
            with contextlib.suppress(Deleted):
                if not self.changed():
                    return self._watch.fileno()
            self._watch.fire()
        return self._watch.fileno()

    def wait(self, timeout: float | timedelta | None = None) -> bool:
        """Wait until there is a version that this handle has not shown.

        Args:
            timeout: Seconds to wait at most; None for ever, 0 not at all.

        Returns:
            Whether there is one.

        Raises:
            Deleted: The state was deleted, before or meanwhile.
            Closed: The handle was closed, before or meanwhile.
        """
        limit = seconds(timeout, "timeout")
        if self.changed():
            return True
        if limit == 0:
            return False
        self.fileno()
        watch = self._watch
        deadline = None if limit is None else _boottime() + limit
        while watch is not None and watch.wait(
            None if deadline is None else max(0.0, deadline - _boottime())
        ):
            if self.changed():
                return True
        return self.changed()

    def changes(self) -> AsyncGenerator[Snapshot, None]:
        """Each change as a `Snapshot`, for asyncio; the newest at once if there is any.

        Changes that come faster than they are taken are merged: the newest is always among them.
        One event loop watches any number of states through one descriptor.

        Raises:
            Deleted: The state was deleted.
            Closed: The handle was closed.
        """
        from holdfast.state.loopwatch import changes

        return changes(self, self._fileno())

    def _fileno(self) -> int:
        self._look()  # closed, or a fork's child that has yet to subscribe
        return self._fd

    def throttle(self, interval: float | timedelta) -> None:
        """Let this handle see a change at most every `interval` seconds; 0: every one again (K56).

        Two different versions are then never shown less than that apart, by any kind of look
        (read, view, snapshot, a read-only transaction); in between it goes on to show the last. The
        first look shows the newest, the last of a burst is always shown, and `fileno`, `wait` and
        `changes` go by the same rule. Transactions that may write are not throttled: they would
        always conflict. Other handles are not concerned. A handle that was not throttled before
        begins anew: its next look shows the newest, and it counts from there.

        Raises:
            InvalidArgument: The interval is negative.
        """
        value = seconds(interval, "interval")
        if value is None or value > 1e9:
            raise InvalidArgument("interval: seconds, up to thirty years", on=self.name)
        self._throttle(round(value * 1e9))

    # -- as an object -----------------------------------------------------------------------------

    def __del__(self) -> None:
        with contextlib.suppress(HoldfastError, OSError, AttributeError):
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _subscribe_again, (
            type(self._namespace),
            self._namespace.settings(),
            self.name,
            self.permissions,
            self._type,
        )

    def __repr__(self) -> str:
        if self.closed:
            return f"<State {self.name!r} closed>"
        try:
            return f"<State {self.name!r} {self.permissions} version={self.version}>"
        except HoldfastError as error:
            return f"<State {self.name!r} {self.permissions} {error.code}>"


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _subscribe_again(
    kind: type[Namespace], settings: dict[str, Any], name: str, permissions: str, value_type: Any
) -> State:
    return kind(**settings).subscribe(name, permissions, type=value_type)
