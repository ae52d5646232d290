"""`Beside`: a thread that calls the store for coroutines, one call after the other.

It is no executor of the standard library: the interpreter waits for their threads at its exit, and
one that hangs in a store would keep it for ever. This thread ends with the process.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.errors import Closed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Beside"]

T = TypeVar("T")


class Beside:
    """Runs calls in their order. The thread starts with the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        self._started = False
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether no more calls are taken."""
        return self._ended

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Call it after those before; a future that is cancelled in time is never called.

        Raises:
            Closed: `end` was called.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._ended:
                raise Closed("the leases are closed", hint="open them again")
            self._calls.put((future, function))
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return future

    def end(self) -> None:
        """Take no more calls; the thread ends after those that it has."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:  # noqa: BLE001 - it is whoever waits who gets it
                    future.set_exception(error)
            del call, future, function  # they may hold much, and the next may come late
