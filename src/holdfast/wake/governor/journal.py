"""What the governor says: effects for its driver, and the ring of what happened."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from holdfast.wake.model import Event, Report

if TYPE_CHECKING:
    from holdfast.wake.model import Effect

__all__ = ["DETAIL_MAX", "Journal"]

# Characters. Names are bounded and so are events, but an event may be about many names.
DETAIL_MAX: Final = 400


class Journal:
    """Collects effects until they are taken, and remembers the last events.

    Args:
        events_max: The ring's length; the oldest event makes room.
    """

    __slots__ = ("_effects", "_number", "events")

    def __init__(self, events_max: int) -> None:
        self.events: deque[Event] = deque(maxlen=events_max)
        self._effects: list[Effect] = []
        self._number = 0

    def want(self, effect: Effect) -> None:
        """Have that done by the driver."""
        self._effects.append(effect)

    def tell(
        self, now_ns: int, kind: str, name: str = "", subject: int = -1, detail: str = ""
    ) -> None:
        """Something happened. What is too long for the ring is cut."""
        if len(detail) > DETAIL_MAX:
            detail = detail[: DETAIL_MAX - 1] + "\N{HORIZONTAL ELLIPSIS}"
        event = Event(self._number, now_ns, kind, name, subject, detail)
        self._number += 1
        self.events.append(event)
        self._effects.append(event)

    def report(self, now_ns: int, signature: str, names: tuple[str, ...], sentence: str) -> None:
        """A watchdog speaks."""
        self.tell(now_ns, "report", signature, detail=sentence)
        self._effects.append(Report(signature, names, sentence))

    def take(self) -> list[Effect]:
        """Everything that was wanted since the last time, in order."""
        effects, self._effects = self._effects, []
        return effects
