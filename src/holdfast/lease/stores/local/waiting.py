"""Waiting for a change of leases in shared memory, and being woken when the store is closed.

Who waits for one lease has handles of his own on its two states: their descriptors become readable
at the commit itself (``state/watch.py``), but make reading slow. Nothing tells of all leases at
once; who waits for any of them looks now and then.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from holdfast.errors import Closed, Deleted
from holdfast.lease.stores.local import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.lease.stores.local.handles import Handles

__all__ = ["POLL_S", "Waiting"]

POLL_S = 0.05

# To close an inotify descriptor takes the kernel some 10 ms (it waits for all processors), so the
# handles of the last wait are kept for the next one, which mostly is for the same lease.
_IDLE_MAX = 1


class Waiting:
    """Those who wait through one store. Any number of threads may.

    Args:
        handles: Of the store.
        leave: Lets go of the store's place: called once, when it is closed and nobody waits.
    """

    def __init__(self, handles: Handles, leave: Callable[[], None]) -> None:
        self._handles = handles
        self._leave = leave
        self._lock = threading.Lock()
        self._wakers: set[int] = set()
        self._idle: list[tuple[str, tuple[Any, Any]]] = []  # by hash, oldest first
        self._closed = False

    def for_one(self, hash_: str, changed: Callable[[], bool], deadline: float | None) -> bool:
        """Wait until `changed` says so of the lease with that hash; False: the time is over.

        Args:
            hash_: See `layout.digest`. Its states are made if need be.
            changed: A look at the lease.
            deadline: In seconds of CLOCK_MONOTONIC, or None.
        """
        while True:
            if changed():
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            with self._poll() as poll, suppress(Deleted), self._pair(hash_) as pair:
                for state in pair:
                    poll.register(state.fileno(), select.POLLIN)
                while True:
                    for state in pair:
                        state.read()  # so much is seen; whatever comes after makes it readable
                    if changed():
                        return True
                    if deadline is not None and time.monotonic() >= deadline:
                        return False
                    poll.poll(_milliseconds(deadline))

    def for_any(self, changed: Callable[[], bool], deadline: float | None) -> bool:
        """The same of all leases: a look each 50 ms, or half of the time if one takes longer."""
        with self._poll() as poll:
            while True:
                began = time.monotonic()
                if changed():
                    return True
                now = time.monotonic()
                if deadline is not None and now >= deadline:
                    return False
                pause = now + max(POLL_S, now - began)
                poll.poll(_milliseconds(pause if deadline is None else min(pause, deadline)))

    def end(self) -> None:
        """Wake all who wait, and leave; the last of them does it. Twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for fd in self._wakers:
                os.eventfd_write(fd, 1)
            if self._wakers:
                return
        self._leave()

    def forget(self) -> None:
        """Leave in a fork's child: those who wait do so in the parent."""
        if not self._closed:
            self._closed = True
            self._leave()

    @contextmanager
    def _poll(self) -> Iterator[select.poll]:
        fd = os.eventfd(0, os.EFD_CLOEXEC)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        with self._lock:
            closed = self._closed
            if closed:
                os.close(fd)
            else:
                self._wakers.add(fd)
        if closed:
            raise Closed("the store is closed", hint="open another")
        try:
            yield poll
        finally:
            with self._lock:
                self._wakers.discard(fd)
                os.close(fd)
                last = self._closed and not self._wakers
            if last:
                self._leave()

    @contextmanager
    def _pair(self, hash_: str) -> Iterator[tuple[Any, Any]]:
        """Handles on both states of a lease, kept afterwards for the next time."""
        pair = self._kept(hash_) or self._opened(hash_)
        try:
            yield pair
        except Deleted:  # by somebody's hand; next time what has taken its place is watched
            _close(pair)
            raise
        except BaseException:
            self._keep(hash_, pair)
            raise
        else:
            self._keep(hash_, pair)

    def _kept(self, hash_: str) -> tuple[Any, Any] | None:
        surplus = []
        with self._lock:
            found = next((idle for idle in self._idle if idle[0] == hash_), None)
            if found is not None:
                self._idle.remove(found)
            while len(self._idle) > _IDLE_MAX:
                surplus.append(self._idle.pop(0))
        for _, pair in surplus:
            _close(pair)
        return None if found is None else found[1]

    def _keep(self, hash_: str, pair: tuple[Any, Any]) -> None:
        # Never closed here: that takes the kernel longer than all the rest, and who has waited for
        # a lease wants to have it now.
        with self._lock:
            self._idle.append((hash_, pair))

    def _opened(self, hash_: str) -> tuple[Any, Any]:
        own = self._handles.subscribe(layout.OWN + hash_, layout.OWN_SIZE, "r")
        try:
            return own, self._handles.subscribe(layout.TERM + hash_, layout.TERM_SIZE, "r")
        except BaseException:
            own.close()
            raise


def _close(pair: tuple[Any, Any]) -> None:
    for state in pair:
        state.close()


def _milliseconds(deadline: float | None) -> int | None:
    """For poll(2), which takes no more than an int of them; rounded up."""
    if deadline is None:
        return None
    return math.ceil(min(max(0.0, deadline - time.monotonic()) * 1000, 2**31 - 1))
