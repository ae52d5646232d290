"""The seam between the engine and the world: three calls, and one more for those that need time.

The engine never reads a clock, opens a socket or waits. What it wants done it says to a `Runtime`,
in the order in which things happen, within the call that causes it. `AccumulatingRuntime` keeps
what was said until somebody asks; a driver may as well act at once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, runtime_checkable

from holdfast.errors import InvalidArgument
from holdfast.membership.identity import T

if TYPE_CHECKING:
    from holdfast.membership.notifications import Notification
    from holdfast.membership.timers import Timer

__all__ = ["AccumulatingRuntime", "Runtime", "TimedRuntime"]


class Runtime(Protocol[T]):
    """What an engine says to whoever drives it."""

    def notify(self, notification: Notification[T], /) -> None:
        """Something changed that the application may want to know; it may be dropped."""
        ...

    def send_to(self, member: T, data: bytes, /) -> None:
        """Send one datagram to the address of `member`; it may be lost on the way."""
        ...

    def submit_after(self, timer: Timer[T], delay_ns: int, /) -> None:
        """Hand `timer` to ``handle_timer`` once `delay_ns` nanoseconds have passed."""
        ...


@runtime_checkable
class TimedRuntime(Runtime[T], Protocol[T]):
    """A runtime that also knows the time, which some repairs need."""

    def now_ns(self) -> int:
        """Nanoseconds of a clock that never goes back, the time asleep included."""
        ...


class AccumulatingRuntime(Generic[T]):
    """Keeps what the engine says in three queues, for a driver that empties them.

    Args:
        now_ns: What its clock shows, until `set_now_ns`.
    """

    __slots__ = ("_notifications", "_now_ns", "_sends", "_timers")

    def __init__(self, now_ns: int = 0) -> None:
        self._sends: deque[tuple[T, bytes]] = deque()
        self._timers: deque[tuple[int, Timer[T]]] = deque()
        self._notifications: deque[Notification[T]] = deque()
        self._now_ns = now_ns

    def notify(self, notification: Notification[T], /) -> None:
        """Keep it for `to_notify`."""
        self._notifications.append(notification)

    def send_to(self, member: T, data: bytes, /) -> None:
        """Keep it for `to_send`."""
        self._sends.append((member, data))

    def submit_after(self, timer: Timer[T], delay_ns: int, /) -> None:
        """Keep it for `to_schedule`."""
        self._timers.append((delay_ns, timer))

    def now_ns(self) -> int:
        """What the driver has set last."""
        return self._now_ns

    def set_now_ns(self, now_ns: int) -> None:
        """Set the clock.

        Raises:
            InvalidArgument: It would go back.
        """
        if now_ns < self._now_ns:
            raise InvalidArgument(
                f"the clock of a runtime cannot go back from {self._now_ns} to {now_ns} ns"
            )
        self._now_ns = now_ns

    def to_send(self) -> tuple[T, bytes] | None:
        """The oldest datagram that is not sent yet, and to whom; None: there is none."""
        return self._sends.popleft() if self._sends else None

    def to_schedule(self) -> tuple[int, Timer[T]] | None:
        """The oldest timer that is not running yet, after its delay in ns; None: there is none."""
        return self._timers.popleft() if self._timers else None

    def to_notify(self) -> Notification[T] | None:
        """The oldest notification that nobody has seen; None: there is none."""
        return self._notifications.popleft() if self._notifications else None

    def backlog(self) -> int:
        """How many of all three are left."""
        return len(self._sends) + len(self._timers) + len(self._notifications)
