"""The handles of a `LocalStore` on its leases' states: opened, read, kept within bounds, dropped.

A handle is a file descriptor and two mappings, and opening one takes some system calls; so the
names that were used last keep theirs. What was read through a handle is kept with the version that
it was read at, and decoded again only when somebody else has committed since.
"""

from __future__ import annotations

import errno
import random
import resource
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from holdfast.errors import (
    Busy,
    Closed,
    Conflict,
    Damaged,
    Deleted,
    HoldfastError,
    InvalidArgument,
    LayoutMismatch,
    LeaseError,
    NotFound,
    NotPermitted,
    Unavailable,
    Unsupported,
)
from holdfast.lease.stores.local import layout
from holdfast.lease.stores.local.layout import OWN, TERM, Owned, Term

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.lease.record import Record

__all__ = ["Handles", "Seen", "Slot", "member"]

HANDLES_MAX = 4096
ATTEMPTS_MAX = 100
_PAUSE_FIRST_S = 20e-6  # as in `State.transact`
_PAUSE_MAX_S = 5e-3


# A version of the ownership state, its record, the same as a `Record` with the first term (None: it
# is vacant), and who has pinned it.
Seen: TypeAlias = "tuple[int, Owned, Record | None, frozenset[str]]"


class Slot:
    """The handles on one lease's states, and what was read or written last through them.

    Each picture is one tuple, which is replaced and never changed: threads need no lock. It holds
    as long as the state has the version that it begins with.

    Attributes:
        name: The lease.
        hash: See `layout.digest`.
        own: The state of the ownership record.
        owned: What it showed last.
        term: The state of the term record; None: not looked for, or not there.
        termed: Its version, and the record, if it was written.
        joined: The versions of both, and the whole `Record`.
        used: Whether it was used since the cache last made room.
    """

    __slots__ = (
        "_era",
        "_namespace",
        "hash",
        "joined",
        "name",
        "own",
        "owned",
        "term",
        "termed",
        "used",
    )

    def __init__(self, name: str, hash_: str, own: Any, *, namespace: str, era: str) -> None:
        self.name = name
        self.hash = hash_
        self.own = own
        self.owned: Seen = _NEVER
        self.term: Any = None
        self.termed: tuple[int, Term | None] = (-1, None)
        self.joined: tuple[int, int, Record | None] = (-1, -1, None)
        self.used = True
        self._namespace = namespace
        self._era = era

    def close(self) -> None:
        """Give the handles back. An open transaction keeps what it needs."""
        self.own.close()
        if self.term is not None:
            self.term.close()

    def shown(self, own: Any) -> Seen:
        """What the ownership state shows, given a transaction's part or a snapshot.

        Raises:
            LeaseError: Something else has written there.
        """
        seen = self.owned
        version = own.version
        return seen if seen[0] == version else self.read_owned(version, own.data)

    def read_owned(self, version: int, data: bytes | memoryview) -> Seen:
        """The picture of the ownership record's bytes.

        Raises:
            LeaseError: Something else has written there.
        """
        with _quarantined(self.name, self.own):
            owned = layout.unpack(Owned, data)
            if owned is None:
                owned = Owned(self._namespace, self.name, 0)
            if (owned.namespace, owned.name) != (self._namespace, self.name):
                raise LeaseError("this is the record of another lease")
            record = layout.record_of(owned, None, self._era)
        self.owned = seen = (version, owned, record, frozenset(owned.pins))
        return seen

    def whole(self, seen: Seen, part: Any) -> Record | None:
        """The record with the newest term.

        Args:
            seen: What the ownership state shows.
            part: What the term's state shows: a transaction's part, or a snapshot.

        Raises:
            LeaseError: Something else has written there.
        """
        own_version, owned, first, _ = seen
        version = part.version
        joined = self.joined
        if joined[0] == own_version and joined[1] == version:
            return joined[2]
        with _quarantined(self.name, self.term):
            if self.termed[0] != version:
                self.termed = (version, layout.unpack(Term, part.data))
            term = self.termed[1]
            record = first
            if term is not None and first is not None and term.epoch == owned.epoch:
                record = layout.record_of(owned, term, self._era)
        self.joined = (own_version, version, record)
        return record


_NEVER: Seen = (-1, Owned("", "", 0), None, frozenset())


class Handles:
    """Those of one store. Any thread may call.

    Args:
        states: The `holdfast.state.Namespace` of the directory.
        snapshot: `holdfast.state.snapshot`.
        namespace: Whose leases.
        era: The boot id.
        page_size: The greatest size of a state.

    Attributes:
        slots: By the lease's name, those that are kept; the longest there first.
        capacity: How many handles are kept at most.
    """

    def __init__(
        self,
        states: Any,
        snapshot: Callable[..., tuple[Any, ...]],
        *,
        namespace: str,
        era: str,
        page_size: int,
    ) -> None:
        self.slots: dict[str, Slot] = {}
        # Not more than a part of what the process may open: it has other uses for descriptors.
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        unlimited = soft == resource.RLIM_INFINITY
        self.capacity = HANDLES_MAX if unlimited else max(8, min(HANDLES_MAX, soft // 4))
        self._states = states
        self._snapshot = snapshot
        self._namespace = namespace
        self._era = era
        self._page_size = page_size
        self._guard = threading.RLock()
        self._listing = threading.Lock()
        self._foreign: set[str] = set()

    # -- one lease --------------------------------------------------------------------------------

    def open(self, name: str) -> Slot:
        """The handles of a lease, whose states are made if there are none."""
        return self._keep(self._slot(name, layout.OWN_SIZE))

    def find(self, name: str) -> Slot | None:
        """The handles of a lease, or None if nobody has ever claimed or pinned it."""
        try:
            return self._keep(self._slot(name, None))
        except NotFound:
            return None

    def need_term(self, slot: Slot) -> Any:
        """The handle on its term's state, which is made if there is none."""
        if slot.term is None:
            slot.term = self.subscribe(TERM + slot.hash, layout.TERM_SIZE)
        return slot.term

    def look_at(self, slot: Slot, *, has_term: bool = True) -> Record | None:
        """The whole record, both halves of one moment; `has_term`: whether there may be one.

        Raises:
            LeaseError: Something else has written there.
        """
        if slot.term is None and has_term:
            with suppress(NotFound):
                slot.term = self.subscribe(TERM + slot.hash)
        if slot.term is None:
            return slot.shown(slot.own.snapshot())[2]
        own, term = self._snapshot(slot.own, slot.term)
        return slot.whole(slot.shown(own), term)

    def put(self, state: Any, part: Any, data: bytes, leader: Any) -> bool:
        """Write into a part of a transaction. False: the state had to grow, begin anew.

        Raises:
            InvalidArgument: It is more than a page.
            OutOfSpace: There is no room to grow; nothing was changed.
        """
        try:
            part.write(0, data)
        except InvalidArgument:
            leader.abort()
            size = layout.room_for(len(data), self._page_size)
            if state.size < size:
                with suppress(InvalidArgument):  # somebody else has made it even larger
                    state.set_size(size)
            return False
        return True

    def again(self, error: HoldfastError, attempt: int, slot: Slot) -> int:
        """What an error of the states means for a call; the number of its next attempt, if any.

        Raises:
            LeaseError: Something else has written there.
            Unavailable: The attempts are over.
        """
        match error:
            case Deleted() | Closed():  # by somebody's hand; or the cache had to make room
                self.drop(slot)
            case Damaged() | LayoutMismatch():
                raise _quarantine(error, slot.name, error.on or slot.own.name) from error
            case Conflict() | Busy():
                pass
            case _:
                raise error
        if attempt >= ATTEMPTS_MAX:
            raise Unavailable(
                "others change the lease all the time", on=slot.name, hint="try again"
            ) from error
        if attempt:
            limit = min(_PAUSE_MAX_S, _PAUSE_FIRST_S * 2.0 ** min(attempt, 16))
            time.sleep(random.uniform(0, limit))
        return attempt + 1

    # -- the cache --------------------------------------------------------------------------------

    def _slot(self, name: str, size: int | None) -> Slot:
        hash_ = layout.digest(self._namespace, name)
        try:
            own = self.subscribe(OWN + hash_, size)
        except (Damaged, LayoutMismatch) as error:
            raise _quarantine(error, name, OWN + hash_) from error
        return Slot(name, hash_, own, namespace=self._namespace, era=self._era)

    def _keep(self, slot: Slot) -> Slot:
        evicted = []
        with self._guard:
            present = self.slots.get(slot.name)
            if present is not None:
                slot.close()
                return present
            # A lease may need two. Those that were used since the last round stay for another.
            while 2 * len(self.slots) >= self.capacity:
                name, oldest = next(iter(self.slots.items()))
                del self.slots[name]
                if oldest.used:
                    oldest.used = False
                    self.slots[name] = oldest
                else:
                    evicted.append(oldest)
            self.slots[slot.name] = slot
        for other in evicted:
            other.close()
        return slot

    def drop(self, slot: Slot) -> None:
        """Close these handles, and do not give them out again."""
        with self._guard:
            if self.slots.get(slot.name) is slot:
                del self.slots[slot.name]
        slot.close()

    def subscribe(self, name: str, size: int | None = None, permissions: str = "rw") -> Any:
        """A handle. Without `size` the state must exist, with it one is made.

        Raises:
            NotFound: It does not exist.
            Unavailable: This process has too many files open.
        """
        while True:
            try:
                return self._states.subscribe(name, permissions, create=False)
            except NotFound:
                if size is None:
                    raise
            except OSError as error:
                _explain(error, name)
            try:
                return self._states.subscribe(name, permissions, size=size)
            except InvalidArgument:
                continue  # between the two, somebody else has made it and grown it
            except OSError as error:
                _explain(error, name)

    # -- all leases -------------------------------------------------------------------------------

    def survey(self) -> list[tuple[Owned, Record | None]]:
        """Every lease of the namespace that was ever claimed or pinned, and that can be read."""
        names = set(self._names())
        known = {slot.hash: slot for slot in list(self.slots.values())}
        found = []
        for name in names:
            hash_ = name.removeprefix(OWN)
            if hash_ == name or hash_ in self._foreign:
                continue
            with suppress(LeaseError, Unsupported, Damaged, LayoutMismatch, NotPermitted):
                pair = self._seen(hash_, known.get(hash_), has_term=TERM + hash_ in names)
                if pair is not None:
                    found.append(pair)
        return found

    def _names(self) -> list[str]:
        # Two listings at once through one descriptor share its position: each would see a part.
        with self._listing:
            names: list[str] = self._states.names()
            return names

    def _seen(
        self, hash_: str, slot: Slot | None, *, has_term: bool
    ) -> tuple[Owned, Record | None] | None:
        for _ in range(3):  # somebody deletes it, or another thread evicts it, under our hands
            try:
                slot = slot or self._adopt(hash_)
                if slot is None:
                    return None
                try:
                    record = self.look_at(slot, has_term=has_term)
                    return slot.owned[1], record  # an older picture of the pins is none the worse
                finally:
                    if self.slots.get(slot.name) is not slot:
                        slot.close()
            except (Deleted, Closed):
                if slot is not None:
                    self.drop(slot)
                    slot = None
            except NotFound:
                return None
        return None

    def _adopt(self, hash_: str) -> Slot | None:
        """The handle on a state that was found in the directory, if it is of our namespace."""
        own = self.subscribe(OWN + hash_)
        try:
            owned = layout.unpack(Owned, own.read())
            if owned is not None and layout.digest(owned.namespace, owned.name) == hash_:
                if owned.namespace == self._namespace:
                    slot = Slot(owned.name, hash_, own, namespace=self._namespace, era=self._era)
                    own = None
                    # Where there is no room, a walk through all would evict what is in use.
                    return self._keep(slot) if self._has_room() else slot
                self._foreign.add(hash_)
            return None
        finally:
            if own is not None:
                own.close()

    def _has_room(self) -> bool:
        return 2 * len(self.slots) + 2 < self.capacity

    def greatest_epoch(self) -> int:
        """The greatest that any record of the directory shows, of whatever namespace; or 0."""
        greatest = 0
        for name in self._names():
            if name.startswith(OWN):
                with suppress(LeaseError, Unsupported, Damaged, LayoutMismatch, Deleted, NotFound):
                    own = self.subscribe(name)
                    try:
                        owned = layout.unpack(Owned, own.read())
                    finally:
                        own.close()
                    greatest = max(greatest, 0 if owned is None else owned.epoch)
        return greatest


def member(transaction: Any, slot: Slot) -> Any:
    """The lease's part of a transaction of the user's, of which it becomes a member.

    Raises:
        InvalidArgument: It cannot: it has ended, or its states lie elsewhere.
        Conflict: What the transaction has seen is no longer true together.
    """
    try:
        return transaction.add(slot.own)
    except InvalidArgument as error:
        with suppress(InvalidArgument):
            return transaction[slot.own]  # it was gated before
        raise InvalidArgument(
            f"the transaction cannot be gated: {error.what}",
            on=slot.name,
            hint="its states must lie in the store's directory, and it must be active",
        ) from error


@contextmanager
def _quarantined(name: str, state: Any) -> Iterator[None]:
    """What cannot be read concerns that one lease, and says so."""
    try:
        yield
    except (LeaseError, Unsupported) as error:
        raise _quarantine(error, name, state.name) from error


def _quarantine(error: HoldfastError, name: str, state: str) -> LeaseError | Unsupported:
    kind = Unsupported if isinstance(error, Unsupported) else LeaseError
    return kind(
        error.what,
        on=name,
        hint=f"nobody can claim it; look at what has been written into the state {state}",
    )


def _explain(error: OSError, name: str) -> NoReturn:
    if isinstance(error, HoldfastError):
        raise error
    raise Unavailable(
        f"the state of a lease cannot be opened ({error.strerror})",
        on=name,
        hint="allow more open files (ulimit -n)" if error.errno == errno.EMFILE else None,
    ) from error
