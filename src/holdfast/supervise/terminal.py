"""The terminal, lent to COMMAND: its group reads the keys, and Ctrl-C and Ctrl-Z are for it.

It is lent at once if standard input is the terminal and nobody but us is in our group. Otherwise
others of a pipeline or a script may need it: then it is lent when COMMAND was stopped because it
wanted it (SIGTTIN, SIGTTOU); until then Ctrl-C and Ctrl-Z come to us, who pass them on.

Source: termios(3) and tcsetpgrp(3) on foreground groups, credentials(7) on sessions.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from holdfast.closing import Closing
from holdfast.supervise.family import is_alone

__all__ = ["WANTS_TERMINAL", "Terminal"]

WANTS_TERMINAL = frozenset({signal.SIGTTIN, signal.SIGTTOU})


class Terminal(Closing):
    """The terminal of our session; if there is none, all of this does nothing.

    Attributes:
        lent: Whether it was lent at some time.
    """

    def __init__(self) -> None:
        self.lent = False
        self._fd = -1
        with suppress(OSError):  # there is none
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)

    @property
    def exists(self) -> bool:
        """Whether our session has one."""
        return self._fd >= 0

    def lend_if_alone(self, group: int) -> None:
        """Lend it to that group unless somebody else may need it."""
        if os.isatty(0) and is_alone():
            self.lend(group)

    def lend(self, group: int) -> bool:
        """Make that group the foreground group; False if we are not it, and cannot lend."""
        if self._foreground() != os.getpgrp():
            return False
        self._set(group)
        self.lent = True
        return True

    def take_back(self, group: int) -> None:
        """Make us the foreground group, if that group is it now."""
        if self._foreground() == group:
            self._set(os.getpgrp())

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _foreground(self) -> int | None:
        if self._fd < 0:
            return None
        try:
            return os.tcgetpgrp(self._fd)
        except OSError:
            return None  # it hung up

    def _set(self, group: int) -> None:
        # Who is in the background is stopped for this by SIGTTOU, unless he blocks it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            with suppress(OSError):
                os.tcsetpgrp(self._fd, group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
