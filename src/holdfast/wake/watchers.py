"""Who watches what happens at the governor: first what is remembered, then each new event."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.errors import OutOfSpace
from holdfast.wake import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.ipc import Request
    from holdfast.wake.model import Event

__all__ = ["Watchers"]

WATCHERS_MAX: Final = 256


class Watchers:
    """Their requests, which are answered again and again.

    What is remembered is told no faster than it is read: together it can be more than may be queued
    for one connection. Whoever has heard all of it gets each new event at once; if it then stops to
    read, its connection ends.

    Args:
        remembered: What happened last, oldest first, with numbers that follow each other.
    """

    def __init__(self, remembered: Callable[[], Sequence[Event]]) -> None:
        self._remembered = remembered
        self._up_to_date: set[Request] = set()
        self._behind: dict[Request, int] = {}  # and the number of the event that is next

    def __len__(self) -> int:
        return len(self._up_to_date) + len(self._behind)

    def add(self, request: Request, since: int | None) -> None:
        """Tell what happened from that number on, as far as it is remembered, or only what is new.

        Raises:
            OutOfSpace: There are as many as there may be.
        """
        if len(self) >= WATCHERS_MAX:
            raise OutOfSpace(f"there are {len(self)} watchers already")
        request.on_withdrawn = partial(self._leave, request)
        if since is None:
            self._up_to_date.add(request)
        else:
            self._behind[request] = since
            self._catch_up(request)

    def tell(self, event: Event) -> None:
        """Something happened."""
        if self._up_to_date:
            told = _on_the_wire(event)
            for request in list(self._up_to_date):
                request.answer(told, continues=True)

    def _leave(self, request: Request) -> None:
        self._up_to_date.discard(request)
        self._behind.pop(request, None)

    def _catch_up(self, request: Request) -> None:
        if request not in self._behind:
            return  # it has left
        events = self._remembered()
        since = self._behind[request]
        begin = max(0, since - events[0].number) if events else 0
        for event in events[begin:]:
            if request.connection.backlogged:
                break  # the rest when this was read; so others have their turn, too
            request.answer(_on_the_wire(event), continues=True)
            since = event.number + 1
        if events and since <= events[-1].number:
            self._behind[request] = since
            request.connection.when_sent(partial(self._catch_up, request))
        else:
            del self._behind[request]
            self._up_to_date.add(request)


def _on_the_wire(event: Event) -> wire.WakeEvent:
    return wire.WakeEvent(
        event.number, event.at_ns, event.kind, event.name, event.subject, event.detail
    )
