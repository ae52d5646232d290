"""How far a run is, on standard error; no thread, which would disturb what is measured."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]


class Progress:
    """Counts steps; on a terminal in one line that is written over."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self, name: str) -> None:
        """A step begins."""
        self._done += 1
        self.say(f"{self._done}/{self._steps} {name}")

    def say(self, text: str) -> None:
        """Say what is going on."""
        elapsed_s = time.monotonic() - self._began
        line = f"{elapsed_s:5.0f} s  {text}"
        sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def done(self) -> None:
        """The last step has ended."""
        self.say("done\n" if self._terminal else "done")
