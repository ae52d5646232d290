"""Who wants the machine to go down, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import InvalidArgument, OutOfSpace
from holdfast.wake.model import Aborted, Answer, Slept

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.timers import TimerEntry, TimerQueue
    from holdfast.wake.governor.journal import Journal
    from holdfast.wake.model import Config

__all__ = ["Requests"]


@dataclass(slots=True)
class _Request:
    deadline_ns: int | None
    timer: TimerEntry | None
    entered: bool = False  # the back-end was entered for it


class Requests:
    """Every request that is not answered.

    Args:
        overdue: Called when a deadline came, with the number and the time.
    """

    __slots__ = ("_all", "_config", "_journal", "_overdue", "_timers")

    def __init__(
        self,
        config: Config,
        journal: Journal,
        timers: TimerQueue[Callable[[int], None]],
        overdue: Callable[[int], None],
    ) -> None:
        self._config = config
        self._journal = journal
        self._timers = timers
        self._overdue = overdue
        self._all: dict[int, _Request] = {}

    def __len__(self) -> int:
        return len(self._all)

    def check(self, request_id: int) -> None:
        """Whether there is room for that one.

        Raises:
            InvalidArgument: It is there already.
            OutOfSpace: There are `requests_max`.
        """
        if request_id in self._all:
            raise InvalidArgument("a request of that number exists", on=str(request_id))
        if len(self._all) >= self._config.requests_max:
            raise OutOfSpace(f"{len(self._all)} requests to suspend wait already")

    def add(self, request_id: int, deadline_ns: int | None, now_ns: int) -> None:
        """One more."""
        timer = None if deadline_ns is None else self._timers.add(deadline_ns, self._overdue)
        self._all[request_id] = _Request(deadline_ns, timer)
        self._journal.tell(now_ns, "request", subject=request_id)

    def withdraw(self, request_id: int, now_ns: int) -> None:
        """Nobody waits for it any more."""
        request = self._all.pop(request_id, None)
        if request is not None:
            self._cancel(request)
            self._journal.tell(now_ns, "request-withdrawn", subject=request_id)

    def enter(self) -> None:
        """The back-end is entered for all of them: for now their deadlines mean nothing."""
        for request in self._all.values():
            request.entered = True

    def failed(self) -> None:
        """It came back without having gone down: they wait on, and deadlines hold again."""
        for request in self._all.values():
            request.entered = False

    def slept(self, outcome: Slept, now_ns: int) -> None:
        """Answer those for which the back-end was entered."""
        for request_id in [each for each, request in self._all.items() if request.entered]:
            self._answer(request_id, outcome, now_ns)

    def expire(self, outcome: Aborted, until_ns: int, now_ns: int) -> None:
        """Answer those whose deadline came until then."""
        for request_id, request in list(self._all.items()):
            late = request.deadline_ns is not None and request.deadline_ns <= until_ns
            if late and not request.entered:
                self._answer(request_id, outcome, now_ns)

    def refuse(self, outcome: Aborted, now_ns: int) -> None:
        """Answer all."""
        for request_id in list(self._all):
            self._answer(request_id, outcome, now_ns)

    def _answer(self, request_id: int, outcome: Slept | Aborted, now_ns: int) -> None:
        self._cancel(self._all.pop(request_id))
        detail = "slept" if isinstance(outcome, Slept) else outcome.sentence
        self._journal.tell(now_ns, "request-answered", subject=request_id, detail=detail)
        self._journal.want(Answer(request_id, outcome))

    def _cancel(self, request: _Request) -> None:
        if request.timer is not None:
            self._timers.cancel(request.timer)
            request.timer = None
