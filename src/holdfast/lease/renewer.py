"""The renewer: a thread with a connection of its own that renews, ticks and removes what ran out.

It shares nothing with the holders' work: no event loop, no connection pool, no transaction. A
renewal that is starved by the work that it is for is the commonest way to lose a lease.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING

from holdfast.errors import StaleRecord
from holdfast.lease.alarm import alarm_of
from holdfast.lease.driver import Driver
from holdfast.lease.global_clock import INTERVAL_NS_MAX, Advance, Updater
from holdfast.lease.record import Record
from holdfast.lease.scripts import expire_overdue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.clock import Clock
    from holdfast.lease.held import Held
    from holdfast.lease.keeper import Keeper
    from holdfast.lease.roster import Roster
    from holdfast.lease.stores import Store

__all__ = ["Renewer"]

# As many as one transaction of a store extends. A slow batch delays the next one.
BATCH = 1000
# With one lease, all are renewed that are due within this part of their duration: else those that
# were claimed one after the other would be renewed one after the other for ever.
AHEAD_PARTS = 10
CLOSE_S = 1.0

log = logging.getLogger("holdfast.lease")


class Renewer:
    """Renews the leases of a roster. The thread starts with the first lease, or with `start`."""

    def __init__(self, roster: Roster, open_store: Callable[[], Store], clock: Clock) -> None:
        self._roster = roster
        self._open_store = open_store
        self._clock = clock
        self._alarm = alarm_of(clock)
        self._planned_ns: int | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._rng = random.Random()
        self._driver: Driver | None = None
        self._updater: Updater | None = None

    def start(self) -> None:
        """Advance the store's clock from now on, whether or not a lease is held."""
        with self._roster.lock:
            self.renew_at(self._clock.boottime_ns())

    def renew_at(self, due_ns: int) -> None:
        """Something is to be done then. Call it under the roster's lock."""
        if self._planned_ns is None or due_ns < self._planned_ns:
            self._planned_ns = due_ns
            self._alarm.set(due_ns)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="holdfast-lease-renewer", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop the thread; if it hangs in a call, it is left behind and ends with that."""
        with self._roster.lock:
            self._alarm.set(0)  # first: once the thread sees that it is to end, it closes the alarm
            self._closing.set()
        if self._thread is None:
            self._alarm.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)

    # -- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            now_ns = self._clock.boottime_ns()
            due = self._due(now_ns)
            for at in range(0, len(due), BATCH):
                self._renew(due[at : at + BATCH])
            self._tick()
            with self._roster.lock:
                self._plan()
            self._alarm.wait()
        if self._driver is not None:
            self._driver.store.close()
        self._alarm.close()

    def _due(self, now_ns: int) -> list[Held]:
        with self._roster.lock:
            waiting = [held for held in self._roster if held.keeper.due_ns is not None]
            if not any(_is_due(held.keeper, now_ns) for held in waiting):
                return []
            for held in waiting:
                keeper = held.keeper
                ahead_ns = now_ns + keeper.duration_ns // AHEAD_PARTS
                if _is_due(keeper, ahead_ns) and not _is_due(keeper, now_ns):
                    keeper.due_ns = now_ns
            return [held for held in waiting if held.keeper.begin(now_ns)]

    def _plan(self) -> None:
        if self._closing.is_set():
            return
        dues = [held.keeper.due_ns for held in self._roster]
        if self._updater is not None:
            dues.append(self._updater.due_ns)
        elif self._driver is None:  # it could not be opened: try again
            dues.append(self._clock.boottime_ns() + INTERVAL_NS_MAX)
        self._planned_ns = min((due for due in dues if due is not None), default=None)
        self._alarm.set(self._planned_ns)

    def _connected(self) -> Driver:
        if self._driver is None:
            store = self._open_store()
            try:
                if store.clock().step_ns > 0:  # a clock that its users advance
                    self._updater = Updater(self._clock.boottime_ns(), interval_ns=INTERVAL_NS_MAX)
            except BaseException:
                store.close()
                raise
            self._driver = Driver(store, self._clock.boottime_ns, self._closing)
        return self._driver

    def _renew(self, batch: Sequence[Held]) -> None:
        asked_ns = self._clock.boottime_ns()
        answers: Sequence[Record | Exception]
        try:
            asked = [(held.keeper.record, held.keeper.duration_ns) for held in batch]
            answers = self._connected().store.extend_many(asked)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            log.warning("renewing %d leases: %s", len(batch), error)
            answers = [error] * len(batch)
        now_ns = self._clock.boottime_ns()
        with self._roster.lock:
            for held, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Record):
                    held.keeper.renewed(answer, asked_ns)
                elif isinstance(answer, StaleRecord):
                    held.keeper.refused(str(answer))
                else:
                    held.keeper.unanswered(now_ns, self._rng, str(answer))
        for held in batch:
            held.announce()

    def _tick(self) -> None:
        """Advance the store's clock if it is our turn, and then remove what has run out."""
        try:
            driver = self._connected()
        except Exception as error:  # noqa: BLE001 - the store is away; renewals tell it, too
            log.warning("opening the store: %s", error)
            return
        updater, store, now_ns = self._updater, driver.store, self._clock.boottime_ns
        action = None if updater is None else updater.fire(now_ns())
        while updater is not None and action is not None:
            try:
                if isinstance(action, Advance):
                    reading = store.advance(action.elapsed_ns, since=action.since)
                    updater.advanced(reading, now_ns())
                    driver.run(expire_overdue())
                    return
                action = updater.seen(store.clock(), now_ns())
            except StaleRecord:
                action = updater.lost()
            except Exception as error:  # noqa: BLE001 - the thread goes on whatever happens
                log.info("the store's clock: %s", error)
                if updater.due_ns is None:  # an answer was awaited, and this is none
                    updater.unknown(now_ns())
                return


def _is_due(keeper: Keeper, now_ns: int) -> bool:
    return keeper.due_ns is not None and keeper.due_ns <= now_ns
