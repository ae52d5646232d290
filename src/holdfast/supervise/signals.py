"""The signals that a supervisor gets: none is lost, and none interrupts anything.

They are written into a pipe (signal.set_wakeup_fd), from which the supervisor's one loop reads
them. A handler that raises would do so anywhere: also between the instant in which a lease was
claimed and the one in which we know of it.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from holdfast.closing import Closing

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["ENDING", "Signals"]

ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
OTHERS = frozenset(
    {
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
        signal.SIGCONT,
        signal.SIGTSTP,
        signal.SIGCHLD,
    }
)


class Signals(Closing):
    """Catches the signals that ask us to end; from `catch_all` to `let_others`, all for COMMAND.

    What was ignored stays ignored, as nohup(1) wants it. While there is no COMMAND, a second signal
    ends the process at once: something hangs then, and its user knows better. The main thread must
    make it, and a process has one at a time.

    Attributes:
        first: The first signal that asked us to end, or None.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self._patient = True
        self._before: dict[int, Any] = {}
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._old_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._catch(ENDING)

    def catch_all(self) -> None:
        """Catch those too that COMMAND shall have."""
        self._patient = False
        self._catch(OTHERS)

    def let_others(self) -> None:
        """There is no COMMAND any more: what remains to be done is ours."""
        for number in OTHERS & self._before.keys():
            signal.signal(number, self._before.pop(number))
        self.first = None
        self._patient = True

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to `take`."""
        return self._read

    def take(self) -> list[int]:
        """The numbers of the signals that have come, in their order."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Give the signals back to whoever had them before."""
        if self._read < 0:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        os.close(self._read)
        os.close(self._write)
        self._read = self._write = -1

    def _catch(self, numbers: frozenset[signal.Signals]) -> None:
        for number in sorted(numbers):
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGCHLD:
                self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number not in ENDING:
            return
        if self.first is None:
            self.first = number
        elif self._patient:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
