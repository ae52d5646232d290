"""The steps that follow by themselves from what the governor is told."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from holdfast.timers import TimerQueue
from holdfast.wake.causes import clause
from holdfast.wake.governor.calls import Listener, Round
from holdfast.wake.governor.journal import Journal
from holdfast.wake.governor.leases import Leases
from holdfast.wake.governor.pipelines import Pipelines
from holdfast.wake.governor.requests import Requests
from holdfast.wake.governor.sleeps import Sleeps
from holdfast.wake.governor.table import TRANSITIONS, Turn
from holdfast.wake.governor.watchdogs import LongLeases, NoSuspend, SuspendLoop
from holdfast.wake.model import (
    Aborted,
    Attempt,
    Blocker,
    Cause,
    Config,
    Evict,
    GoDown,
    Moment,
    Phase,
    ReadyForShutdown,
    ReadyForSleep,
    Slept,
    Trigger,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.timers import TimerEntry
    from holdfast.wake.model import Effect, Failed

__all__ = ["MACHINE", "OWN", "SHUTS_DOWN", "Steps"]

# Whose return is awaited while the machine is down.
OWN: Final = "back-end"
MACHINE: Final = "machine"
SHUTS_DOWN: Final = Aborted("the machine shuts down")


class Steps:
    """The state of a governor, and what it does by itself once it was told something.

    Args:
        config: What can be set.
        now_ns: CLOCK_BOOTTIME.
    """

    def __init__(self, config: Config | None = None, *, now_ns: int) -> None:
        self.config = config or Config()
        self._phase = Phase.AWAKE
        self._timers: TimerQueue[Callable[[int], None]] = TimerQueue()
        self._journal = Journal(self.config.events_max)
        self._leases = Leases(self.config, self._journal)
        self._requests = Requests(self.config, self._journal, self._timers, self._overdue)
        self._sleeps = Sleeps(self.config, now_ns)
        self._long = LongLeases(self.config, self._journal, self._timers, self._leases)
        self._loop = SuspendLoop(self.config, self._journal)
        self._no_suspend = NoSuspend(self.config, self._journal, self._leases)
        self._pipelines = Pipelines(self._journal)
        self._listeners: dict[int, Listener] = {}
        self._told: dict[int, Listener] = {}  # who heard of the suspend and not of its end
        self._round: Round | None = None
        self._call_id = 0
        self._attempt: Attempt | None = None  # the one that goes on
        self._attempts: deque[Attempt] = deque(maxlen=self.config.attempts_max)
        self._number = 0  # of the last attempt
        self._asked = False  # all have answered, in this attempt
        self._down: set[str] = set()  # whose return is awaited while suspended
        self._machine = False  # it goes down of itself
        self._early = False  # it went and came back before we were ready
        self._shutdown = False
        self._shutdown_ready = False
        self._pause: TimerEntry | None = None
        self._wanted(now_ns)  # with `auto` something falls due before anybody says a word

    @property
    def _current(self) -> Attempt:
        assert self._attempt is not None
        return self._attempt

    def _turn(self, turn: Turn) -> None:
        following = TRANSITIONS.get((self._phase, turn))
        assert following is not None, f"{turn.value} while {self._phase.value}"
        self._phase = following

    def _settle(self, now_ns: int) -> list[Effect]:
        """Take every step that follows by itself, and return what is to be done."""
        self._grant(now_ns)
        while self._step(now_ns):
            self._grant(now_ns)
        return self._journal.take()

    def _step(self, now_ns: int) -> bool:
        """Take the next step; False if nothing moves before the next input."""
        if self._phase is Phase.AWAKE:
            if not self._wanted(now_ns):
                return False
            self._begin(now_ns)
        elif self._phase is Phase.SUSPENDING:
            return self._answers_in and self._decide(now_ns)
        elif self._phase is Phase.RESUMING:
            if not self._answers_in:
                return False
            self._finish(now_ns)
        else:
            if self._phase is Phase.STOPPING and not self._leases and not self._shutdown_ready:
                self._shutdown_ready = True
                self._journal.want(ReadyForShutdown())
            return False
        return True

    @property
    def _answers_in(self) -> bool:
        return self._round is not None and self._round.over

    def _wanted(self, now_ns: int) -> bool:
        """Whether to begin an attempt now."""
        if self._machine:
            return True
        if self._leases or not (self._requests or self.config.auto):
            return False
        not_before_ns = self._sleeps.not_before_ns(lingering=not self._requests)
        if now_ns >= not_before_ns:
            return True
        if self._pause is not None:
            self._timers.cancel(self._pause)
        self._pause = self._timers.add(not_before_ns, lambda _: None)
        return False

    def _begin(self, now_ns: int) -> None:
        if self._machine:
            trigger = Trigger.MACHINE
        else:
            trigger = Trigger.REQUEST if self._requests else Trigger.AUTO
        self._number += 1
        self._attempt = Attempt(self._number, trigger, now_ns)
        self._pipelines.begin()
        self._asked = False
        self._turn(Turn.BEGIN)
        # Who registers from now on is not called in this attempt, not even after it: those who
        # have not heard that it begins need not hear that it is over.
        self._told = dict(self._listeners)
        self._round = self._call(Moment.BEFORE_SUSPEND, now_ns)

    def _decide(self, now_ns: int) -> bool:
        """All have answered: go down, or do not. This is one step: nothing comes between."""
        self._end_round(now_ns)
        # Nobody's machine goes down after his deadline, however late the timer is. At the deadline
        # itself it may: a wait of 0 is one attempt that nothing and nobody delays.
        self._requests.expire(self._why_not(), now_ns - 1, now_ns)
        if self._early:
            self._forbid(self._current.blockers, now_ns)
            return True
        if self._machine:
            # It cannot be forbidden, only delayed.
            self._attempt = replace(self._current, leases=self._leases.oldest())
            if self._leases:
                return False
            self._enter(MACHINE, now_ns)
            return True
        blockers = self._blockers()
        if blockers:
            self._forbid(blockers, now_ns)
        else:
            self._enter(OWN, now_ns)
        return True

    def _blockers(self) -> tuple[Blocker, ...]:
        assert self._round is not None
        late = [
            Blocker(Cause.LISTENER, call.listener, call.listener_id) for call in self._round.aborts
        ]
        held = [
            Blocker(Cause.WAKE_LEASE, lease.name, lease.lease_id) for lease in self._leases.oldest()
        ]
        wanted = self._requests or self.config.auto
        return (*late, *held, *(() if wanted else (Blocker(Cause.WITHDRAWN),)))

    def _end_round(self, now_ns: int) -> None:
        """The calls are over; said once."""
        if self._round is None or self._asked:
            return
        self._round.close(now_ns)
        self._asked = True
        if self._attempt is not None:
            self._attempt = replace(
                self._attempt,
                calls=self._attempt.calls + self._round.records,
                pipelines=self._pipelines.of_attempt(),
            )

    def _begin_after_resume(self, now_ns: int) -> None:
        self._grant(now_ns)  # those who waited for the resume come first
        self._asked = False
        self._round = self._call(Moment.AFTER_RESUME, now_ns)

    def _forbid(self, blockers: tuple[Blocker, ...], now_ns: int) -> None:
        self._attempt = replace(self._current, blockers=blockers, leases=self._leases.oldest())
        if not self._early:
            self._sleeps.aborted(blockers)
        told = "; ".join(clause(each) for each in blockers)
        self._journal.tell(now_ns, "blocked", subject=self._number, detail=told)
        self._turn(Turn.FORBID)
        self._begin_after_resume(now_ns)

    def _enter(self, what: str, now_ns: int) -> None:
        self._pipelines.entered(now_ns)
        pipelines = self._pipelines.of_attempt()
        self._attempt = replace(self._current, entered_ns=now_ns, pipelines=pipelines)
        self._requests.enter()
        self._loop.entered()
        self._down = {what}
        self._turn(Turn.ENTER)
        self._journal.tell(now_ns, "entered", subject=self._number, detail=what)
        self._journal.want(GoDown(self._number) if what is OWN else ReadyForSleep(self._number))

    def _back(self, what: str, outcome: Slept | Failed, now_ns: int) -> None:
        """One of those whose return is awaited is back."""
        self._down.discard(what)
        attempt = self._current
        if attempt.outcome is None or isinstance(outcome, Slept):
            attempt = self._attempt = replace(attempt, outcome=outcome)
        if self._down:
            return
        assert attempt.outcome is not None
        assert attempt.entered_ns is not None
        self._slept(attempt.outcome, attempt.entered_ns, now_ns)
        if not isinstance(attempt.outcome, Slept):
            blocker = Blocker(Cause.BACKEND, detail=attempt.outcome.sentence)
            self._attempt = replace(attempt, blockers=(blocker,))
            self._requests.failed()
            self._overdue(now_ns)
        if self._shutdown:
            self._stop(now_ns)
            return
        self._turn(Turn.RETURN)
        self._begin_after_resume(now_ns)

    def _slept(self, outcome: Slept | Failed, entered_ns: int, now_ns: int) -> None:
        """Count it."""
        if isinstance(outcome, Slept):
            self._sleeps.slept(outcome, entered_ns, now_ns)
            self._no_suspend.suspended()
            self._journal.tell(
                now_ns, "slept", subject=self._number, detail=str(outcome.duration_ns)
            )
        else:
            self._sleeps.failed(outcome)
            self._journal.tell(now_ns, "failed", subject=self._number, detail=outcome.sentence)

    def _overrun(self, outcome: Slept | Failed) -> None:
        """The machine did not wait until we were ready."""
        assert self._round is not None
        awaited = [
            Blocker(Cause.OVERRUN, each.name, each.listener_id, "listener")
            for each in self._round.awaited
        ]
        held = [
            Blocker(Cause.OVERRUN, lease.name, lease.lease_id, "wake lease")
            for lease in self._leases.oldest()
        ]
        self._early = True
        self._attempt = replace(self._current, outcome=outcome, blockers=(*awaited, *held))
        if isinstance(outcome, Slept):
            self._requests.enter()

    def _finish(self, now_ns: int) -> None:
        """All know that it is over."""
        self._end_round(now_ns)
        self._turn(Turn.DONE)
        self._conclude(now_ns)
        self._told = {}
        self._sleeps.pause(now_ns)

    def _conclude(self, now_ns: int) -> None:
        """The attempt is over: remember it, and answer those for whom it was."""
        attempt = self._attempt
        self._round = None
        self._attempt = None
        self._early = False
        if attempt is None:
            return  # of a shutdown that was cancelled
        self._attempts.append(replace(attempt, ended_ns=now_ns))
        if attempt.outcome is None:
            self._loop.aborted(attempt.blockers, now_ns)
        elif isinstance(attempt.outcome, Slept):
            self._requests.slept(attempt.outcome, now_ns)

    def _stop(self, now_ns: int) -> None:
        """The machine shuts down: nobody is waited for, and nothing suspends."""
        if self._phase is Phase.RESUMING:
            self._told = {}  # they were called; if nothing comes of the shutdown, that was it
        self._turn(Turn.SHUTDOWN)
        if self._round is not None:
            self._round.leave(now_ns)
            self._end_round(now_ns)
        if self._attempt is not None and self._attempt.outcome is None:
            blockers = (*self._attempt.blockers, Blocker(Cause.SHUTDOWN))
            self._attempt = replace(self._attempt, blockers=blockers)
        self._conclude(now_ns)
        self._requests.refuse(SHUTS_DOWN, now_ns)

    # ---- grants, calls, deadlines --------------------------------------------------------------

    def _grant(self, now_ns: int) -> None:
        if self._phase is Phase.SUSPENDED:
            return
        awake = self._phase in (Phase.AWAKE, Phase.STOPPING)
        for lease in self._leases.grant(now_ns, activity=awake):
            self._long.granted(lease, now_ns)
            self._no_suspend.granted(lease, now_ns)

    def _evict(self, listener: Listener, reason: str, now_ns: int) -> None:
        del self._listeners[listener.listener_id]
        self._pipelines.gone(listener.listener_id)
        self._journal.tell(now_ns, "listener-evicted", listener.name, listener.listener_id, reason)
        self._journal.want(Evict(listener.listener_id, reason))

    def _call(self, moment: Moment, now_ns: int) -> Round:
        """Call those who were told of this suspend, and are still there."""
        listeners = [each for each in self._told if each in self._listeners]
        first = self._call_id
        self._call_id += len(listeners)
        return Round(
            moment,
            self._number,
            [(first + at, self._listeners[each]) for at, each in enumerate(listeners)],
            now_ns,
            config=self.config,
            journal=self._journal,
            timers=self._timers,
            evict=self._evict,
        )

    def _overdue(self, now_ns: int) -> None:
        self._requests.expire(self._why_not(), now_ns, now_ns)

    def _why_not(self) -> Aborted:
        """What to tell somebody whose deadline has come."""
        attempt = self._attempt or (self._attempts[-1] if self._attempts else None)
        names = self._leases.names()
        if names:
            reason = f"wake leases are held: {', '.join(names)}"
        elif self._round is not None and not self._round.over:
            awaited = ", ".join(listener.name for listener in self._round.awaited)
            reason = f"listeners have not answered: {awaited}"
        elif attempt is not None and attempt.blockers:
            reason = "; ".join(clause(each) for each in attempt.blockers)
            names = tuple(lease.name for lease in attempt.leases)
        else:
            reason = "an attempt goes on"
        return Aborted(f"the deadline came before the machine went down; {reason}", names)
