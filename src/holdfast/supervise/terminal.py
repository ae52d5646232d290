"""The terminal, lent to COMMAND: its group reads the keys, and Ctrl-C and Ctrl-Z are for it.

Source: termios(3) and tcsetpgrp(3) on foreground groups, credentials(7) on sessions.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

__all__ = ["Terminal"]


class Terminal:
    """Standard input, if that is a terminal and ours to lend; if not, all of it does nothing.

    Attributes:
        lent: Whether it was lent at some time: then a pause of COMMAND is a pause of ours.
    """

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._is_one = os.isatty(fd)
        self.lent = False

    def lend(self, group: int) -> None:
        """Make that group the foreground group, if we are it now."""
        if self._foreground() == os.getpgrp():
            self._set(group)
            self.lent = True

    def take_back(self, group: int) -> None:
        """Make us the foreground group, if that group is it now."""
        if self._foreground() == group:
            self._set(os.getpgrp())

    def _foreground(self) -> int | None:
        if not self._is_one:
            return None
        try:
            return os.tcgetpgrp(self._fd)
        except OSError:
            return None  # it is not our session's, or it hung up

    def _set(self, group: int) -> None:
        # Who is in the background is stopped for this by SIGTTOU, unless he blocks it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            with suppress(OSError):
                os.tcsetpgrp(self._fd, group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
