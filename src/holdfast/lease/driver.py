"""The blocking driver of scripts: it calls the store, looks at the clock, and sleeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.clock import NS_PER_S
from holdfast.errors import HoldfastError, OutcomeUnknown, Unavailable
from holdfast.lease.scripts import Call, Now, Report, Wait

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from holdfast.lease.record import Record
    from holdfast.lease.scripts import Effect, Script
    from holdfast.lease.stores import Store

__all__ = ["Driver"]

T = TypeVar("T")


class Driver:
    """Runs scripts on one store.

    Args:
        store: Whose operations they call.
        now_ns: CLOCK_BOOTTIME.
        closing: Set when nobody is to pause any more.
    """

    def __init__(self, store: Store, now_ns: Callable[[], int], closing: threading.Event) -> None:
        self.store = store
        self.now_ns = now_ns
        self._closing = closing

    def run(self, script: Script[T], report: Callable[[Record], object] | None = None) -> T:
        """Run one script to its end, in this thread; what it returned.

        What a call raises is the script's to handle, if it is one of ours. Everything else, Ctrl-C
        too, ends the script where it stands.
        """
        try:
            effect = script.send(None)
            while True:
                try:
                    answer = self.perform(effect, report)
                except HoldfastError as error:
                    effect = script.throw(error)
                else:
                    effect = script.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            script.close()

    def perform(self, effect: Effect, report: Callable[[Record], object] | None) -> Any:
        """Do what one effect asks for, in this thread."""
        if isinstance(effect, Now):
            return self.now_ns()
        if isinstance(effect, Call):
            operation = getattr(self.store, effect.operation)
            if effect.owner is None:
                return operation(*effect.arguments)
            return operation(*effect.arguments, owner=effect.owner)
        if isinstance(effect, Wait):
            return self._wait(effect, effect.limit_ns / NS_PER_S)
        assert isinstance(effect, Report), effect
        return None if report is None else report(effect.record)

    def _wait(self, effect: Wait, limit_s: float) -> None:
        if effect.name is not None:
            try:
                if self.store.records().get(effect.name) == effect.seen:
                    self.store.wait_changed(limit_s, name=effect.name)
                return
            except (Unavailable, OutcomeUnknown):
                pass  # it cannot tell now; time passes all the same
        self._closing.wait(limit_s)
