"""Every handle of this process, for the moments that concern all of them: a fork, and the end."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.state.subscription import Subscription

__all__ = ["add", "aside", "discard", "everyone"]

_handles: weakref.WeakSet[Subscription] = weakref.WeakSet()
# Reentrant: collecting garbage may close a handle while this thread holds it.
_lock = threading.RLock()


def add(state: Subscription) -> None:
    """It has subscribed."""
    with _lock:
        _handles.add(state)


def discard(state: Subscription) -> None:
    """It has let go of its file."""
    with _lock:
        _handles.discard(state)


def everyone() -> list[Subscription]:
    """Every handle of this process that has its file."""
    with _lock:
        return [state for state in _handles if state.subscribed]


@contextlib.contextmanager
def aside(identity: tuple[int, int]) -> Iterator[None]:
    """Let every handle of that state step aside, to see whether anybody else is subscribed.

    No slot of ours can be taken for a dead one's meanwhile: a commit takes and gives up its slot
    without letting another thread run.
    """
    ours = [state for state in everyone() if state.step_aside(identity)]
    try:
        yield
    finally:
        for state in ours:
            state.step_back()


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.RLock()
    for state in everyone():
        state.after_fork()


def _close_all() -> None:
    for state in everyone():
        with contextlib.suppress(HoldfastError, OSError):
            state.close()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_close_all)
