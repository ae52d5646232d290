"""What a subscriber of a simulation holds: the same face as `holdfast.state.State`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from holdfast.clock import NS_PER_S
from holdfast.closing import Closing
from holdfast.durations import seconds
from holdfast.errors import Busy, Conflict, HoldfastError, InvalidArgument, Unsupported
from holdfast.state import PAGE_SIZE, Permission, Snapshot, StateInfo
from holdfast.state.failures import failure
from holdfast.state.values import check_size
from holdfast.testing.memory_store import Subscription, Version
from holdfast.testing.memory_transaction import MemoryTransaction
from holdfast.testing.memory_view import MemoryView, ThrottledView

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import timedelta

    from typing_extensions import Buffer

    from holdfast.state.typed import Codec
    from holdfast.testing.memory_namespace import MemoryNamespace
    from holdfast.testing.memory_store import Record

__all__ = ["MemoryState"]

_D = TypeVar("_D")
_R = TypeVar("_R")


class MemoryState(Closing):
    """A subscription to a state of a `MemoryNamespace`.

    Attributes:
        name: The state's name.
        writable: Whether it may commit.
        commits: Made through this handle.
        conflicts: Commits of this handle that failed because somebody was first.
        transactions_under_way: They keep the subscription of a closed handle.
    """

    def __init__(
        self,
        namespace: MemoryNamespace,
        record: Record,
        permissions: Permission,
        codec: Codec | None,
    ) -> None:
        """Made by `MemoryNamespace.subscribe`."""
        self.name = record.name
        self.writable = Permission.WRITE in permissions
        self.commits = 0
        self.conflicts = 0
        self.transactions_under_way = 0
        self._namespace = namespace
        self._record = record
        self._codec = codec
        self._subscription: Subscription | None = Subscription(namespace.own_process)
        self._closed = False
        self._throttle_ns = 0
        self._seen = 0  # the newest version that it has shown
        self._held: Version | None = None  # throttled: what it shows
        self._shown_at_ns = 0  # throttled: when it showed that for the first time
        record.subscriptions.append(self._subscription)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def permissions(self) -> str:
        """What this handle may do: "r" or "rw"."""
        return "rw" if self.writable else "r"

    @property
    def incarnation(self) -> str:
        """Which state of that name: 32 hexadecimal digits."""
        return self._record.incarnation

    @property
    def path(self) -> str:
        """A name for people; there is no file."""
        return f"{self._namespace.path}/{self.name}"

    @property
    def persistent(self) -> bool:
        """Never: there are no files here."""
        return False

    @property
    def alive(self) -> bool:
        """Whether its process has not crashed."""
        return self._namespace.own_process.alive

    @property
    def closed(self) -> bool:
        """Whether this handle was closed, or its process has crashed."""
        return self._closed or not self.alive

    @property
    def version(self) -> int:
        """Number of the newest version. Looking at it shows nothing."""
        return self._newest_of_open().number

    @property
    def size(self) -> int:
        """Size of the newest version in bytes."""
        return len(self._newest_of_open().data)

    @property
    def written(self) -> bool:
        """Whether anybody has ever committed data."""
        return self._newest_of_open().written

    def newest(self) -> Version:
        """The newest version, also for a closed handle's transaction.

        Raises:
            Deleted: The state was deleted.
        """
        if self._record.deleted:
            self.refuse("deleted")
        return self._record.newest

    def _newest_of_open(self) -> Version:
        if self.closed:
            self.refuse("closed")
        return self.newest()

    def codec(self) -> Codec:
        """How values are laid into the bytes.

        Raises:
            InvalidArgument: No type was given at subscription.
        """
        if self._codec is None:
            raise InvalidArgument(
                "this handle has no type", on=self.name, hint="subscribe(name, …, type=…)"
            )
        return self._codec

    # -- looking ----------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return self._namespace.clock.boottime_ns()

    def _remaining_ns(self) -> int:
        """How long it is until another version may be shown."""
        if self._throttle_ns == 0 or self._held is None:
            return 0
        return max(0, self._shown_at_ns + self._throttle_ns - self._now_ns())

    def _show(self) -> Version:
        """What a look shows: the newest, or what was shown last if that is not long ago (K56)."""
        newest = self._newest_of_open()
        if self._throttle_ns:
            if self._held is not None and self._remaining_ns() > 0:
                return self._held
            if self._held is not newest:
                self._shown_at_ns = self._now_ns()
                self._held = newest
        self._seen = newest.number
        return newest

    @overload
    def read(self) -> bytes: ...
    @overload
    def read(self, default: _D) -> bytes | _D: ...
    def read(self, default: Any = None) -> Any:
        """The newest version as bytes; unwritten as zeros, or as `default` where one is given."""
        shown = self._show()
        return shown.data if shown.written or default is None else default

    def readinto(self, buffer: Buffer, /) -> int:
        """Copy the newest version into a writable buffer; the number of bytes."""
        with memoryview(buffer).cast("B") as target:
            newest = self._newest_of_open()
            if len(target) < len(newest.data):
                self.refuse("short_buffer", len(target), len(newest.data))
            shown = self._show()
            target[: len(shown.data)] = shown.data
        return len(shown.data)

    def view(self) -> MemoryView:
        """A look at the newest version without a copy."""
        shown = self._show()
        return (ThrottledView if self._throttle_ns else MemoryView)(self._record, shown)

    def snapshot(self) -> Snapshot:
        """The newest version with its number, time and author."""
        return self._show().snapshot(self.incarnation)

    @property
    def value(self) -> Any:
        """The newest version as a value of the type given at subscription; None if unwritten."""
        codec = self.codec()
        shown = self._show()
        return codec.decode(shown.data) if shown.written else None

    def info(self) -> StateInfo:
        """What is known of the state and of this handle; nothing counts as shown by it."""
        newest = self._newest_of_open()
        return StateInfo(
            name=self.name,
            path=self.path,
            permissions=self.permissions,
            size=len(newest.data),
            version=newest.number,
            written=newest.written,
            incarnation=self.incarnation,
            retained=self._record.retained,
            persistent=None,
            created_ns=self._record.created_ns,
            time_ns=newest.time_ns,
            pid=newest.pid,
            watch=None,
            others=self._record.anybody(but=self._subscription),
            commits=self.commits,
            conflicts=self.conflicts,
            overtaken=0,
            slots_filling=0,
            memory_bytes=len(newest.data),
        )

    # -- waiting for changes ----------------------------------------------------------------------

    def changed(self) -> bool:
        """Whether a version that this handle has not shown is published, and may be shown."""
        return self._newest_of_open().number != self._seen and self._remaining_ns() == 0

    def wait(self, timeout: float | timedelta | None = None) -> bool:
        """Whether there is a version that this handle has not shown.

        Raises:
            Unsupported: There is none now, and `timeout` is not 0: a simulation cannot stand still.
        """
        limit = seconds(timeout, "timeout")
        if self.changed():
            return True
        if limit == 0:
            return False
        raise Unsupported(
            "nothing happens in a simulation while it waits",
            on=self.name,
            hint="ask wait(0) again after the next step, or iterate over changes() in its loop",
        )

    def fileno(self) -> int:
        """There is none.

        Raises:
            Unsupported: Always, on a handle that is open.
        """
        if self.closed:
            self.refuse("closed")
        raise Unsupported(
            "a state in memory has no file descriptor",
            on=self.name,
            hint="ask changed() after each step, or iterate over changes()",
        )

    async def changes(self) -> AsyncGenerator[Snapshot, None]:
        """Each change as a `Snapshot`, the newest at once; those that come too fast are merged.

        A throttled handle sleeps in the running event loop, which should go by the same clock.
        """
        import asyncio

        rung = asyncio.Event()
        self._record.waiting.append(rung)
        try:
            while True:
                rung.clear()
                if self.changed():
                    yield self.snapshot()
                elif remaining_ns := self._remaining_ns():
                    await asyncio.sleep(remaining_ns / NS_PER_S)
                else:
                    await rung.wait()
        finally:
            self._record.waiting.remove(rung)

    def throttle(self, interval: float | timedelta) -> None:
        """Let this handle see a change at most every `interval` seconds; 0: every one (K56).

        A handle that was not throttled before begins anew, with its next look.
        """
        value = seconds(interval, "interval")
        if value is None or value > 1e9:
            raise InvalidArgument("interval: seconds, up to thirty years", on=self.name)
        if self.closed:
            self.refuse("closed")
        self._throttle_ns = round(value * NS_PER_S)
        if self._throttle_ns == 0:
            self._held = None

    # -- changing it ------------------------------------------------------------------------------

    def transaction(self) -> MemoryTransaction:
        """Start a transaction on a private copy of the newest version."""
        if not self._throttle_ns or not self.writable:
            return MemoryTransaction(self, self._show())
        return MemoryTransaction(self, self._newest_of_open())

    def publish(self, data: bytes, *, written: bool = True) -> int:
        """Make these bytes the newest version; its number."""
        number = self._record.newest.number + 1
        pid = self._namespace.own_process.pid
        self._record.publish(Version(data, number, written, self._now_ns(), pid))
        self.commits += written
        return number

    def transact(
        self,
        fn: Callable[[MemoryTransaction], _R],
        *states: MemoryState,
        attempts: int | None = None,
        timeout: float | timedelta | None = None,
    ) -> _R:
        """Call ``fn(txn)``, commit, and on a conflict begin again at once; what `fn` returned."""
        limit_s = seconds(timeout, "timeout")
        if attempts is not None and attempts < 1:
            raise InvalidArgument(
                f"attempts={attempts}: at least one is needed, or None for no limit"
            )
        if not (self.writable or any(state.writable for state in states)):
            self.refuse("read_only")
        end_ns = None if limit_s is None else self._now_ns() + round(limit_s * NS_PER_S)
        attempt = 0
        while True:
            attempt += 1
            txn = self._namespace.transaction(self, *states) if states else self.transaction()
            try:
                result = fn(txn)
            except BaseException:
                if txn.active:
                    txn.abort()
                raise
            try:
                if txn.active:
                    txn.commit()
            except Conflict as error:
                error.attempts = attempt
                if attempt == attempts or (end_ns is not None and self._now_ns() >= end_ns):
                    raise
            else:
                return result

    def set_size(self, size: int) -> None:
        """Change how many bytes the state holds: a commit that does not count as written."""
        check_size(size)
        if self.closed:
            self.refuse("closed")
        if not self.writable:
            self.refuse("read_only")
        newest = self.newest()
        now = len(newest.data)
        if size == now:
            return
        if newest.written and size < now:
            self.refuse("shrinks", size, now)
        self.publish(newest.data[:size].ljust(size, b"\0"), written=newest.written)

    def delete(self, *, keep_file: bool = False) -> None:
        """Delete the state for everybody; `Busy` if another process is subscribed."""
        del keep_file  # there are no files
        if not self.writable:
            self.refuse("read_only")
        self._newest_of_open()
        if self._record.anybody(beside=self._namespace.own_process):
            raise Busy("another process is subscribed", on=self.name, hint="close its handles")
        self._record.deleted = True
        self._namespace.forget(self._record)
        self._record.ring()

    # -- ending -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Unsubscribe; transactions under way go on, and the subscription ends with them."""
        if not self._closed:
            self._closed = True
            self._let_go()
            self._record.ring()

    def transaction_ended(self) -> None:
        """One of its transactions is over."""
        self.transactions_under_way -= 1
        self._let_go()

    def _let_go(self) -> None:
        subscription = self._subscription
        unused = self._closed and self.transactions_under_way == 0
        if subscription is not None and unused and self.alive:
            self._subscription = None
            self._namespace.withdraw(self._record, subscription)

    def beside(self, other: MemoryState) -> None:
        """See that the two can commit together.

        Raises:
            TypeError: The other is no state of this kind.
            InvalidArgument: It is of another store.
        """
        if not isinstance(other, MemoryState):
            raise TypeError("add() takes a MemoryState")
        if not self._namespace.same_directory(other._namespace):
            raise InvalidArgument(
                f"{other.name} lies in another directory: {other._namespace.path}",
                on=self.name,
                hint="states that commit together must be of one namespace directory",
            )

    def same_state(self, other: MemoryState) -> bool:
        """Whether both handles are of one incarnation of one state."""
        return self._record is other._record

    def see_unthrottled(self, *, also: bool = False) -> None:
        """See that it shows what is, and so can be seen together with others.

        Raises:
            InvalidArgument: It is throttled; `also`: and even if it may write.
        """
        if self._throttle_ns and (also or not self.writable):
            self.refuse("throttled")

    def refuse(self, reason: str, first: int = 0, second: int = PAGE_SIZE) -> NoReturn:
        """Raise what an operation of this handle is refused for, in the words of the library."""
        raise failure(reason, self.name, first, second)

    def __del__(self) -> None:
        if hasattr(self, "_record"):
            self.close()

    def __repr__(self) -> str:
        if self.closed:
            return f"<MemoryState {self.name!r} closed>"
        try:
            return f"<MemoryState {self.name!r} {self.permissions} version={self.version}>"
        except HoldfastError as error:
            return f"<MemoryState {self.name!r} {self.permissions} {error.code}>"
