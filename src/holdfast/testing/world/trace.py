"""The trace: one line for each event, and a hash over all of them.

Two runs with the same hash did the same: that is the proof of determinism, and what a replay is
compared with. Only the last lines are kept, for the report; memory does not grow with the run.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Trace", "label"]


def label(thing: object) -> str:
    """A name for the trace that is the same in every process: never a repr, which has addresses."""
    if isinstance(thing, str):
        return thing
    if isinstance(thing, int | float | None):
        return str(thing)
    name = getattr(thing, "__qualname__", None) or type(thing).__qualname__
    return str(name)


class Trace:
    """Lines in the order of events.

    Args:
        now_ns: Tells the virtual time.
        keep: How many lines `lines` shows at most.
        sink: Is called with every line, for those who want to read all of it.

    Attributes:
        add: Appends a line that is complete. `say` is for everybody else.

    A line is ``TIME WHO WHAT``: nanoseconds of virtual time, a node (``-``: nobody's), and what
    happened to it.
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        *,
        keep: int = 200,
        sink: Callable[[str], None] | None = None,
    ) -> None:
        self._now_ns = now_ns
        self._sink = sink
        self._hash = hashlib.sha256()
        self._kept: deque[str] = deque(maxlen=keep)
        self._fresh: list[str] = []  # hashed in batches: a call for each line would cost more
        self._hashed = 0
        # The list's own method, because it is called for every event.
        self.add: Callable[[str], None] = self._fresh.append

    def say(self, text: object, *, who: str = "-") -> None:
        """Append an event of the scenario's own. The text must be the same in every process."""
        self.add(f"{self._now_ns()} {who} says {text}".replace("\n", "\\n"))

    @property
    def count(self) -> int:
        """How many lines there were."""
        return self._hashed + len(self._fresh)

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines."""
        self.flush()
        return tuple(self._kept)

    def hash(self) -> str:
        """64 hexadecimal digits for all lines so far. The same seed gives the same digits."""
        self.flush()
        return self._hash.hexdigest()

    def flush(self) -> None:
        """Hash what is fresh, and let go of it. The scheduler calls this often."""
        fresh = self._fresh
        if not fresh:
            return
        self._hash.update(("\n".join(fresh) + "\n").encode("utf-8", "backslashreplace"))
        self._kept.extend(fresh)
        self._hashed += len(fresh)
        if self._sink is not None:
            for line in fresh:
                self._sink(line)
        fresh.clear()
