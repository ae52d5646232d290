"""One round of calls: all listeners at once, and everybody is waited for.

A listener that dies counts as one that answered: nobody can wait for the dead. One that merely does
not answer is waited for until its own time-out, or for ever if it has none; the governor names it
every `slow_listener_ns`, and all that are awaited every `stuck_ns`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from holdfast.wake.causes import seconds
from holdfast.wake.model import Call, CallRecord, Ending, Moment, OnTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.timers import TimerEntry, TimerQueue
    from holdfast.wake.governor.journal import Journal
    from holdfast.wake.model import Config, Requester

__all__ = ["Listener", "Round"]

_ENDINGS = {
    OnTimeout.ABORT: Ending.ABORT,
    OnTimeout.GO_ON: Ending.GO_ON,
    OnTimeout.EVICT: Ending.EVICT,
}
_WORDS = {Moment.BEFORE_SUSPEND: "before the suspend", Moment.AFTER_RESUME: "after the resume"}


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to be called.

    Attributes:
        timeout_ns: How long one call may take; None: for ever.
    """

    listener_id: int
    name: str
    requester: Requester
    timeout_ns: int | None
    on_timeout: OnTimeout


class Round:
    """The calls of one moment.

    Args:
        moment: Which.
        attempt: For which attempt.
        listeners: Who is called, with the number of each call. Nobody joins later.
        timers: The governor's; every payload is called with the time at which it is taken.
        evict: What to do about a listener that is to be evicted.
    """

    __slots__ = (
        "_awaited",
        "_config",
        "_evict",
        "_journal",
        "_records",
        "_stuck_timer",
        "_timers",
        "attempt",
        "began_ns",
        "moment",
    )

    def __init__(
        self,
        moment: Moment,
        attempt: int,
        listeners: Iterable[tuple[int, Listener]],
        now_ns: int,
        *,
        config: Config,
        journal: Journal,
        timers: TimerQueue[Callable[[int], None]],
        evict: Callable[[Listener, str, int], None],
    ) -> None:
        self.moment = moment
        self.attempt = attempt
        self.began_ns = now_ns
        self._config = config
        self._journal = journal
        self._timers = timers
        self._evict = evict
        self._records: dict[int, CallRecord] = {}
        self._awaited: dict[int, tuple[Listener, list[TimerEntry]]] = {}  # by number of the call
        self._stuck_timer: TimerEntry | None = None
        self._begin(list(listeners))

    def _begin(self, listeners: list[tuple[int, Listener]]) -> None:
        now_ns = self.began_ns
        self._journal.tell(now_ns, f"{self._kind}-calls-began", subject=self.attempt)
        for call_id, listener in listeners:
            timers = [
                self._timers.add(
                    now_ns + self._config.slow_listener_ns, partial(self._slow, call_id)
                )
            ]
            if listener.timeout_ns is not None:
                late_ns = now_ns + listener.timeout_ns
                timers.append(self._timers.add(late_ns, partial(self._late, call_id)))
            self._awaited[call_id] = (listener, timers)
            self._records[call_id] = CallRecord(
                listener.listener_id, listener.name, self.moment, now_ns
            )
            self._journal.want(Call(listener.listener_id, call_id, self.moment))
        if listeners:
            self._stuck_timer = self._timers.add(now_ns + self._config.stuck_ns, self._stuck)

    @property
    def _kind(self) -> str:
        return "suspend" if self.moment is Moment.BEFORE_SUSPEND else "resume"

    @property
    def over(self) -> bool:
        """Whether nobody is awaited any more."""
        return not self._awaited

    @property
    def awaited(self) -> list[Listener]:
        """Who has not answered, in the order in which they were called."""
        return [listener for listener, _ in self._awaited.values()]

    @property
    def records(self) -> tuple[CallRecord, ...]:
        """Every call, in the order in which they were made."""
        return tuple(self._records.values())

    @property
    def aborts(self) -> list[CallRecord]:
        """The calls whose listeners are out of time and chose to abort."""
        return [record for record in self._records.values() if record.ending is Ending.ABORT]

    def answered(self, listener_id: int, call_id: int, now_ns: int) -> Listener | None:
        """An answer, and whose; one that nobody waits for (any more) changes nothing: None."""
        awaited = self._awaited.get(call_id)
        if awaited is None or awaited[0].listener_id != listener_id:
            return None
        self._end(call_id, Ending.ANSWERED, now_ns)
        return awaited[0]

    def gone(self, listener_id: int, now_ns: int) -> None:
        """The listener is gone; what it owes counts as answered."""
        for call_id, (listener, _) in list(self._awaited.items()):
            if listener.listener_id == listener_id:
                self._end(call_id, Ending.GONE, now_ns)

    def leave(self, now_ns: int) -> None:
        """Wait for nobody any more."""
        for call_id in list(self._awaited):
            self._end(call_id, Ending.LEFT, now_ns)

    def close(self, now_ns: int) -> None:
        """Say that it is over."""
        self._journal.tell(now_ns, f"{self._kind}-calls-ended", subject=self.attempt)

    def _end(self, call_id: int, ending: Ending, now_ns: int) -> None:
        _, timers = self._awaited.pop(call_id)
        for timer in timers:
            self._timers.cancel(timer)
        if self.over and self._stuck_timer is not None:
            self._timers.cancel(self._stuck_timer)
        self._records[call_id] = replace(self._records[call_id], ended_ns=now_ns, ending=ending)

    def _late(self, call_id: int, now_ns: int) -> None:
        listener, _ = self._awaited[call_id]  # the timer is cancelled when the call ends
        waited = f"no answer {_WORDS[self.moment]} in {seconds(now_ns - self.began_ns)}"
        ending = _ENDINGS[listener.on_timeout]
        if ending is Ending.ABORT and self.moment is Moment.AFTER_RESUME:
            ending = Ending.GO_ON  # the resume has happened: there is nothing to abort
        self._end(call_id, ending, now_ns)
        self._journal.tell(
            now_ns,
            "listener-late",
            listener.name,
            listener.listener_id,
            f"{waited}: {ending.value}",
        )
        if ending is Ending.EVICT:
            self._evict(listener, waited, now_ns)

    def _slow(self, call_id: int, now_ns: int) -> None:
        listener, timers = self._awaited[call_id]
        timers.append(
            self._timers.add(now_ns + self._config.slow_listener_ns, partial(self._slow, call_id))
        )
        self._journal.report(
            now_ns,
            "slow-listener",
            (listener.name,),
            f"listener {listener.name} has not answered {_WORDS[self.moment]} for "
            f"{seconds(now_ns - self.began_ns)}",
        )

    def _stuck(self, now_ns: int) -> None:
        self._stuck_timer = self._timers.add(now_ns + self._config.stuck_ns, self._stuck)
        names = tuple(listener.name for listener in self.awaited)
        self._journal.report(
            now_ns,
            "stuck",
            names,
            f"the calls {_WORDS[self.moment]} go on for {seconds(now_ns - self.began_ns)}, "
            f"waiting for {', '.join(names)}",
        )
