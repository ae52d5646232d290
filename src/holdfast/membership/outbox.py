"""What a session keeps between two calls: its time, its timers, and what is to be done for it.

It is the runtime of the session's engine. The session's own timers stand in the same queue, after
those of the engine that are due at the same instant.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.timers import TimerEntry, TimerQueue

if TYPE_CHECKING:
    from holdfast.membership.changes import Change
    from holdfast.membership.identity import Node
    from holdfast.membership.notifications import Notification
    from holdfast.membership.timers import Timer

__all__ = ["Effects", "Outbox", "Own"]

# Engine's timers have priorities from 0 on; ours come after all of them.
_PRIORITY = 64


class Own(enum.Enum):
    """Timers of the session's own."""

    CALL = "call"
    ASK = "ask"
    LINGER = "linger"


@dataclass(slots=True)
class Effects:
    """What is to be done after a call, in order; `Session.take` hands it out.

    Attributes:
        sends: Datagrams, each with its address.
        changes: What to tell the application.
        resolve: Seeds, ``host:port``, to look up; hand the answer to `Session.resolved`.
    """

    sends: list[tuple[tuple[str, int], bytes]]
    changes: list[Change]
    resolve: list[str]


class Outbox:
    """A `TimedRuntime` that keeps everything until somebody asks.

    Attributes:
        notifications: What the engine has said.
        effects: What is to be done.
    """

    __slots__ = ("_now_ns", "_own", "_timers", "effects", "notifications")

    def __init__(self) -> None:
        self.notifications: deque[Notification[Node]] = deque()
        self.effects = Effects([], [], [])
        self._timers: TimerQueue[Timer[Node] | Own] = TimerQueue()
        self._own: dict[Own, TimerEntry] = {}
        self._now_ns = 0

    # -- the engine's runtime ---------------------------------------------------------------------

    def notify(self, notification: Notification[Node], /) -> None:
        """Keep it until the engine is done."""
        self.notifications.append(notification)

    def send_to(self, member: Node, data: bytes, /) -> None:
        """Send it after the call."""
        self.effects.sends.append((member.addr, data))

    def submit_after(self, timer: Timer[Node], delay_ns: int, /) -> None:
        """Start a timer of the engine's."""
        self._timers.add(self._now_ns + delay_ns, timer, priority=timer.priority)

    def now_ns(self) -> int:
        """The time that the driver has said last."""
        return self._now_ns

    # -- for the session --------------------------------------------------------------------------

    def at(self, now_ns: int) -> None:
        """It is so late; time does not go back."""
        self._now_ns = max(self._now_ns, now_ns)

    def schedule(self, timer: Own, delay_ns: int) -> None:
        """Start a timer of the session's own, in the place of the last one of its kind."""
        entry = self._own.pop(timer, None)
        if entry is not None:
            self._timers.cancel(entry)
        self._own[timer] = self._timers.add(self._now_ns + delay_ns, timer, priority=_PRIORITY)

    def is_scheduled(self, timer: Own) -> bool:
        """Whether that timer runs."""
        return timer in self._own

    def pop_due(self) -> Timer[Node] | Own | None:
        """The next timer that is due; None: there is none."""
        due = self._timers.pop_due(self._now_ns)
        if due is None:
            return None
        timer = due[1]
        if isinstance(timer, Own):
            self._own.pop(timer, None)
        return timer

    def next_due(self) -> int | None:
        """When the next timer is due; None: there is none."""
        return self._timers.next_due()

    def take(self) -> Effects:
        """What is to be done since the last time."""
        effects, self.effects = self.effects, Effects([], [], [])
        return effects
