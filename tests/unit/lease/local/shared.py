"""What the tests of leases in shared memory have in common."""

from __future__ import annotations

import gc
import linecache
import os
import sys
import threading
from collections.abc import Callable

from holdfast import state
from holdfast.lease import Record
from holdfast.lease.stores.local import LocalStore
from holdfast.lease.stores.local.layout import OWN, TERM, digest

LONG_NS = 10**12

MakeStore = Callable[..., LocalStore]


class Hands:
    """A clock that is moved by hand."""

    now_ns = 5_000

    def boottime_ns(self) -> int:
        return self.now_ns

    monotonic_ns = realtime_ns = boottime_ns


def value_of(counter: state.State) -> int | None:
    return None if counter.value is None else counter.value[0]


def own_name(name: str) -> str:
    return OWN + digest("default", name)


def term_name(name: str) -> str:
    return TERM + digest("default", name)


def pass_end(clock: Hands, record: Record) -> None:
    clock.now_ns = record.start_ns + record.duration_ns + 1


def hand_over(clock: Hands, store: LocalStore, record: Record, holder: str) -> Record:
    pass_end(clock, record)
    store.expire(record.name)
    return store.claim(record.name, holder, LONG_NS)


def open_files() -> int:
    """How many descriptors this process has, without those that only wait for the collector."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def rests(ident: int) -> bool:
    """Whether that thread is where it waits for leases, and not on its way there."""
    frame = sys._current_frames().get(ident)
    if frame is None or frame.f_code.co_name not in {"for_one", "for_any"}:
        return False
    return "poll.poll(" in linecache.getline(frame.f_code.co_filename, frame.f_lineno)


def soon(act: Callable[[], object]) -> threading.Timer:
    """Do it in a moment, in another thread, which is to be joined."""
    timer = threading.Timer(0.1, act)
    timer.start()
    return timer
