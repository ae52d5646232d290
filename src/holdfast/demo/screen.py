"""What is shown: the play while it goes on, and the promises at the end.

Talk goes to standard error: a live picture on a terminal, else one line a second, and one for each
event that is told aloud. The table at the end, or the JSON document, is the result, and goes to
standard output.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import JustifyMethod

    from holdfast.demo.acts.act import Line
    from holdfast.demo.promise import Promise
    from holdfast.demo.stage import Event, Stage

__all__ = ["Screen", "print_promises"]

PICTURE_S = 0.2
LINE_S = 1.0
EVENTS_SHOWN = (2, 6)  # at least, and at most, if the terminal is high enough
ALOUD_SHOWN = 3  # of these, as long as there are so many, are events that were told aloud
PIDS_FROM = 100  # columns; a narrower terminal has no room for the processes' numbers
PIPE_WIDTH = 118  # of the table where there is no terminal to ask


class Screen:
    """Shows the play on standard error. As a context manager it leaves the terminal as it was."""

    def __init__(self, stage: Stage, lines: Callable[[], Sequence[Line]]) -> None:
        self._stage = stage
        self._lines = lines
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._every_s = PICTURE_S if self._live else LINE_S
        self._due = 0.0
        self._before: dict[str, tuple[float, int]] = {}
        self._events_told = self._events_counted = 0
        self._over = False

    def open(self) -> None:
        """Begin to show."""
        self._due = time.monotonic() + self._every_s
        for line in self._lines():
            self._before[line.who] = (time.monotonic(), line.count)
        if self._live:
            self._live.start()

    def say(self, text: str) -> None:
        """A line of talk."""
        print(text, file=sys.stderr, flush=True)

    def update(self) -> None:
        """Show what is going on, if it is time again."""
        if time.monotonic() < self._due:
            return
        self._due += self._every_s
        lines = [(line, self._rate(line)) for line in self._lines()]
        if self._live:
            self._live.update(self._picture(lines), refresh=True)
        else:
            self._tell()
            if not self._over:
                self.say(self._sentence(lines))

    def rest(self) -> None:
        """The time is over; whoever has begun something ends it now."""
        self._over = True
        self._due = time.monotonic()
        self.update()

    def _rate(self, line: Line) -> int:
        at, count = self._before[line.who]
        now = time.monotonic()
        if now - at >= LINE_S:
            self._before[line.who] = (now, line.count)
        return round((line.count - count) / max(now - at, 1e-9))

    def _sentence(self, lines: Sequence[tuple[Line, int]]) -> str:
        sums: Counter[str] = Counter()
        for line, rate in lines:
            sums[line.group or line.who] += rate
        rates = "  ".join(f"{who} {rate:,}/s" for who, rate in sums.items())
        news = len(self._stage.events) - self._events_counted
        self._events_counted += news
        last = f"  ({news} events, last: {self._stage.events[-1].what})" if news else ""
        return f"{self._stage.elapsed_s:4.0f} s  {rates}{last}"

    def _tell(self) -> None:
        for event in self._stage.events[self._events_told :]:
            if event.aloud:
                self.say(f"{event.at_s:7.2f} s  {event.what}")
        self._events_told = len(self._stage.events)

    def _picture(self, lines: Sequence[tuple[Line, int]]) -> Group:
        columns = {
            "who": [line.who for line, _ in lines],
            "pid": [_pids(line) for line, _ in lines],
            "does": [line.doing for line, _ in lines],
            "a second": [f"{rate:,}" for _, rate in lines],
            "so far": [f"{line.count:,}" for line, _ in lines],
            "": [line.note for line, _ in lines],
        }
        if self._console.width < PIDS_FROM:
            del columns["pid"]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for head, cells in columns.items():
            right = head in {"a second", "so far"}
            # The notes give way to the rest where all have not room.
            width = max(map(len, [head, *cells])) if head else None
            justify: JustifyMethod = "right" if right else "left"
            table.add_column(head, justify=justify, no_wrap=True, min_width=width)
        for row in zip(*columns.values(), strict=True):
            table.add_row(*row)
        elapsed_s = min(self._stage.elapsed_s, self._stage.seconds)
        doing = "; what was begun is ended" if self._over else ""
        title = Text(f"{elapsed_s:.0f} of {self._stage.seconds:g} s{doing}", style="bold")
        least, most = EVENTS_SHOWN
        room = self._console.height - len(lines) - 4  # for title, heading, a gap and the cursor
        told = [
            Text(f"{event.at_s:7.2f} s  {event.what}", "" if event.aloud else "dim", no_wrap=True)
            for event in _latest(self._stage.events, min(most, max(least, room)))
        ]
        return Group(title, table, Text(""), *told)

    def close(self) -> None:
        """Give the terminal back, or tell the rest."""
        if self._live:
            self._live.stop()
        else:
            self._tell()


def _pids(line: Line) -> str:
    pids = [str(player.pid) for player in line.lives]
    return " ".join(pids[:2] + [f"+{len(pids) - 2}"] * (len(pids) > 2))


def _latest(events: Sequence[Event], count: int) -> list[Event]:
    """The latest events, with some that were told aloud among them, in their order."""
    aloud = [at for at, event in enumerate(events) if event.aloud][-min(count, ALOUD_SHOWN) :]
    others = [at for at in range(len(events)) if at not in aloud]
    kept = [*aloud, *others[max(0, len(others) - (count - len(aloud))) :]]
    return [events[at] for at in sorted(kept)]


def print_promises(promises: Sequence[Promise]) -> None:
    """The table at the end, on standard output."""
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else PIPE_WIDTH)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("promised: no", "seen", "", "evidence"):
        table.add_column(head, overflow="fold")
    for promise in promises:
        verdict = Text("kept", "green") if promise.kept else Text("BROKEN", "bold red")
        seen = f"{promise.seen:,} of {promise.of:,} {promise.unit}"
        table.add_row(promise.name, seen, verdict, promise.evidence)
    if terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))
