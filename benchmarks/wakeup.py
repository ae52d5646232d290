"""How long it takes until a process that waits runs again.

The waiter is another process, pinned to a processor. The one that wakes it notes the time in shared
memory just before it does, the waiter notes the time as soon as its call has returned, and the
difference is a sample; most of it is the kernel's, whoever asks. Between two samples the waiter has
time to fall asleep; the one that wakes it stays awake meanwhile (`awake`), or sleeps too, so that
everything it does next finds the processor cold. Ways to wake take turns, in rounds, as in
`measure`.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Protocol

from benchmarks.crowd import SPAWN
from benchmarks.measure import by_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ctypes import Array, c_longlong

    from benchmarks.measure import Measurement

__all__ = ["Eventfd", "EventfdPoll", "Pipe", "Way", "wakeups"]

_ASLEEP_S = 0.0004  # for the waiter to fall asleep again
_LOST_S = 5.0
_STARTED, _LATENCY, _COUNT = range(3)


class Way(Protocol):
    """A way to wake another process; it travels to the waiter by pickling."""

    name: str
    text: str  # what is measured, in a few words

    def open_waker(self) -> Callable[[], object]:
        """Called in the process that wakes: what it calls each time."""
        ...

    def open_waiter(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """Called in the waiter: what it waits with, and what makes it ready to wait again."""
        ...

    def close(self) -> None:
        """Called in both."""
        ...


def _nothing() -> None:
    pass


def _stay_awake(duration_s: float) -> None:
    """Let whoever is ready on this processor run, but do not sleep."""
    deadline = time.monotonic() + duration_s
    while time.monotonic() < deadline:
        os.sched_yield()


@dataclass
class Eventfd:
    """A blocking read of an eventfd: the least that the kernel asks for a wake-up."""

    name = "eventfd"
    text = "os.eventfd_write(fd, 1) → os.eventfd_read(fd)"

    def __init__(self) -> None:
        self._end = Connection(os.eventfd(0))  # a Connection, because those can be inherited

    def open_waker(self) -> Callable[[], object]:
        fd = self._end.fileno()
        return lambda: os.eventfd_write(fd, 1)

    def open_waiter(self) -> tuple[Callable[[], object], Callable[[], object]]:
        fd = self._end.fileno()
        return lambda: os.eventfd_read(fd), _nothing

    def close(self) -> None:
        self._end.close()


class EventfdPoll(Eventfd):
    """An eventfd that is polled, as one does who waits for more than one thing."""

    name = "eventfd+poll"
    text = "os.eventfd_write(fd, 1) → poll.poll()"

    def open_waiter(self) -> tuple[Callable[[], object], Callable[[], object]]:
        fd = self._end.fileno()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return poll.poll, lambda: os.eventfd_read(fd)


class Pipe:
    """A blocking read of a pipe."""

    name = "pipe"
    text = 'os.write(fd, b"!") → os.read(fd, 1)'

    def __init__(self) -> None:
        self._reading, self._writing = SPAWN.Pipe(duplex=False)

    def open_waker(self) -> Callable[[], object]:
        fd = self._writing.fileno()
        return lambda: os.write(fd, b"!")

    def open_waiter(self) -> tuple[Callable[[], object], Callable[[], object]]:
        fd = self._reading.fileno()
        return lambda: os.read(fd, 1), _nothing

    def close(self) -> None:
        self._reading.close()
        self._writing.close()


def _waiter(way: Way, cell: Array[c_longlong], processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    wait, again = way.open_waiter()
    now = time.monotonic_ns
    cell[_COUNT] = 0
    while True:
        wait()
        woken = now()
        started = cell[_STARTED]
        if started < 0:
            break
        again()
        if started > 0:  # else awake for no reason, which a way may allow
            cell[_STARTED] = 0
            cell[_LATENCY] = woken - started
            cell[_COUNT] += 1
    way.close()


class _Pair:
    """A waiter, and what wakes it."""

    def __init__(self, way: Way, processor: int, *, awake: bool) -> None:
        self.way = way
        self.name, self.text = way.name, way.text
        self._pause = _stay_awake if awake else time.sleep
        self._cell: Array[c_longlong] = SPAWN.RawArray("q", 3)
        self._cell[_COUNT] = -1
        self._process = SPAWN.Process(
            target=_waiter, args=(way, self._cell, processor), daemon=True
        )
        self._process.start()  # before anything is open that does not travel
        self._wake = way.open_waker()

    def await_count(self, count: int, limit_s: float = _LOST_S) -> None:
        deadline = time.monotonic() + limit_s
        while self._cell[_COUNT] != count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.way.name}: a wake-up was lost")
            self._pause(_ASLEEP_S)

    def sample(self) -> float:
        cell, wake, now, pause = self._cell, self._wake, time.monotonic_ns, self._pause
        count = cell[_COUNT] + 1
        cell[_STARTED] = now()
        wake()
        pause(_ASLEEP_S)  # at once: on the same processor the waiter can only run now
        self.await_count(count)
        return float(cell[_LATENCY])

    def close(self) -> None:
        self._cell[_STARTED] = -1
        with contextlib.suppress(OSError):
            self._wake()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self.way.close()


def wakeups(
    ways: Sequence[Way], processor: int, *, awake: bool, rounds: int, turn: int
) -> list[Measurement]:
    """The latencies of each way to a waiter on `processor`: `turn` samples in each round."""
    with contextlib.ExitStack() as stack:
        pairs: list[_Pair] = []
        for way in ways:
            pairs.append(_Pair(way, processor, awake=awake))
            stack.callback(pairs[-1].close)
        for pair in pairs:
            pair.await_count(0, 60.0)
            for _ in range(10):
                pair.sample()
        return by_turns(pairs, rounds=rounds, turn=turn)
