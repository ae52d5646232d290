"""One descriptor for all the states that an event loop watches.

An inotify instance a state would end at 128 of them (``fs.inotify.max_user_instances``). So each
loop has one instance, with a watch for each file, and hands its events on. Its queue can overflow,
when thousands of files change while the loop is busy: the kernel then says so, and everybody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import weakref
from typing import TYPE_CHECKING

from holdfast._native import kernel
from holdfast.state.watch import POLL_NS, add_file, new_instance

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from holdfast.state.handle import State
    from holdfast.state.values import Snapshot

__all__ = ["LoopWatch", "changes"]

_EVENT = struct.Struct("@iIII")  # struct inotify_event: wd, mask, cookie, length of the name


class LoopWatch:
    """The states that one event loop watches, and whom to wake for each."""

    _of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWatch] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fd = -1
        self._rung: dict[int, set[asyncio.Event]] = {}
        self._polled: set[asyncio.Event] = set()  # those for whom no watch could be had
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of_running_loop(cls) -> LoopWatch:
        """The one of the loop that runs now."""
        loop = asyncio.get_running_loop()
        watch = cls._of_loops.get(loop)
        if watch is None:
            watch = cls._of_loops[loop] = cls(loop)
        return watch

    @contextlib.contextmanager
    def watching(self, state: State, state_fd: int) -> Iterator[asyncio.Event]:
        """An event that is set whenever the state may have changed.

        The state must be asked to ring (`native.Handle._want`) before each look.
        """
        rung = asyncio.Event()
        number = self._add(state_fd) if state.rings else -1
        everybody = self._rung.setdefault(number, set()) if number >= 0 else self._polled
        everybody.add(rung)
        if number < 0:
            self._poll_later()
        try:
            with state.woken_at_close(lambda: self._ring_from_anywhere(rung)):
                yield rung
        finally:
            everybody.discard(rung)
            if number >= 0 and not everybody:
                self._remove(number)

    def _ring_from_anywhere(self, rung: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(rung.set)

    def _add(self, state_fd: int) -> int:
        if self._fd < 0:
            self._fd = new_instance()
            if self._fd < 0:
                return -1
            self._loop.add_reader(self._fd, self._readable)
        return add_file(self._fd, state_fd)

    def _remove(self, number: int) -> None:
        del self._rung[number]
        with contextlib.suppress(OSError):  # the file may be gone, and its watch with it
            kernel.inotify_rm_watch(self._fd, number)
        if not self._rung:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        try:
            events = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(events):
            number, mask, _, length = _EVENT.unpack_from(events, offset)
            offset += _EVENT.size + length
            lost = mask & kernel.IN_Q_OVERFLOW
            for everybody in list(self._rung.values()) if lost else [self._rung.get(number, ())]:
                for rung in everybody:
                    rung.set()

    def _poll_later(self) -> None:
        if self._polled and self._timer is None:
            self._timer = self._loop.call_later(POLL_NS / 1e9, self._poll)

    def _poll(self) -> None:
        self._timer = None
        for rung in self._polled:
            rung.set()
        self._poll_later()


async def changes(state: State, state_fd: int) -> AsyncGenerator[Snapshot, None]:
    """What `State.changes` gives."""
    with LoopWatch.of_running_loop().watching(state, state_fd) as rung:
        while True:
            rung.clear()
            state._want()  # before the look: what comes after it, rings
            if state.changed():
                yield state.snapshot()
            elif remaining_ns := state._remaining():
                await asyncio.sleep(remaining_ns / 1e9)
            else:
                await rung.wait()
