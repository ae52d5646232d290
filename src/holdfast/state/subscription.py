"""The Python half of a handle: its files, its descriptor, what closing and a fork mean, and errors.

`Subscription` is one object with ``core.native.Handle``, the C half, which reads and commits, and
calls back here (``_failed``, ``_reattach``, ``_need_table``, ``_let_go``) for what is rare.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NoReturn

from holdfast.state import files, subscribers
from holdfast.state.core import native
from holdfast.state.failures import failure
from holdfast.state.values import Permission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.state.namespace import Namespace
    from holdfast.state.typed import Codec
    from holdfast.state.watch import Watch

__all__ = ["Subscription"]


class Subscription(native.Handle):
    """A subscriber of one state, without what users do with it."""

    __slots__ = (
        "__weakref__",
        "_codec",
        "_facts",
        "_fd",
        "_has_bell",
        "_namespace",
        "_number",
        "_path",
        "_permissions",
        "_type",
        "_wakers",
        "_watch",
        "_writable",
        "name",
    )

    name: str
    _namespace: Namespace
    _permissions: Permission
    _path: str
    _type: Any
    _codec: Codec | None
    _facts: files.Facts
    _fd: int
    _has_bell: bool
    _number: int
    _watch: Watch | None
    _wakers: set[Callable[[], None]]
    _writable: bool

    def __init__(
        self,
        namespace: Namespace,
        name: str,
        permissions: Permission,
        fd: int,
        facts: files.Facts,
        codec: tuple[Any, Codec | None],
    ) -> None:
        """Take over the descriptor of a sound file; the namespace's lock is held."""
        self.name = name
        self._namespace = namespace
        self._permissions = permissions
        self._writable = Permission.WRITE in permissions
        self._path = f"{namespace.path}/{name}{files.STATE_SUFFIX}"
        self._type, self._codec = codec
        self._facts = facts
        self._watch = None
        self._wakers = set()
        self._fd = -1
        self._enter(fd, native.Mapping(fd, facts.mapping_length, writable=self._writable))
        subscribers.add(self)

    def _enter(self, fd: int, mapping: native.Mapping | None) -> None:
        """Become a subscriber of the file, or leave the descriptor to the caller.

        Without a mapping the one of before the fork is used again, at its old address.
        """
        bell = self._namespace.bell(self.name)
        self._has_bell = bell is not None
        self._attach(fd, mapping, bell, None, self._writable, self._namespace.identity)
        try:
            while (problem := self._audit()) is not None:
                if problem != "need_table":
                    self.refuse(problem)
                self._need_table()
            self._fd = fd
            self._number = self._enlist() if self._writable else 0
            self._announce()
        except BaseException:
            self._fd = -1
            self._detach()
            raise

    def _announce(self) -> None:
        """Say to the kernel that we are subscribed."""
        if self._number:
            files.announce_writer(self._fd, self._number)
        else:
            files.announce_reader(self._fd)

    # -- ending ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Unsubscribe. The last one to do so takes a state that is not retained with it.

        Transactions under way go on and may still commit; the subscription ends with them.
        Closing twice is harmless.
        """
        if not self.closed:
            watch, self._watch = self._watch, None
            unused = self._detach()
            # After the handle refuses to be used: whoever waits finds out why.
            if watch is not None:
                watch.close()
            for wake in list(self._wakers):
                wake()
            if unused:
                self._let_go()

    def _let_go(self) -> None:
        """Nothing uses the files any more: end the subscription."""
        fd, self._fd = self._fd, -1
        subscribers.discard(self)
        if fd < 0:
            return
        try:
            self._detach()
            self._namespace.unsubscribe(self.name, fd, self._facts)
        finally:
            os.close(fd)

    # -- for others of this room -------------------------------------------------------------------

    @contextlib.contextmanager
    def woken_at_close(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` when the handle is closed, by whatever thread, as long as this lasts."""
        self._wakers.add(wake)
        try:
            yield
        finally:
            self._wakers.discard(wake)

    @property
    def rings(self) -> bool:
        """Whether committers can be asked to wake this handle; if not, it looks every 5 ms."""
        return self._has_bell

    def _need_table(self) -> None:
        self._use_table(self._namespace.table(create=self._writable))

    def _clear_table(self) -> None:
        self._namespace.clear_table()

    # -- a fork's child ---------------------------------------------------------------------------

    def step_aside(self, identity: tuple[int, int]) -> bool:
        """If this is a handle of that very state: do as if it were not; whether it is."""
        if self._facts.identity != identity:
            return False
        files.withdraw(self._fd)
        return True

    def step_back(self) -> None:
        """Be subscribed again, as before `step_aside`."""
        self._announce()

    @property
    def subscribed(self) -> bool:
        """Whether it still has its file: closed, it may for the sake of an open transaction."""
        return self._fd >= 0

    def after_fork(self) -> None:
        """Let go of the parent's files, so that its end is seen by others while we live."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.abandon()
        self._forked()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _reattach(self) -> None:
        """First use in a fork's child: subscribe to the same state, as ourselves."""
        with self._namespace.locked():  # which one thread of a process has at a time
            if self._fd >= 0:
                return  # another thread was first
            opened = self._namespace.open_state(self.name, writable=self._writable)
            if opened is None:
                self.refuse("deleted")
            fd, facts = opened
            try:
                if facts.identity != self._facts.identity:
                    self.refuse("deleted")
                self._enter(fd, None)
            except BaseException:
                os.close(fd)
                raise

    # -- errors in words --------------------------------------------------------------------------

    def refuse(self, reason: str) -> NoReturn:
        """Raise what an operation of this handle is refused for."""
        self._failed(reason, 0, 0)

    def _failed(self, reason: str, started: int, current: int) -> NoReturn:
        raise failure(reason, self.name, started, current)
