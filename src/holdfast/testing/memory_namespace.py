"""`MemoryNamespace`: states for a simulation, in which nothing happens by itself.

It has the face of `holdfast.state.Namespace`, and passes the same conformance suite. What it does
not have is the machine: no files, no threads, no clock and no chance but those that it is given. So
one seed gives one run, every time.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from holdfast.closing import Closing
from holdfast.errors import Closed, InvalidArgument, NotFound
from holdfast.state import PAGE_SIZE, Permission, Snapshot
from holdfast.state.files import check_name
from holdfast.state.typed import codec_for
from holdfast.state.values import check_size
from holdfast.testing.memory_state import MemoryState
from holdfast.testing.memory_store import Store
from holdfast.testing.memory_transaction import MAX_MEMBERS

if TYPE_CHECKING:
    import random

    from holdfast.clock import Clock
    from holdfast.testing.memory_store import Process, Record, Subscription
    from holdfast.testing.memory_transaction import MemoryTransaction

__all__ = ["MemoryNamespace", "snapshot", "transaction"]


class MemoryNamespace(Closing):
    """Namespaces for a simulation: the first makes a store, `process` and `again` share it.

    Args:
        clock: Whose CLOCK_BOOTTIME dates commits and paces throttled handles; None: time stands
            still.
        rng: Where incarnations come from; None: a generator of seed 0.
        mode: Permission bits, checked and otherwise without effect.
        retain: Whether states made through this object stay when their last subscriber has gone.
    """

    path = "memory:"

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        rng: random.Random | None = None,
        mode: int = 0o600,
        retain: bool = False,
    ) -> None:
        store = Store(clock, rng)
        self.enter(store, store.start_process(), mode=mode, retain=retain)

    def enter(self, store: Store, process: Process, *, mode: int, retain: bool) -> None:
        """Become a namespace of that store in that process: what every constructor does."""
        if mode & 0o600 != 0o600 or mode & ~0o664:
            raise InvalidArgument(f"mode {mode:04o} is none for a state", hint="use 0o600")
        self._store = store
        self._process = process
        self._retain = retain
        self._closed = False
        self._states: weakref.WeakSet[MemoryState] = weakref.WeakSet()

    # -- who is who -------------------------------------------------------------------------------

    def process(self, *, mode: int = 0o600, retain: bool = False) -> MemoryNamespace:
        """A namespace of the same states in another process: it is a stranger to `delete`."""
        return self._another(self._store.start_process(), mode=mode, retain=retain)

    def again(self, *, mode: int = 0o600, retain: bool = False) -> MemoryNamespace:
        """A second namespace object of the same states in this process."""
        return self._another(self._process, mode=mode, retain=retain)

    def _another(self, process: Process, *, mode: int, retain: bool) -> MemoryNamespace:
        other = type(self).__new__(type(self))
        other.enter(self._store, process, mode=mode, retain=retain)
        return other

    def crash(self) -> None:
        """The process dies: its handles go without any cleaning up, its transactions vanish.

        All objects of the process, those of `again` included, are useless from now on. A state
        whose last subscriber has died stays in `names` until somebody subscribes, who gets a new
        one.
        """
        self._process.alive = False

    @property
    def own_process(self) -> Process:
        """Whose subscriptions these are."""
        return self._process

    @property
    def clock(self) -> Clock:
        """The clock that was given."""
        return self._store.clock

    @property
    def closed(self) -> bool:
        """True after `close`, and after a crash."""
        return self._closed or not self._process.alive

    def same_directory(self, other: MemoryNamespace) -> bool:
        """Whether the other object stands for the same states."""
        return self._store is other._store

    def _open_store(self) -> Store:
        if self.closed:
            raise Closed("the namespace is closed", on=self.path, hint="open a new one")
        return self._store

    # -- subscribing ------------------------------------------------------------------------------

    def subscribe(
        self,
        name: str,
        permissions: str | int | Permission = "r",
        *,
        size: int | None = None,
        type: Any = None,  # noqa: A002 - the word of the design
        create: bool = True,
    ) -> MemoryState:
        """A handle on the state of that name; see `holdfast.state.Namespace.subscribe`.

        Raises:
            InvalidArgument: A bad name, permission, size, type; a written state of another size.
            NotFound: There is none, and `create` is false.
            NotPermitted: An unwritten state had to be resized read-only.
            Closed: The namespace was closed, or its process has crashed.
        """
        check_name(name)
        allowed = Permission.parse(permissions)
        codec = None if type is None else codec_for(type)
        if size is not None:
            check_size(size)
        elif codec is not None:
            size = codec.size if codec.size is None else check_size(codec.size)
        store = self._open_store()
        record = store.records.get(name)
        if record is None or not (record.retained or record.anybody()):
            if not create:
                raise NotFound("there is no such state", on=name, hint="is its writer running?")
            record = store.create(name, size or PAGE_SIZE, retained=self._retain)
        state = MemoryState(self, record, allowed, codec)
        try:
            _fit(state, size)
        except BaseException:
            state.close()
            raise
        self._states.add(state)
        return state

    def withdraw(self, record: Record, subscription: Subscription) -> None:
        """One of its handles unsubscribes."""
        self._store.withdraw(record, subscription)

    def forget(self, record: Record) -> None:
        """One of its handles has deleted the state."""
        self._store.forget(record)

    def transaction(self, *states: MemoryState) -> MemoryTransaction:
        """A transaction on several states that commit together or not at all.

        Raises:
            InvalidArgument: None, too many, one twice, or not of one store.
        """
        self._open_store()
        return transaction(*states)

    def names(self) -> list[str]:
        """The names of all states, sorted; some may be left by the dead."""
        return sorted(self._open_store().records)

    # -- ending -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every handle made through this object. Twice is harmless."""
        self._closed = True
        for state in list(self._states):
            state.close()

    def __repr__(self) -> str:
        return f"<MemoryNamespace{' closed' if self.closed else ''}>"


def _fit(state: MemoryState, size: int | None) -> None:
    """Make the state the size that its subscriber asked for, if that may still be done."""
    if size is None or state.size == size:
        return
    if state.written:
        raise InvalidArgument(
            f"the state was written with {state.size} bytes, not {size}",
            on=state.name,
            hint="subscribe without size=, or grow it with set_size()",
        )
    state.set_size(size)


def transaction(*states: MemoryState) -> MemoryTransaction:
    """Start a transaction on several states; see `holdfast.state.transaction`."""
    if not states:
        raise InvalidArgument("transaction() takes at least one state")
    txn = states[0].transaction()
    try:
        for state in states[1:]:
            txn.add(state)
    except BaseException:
        if txn.active:
            txn.abort()
        raise
    return txn


def snapshot(*states: MemoryState) -> tuple[Snapshot, ...]:
    """The newest versions of several states, all of one moment; see `holdfast.state.snapshot`."""
    if len(states) > MAX_MEMBERS:
        raise InvalidArgument(f"snapshot() takes at most 64 states, not {len(states)}")
    for state in states:
        state.see_unthrottled(also=True)
    return tuple(state.snapshot() for state in states)
