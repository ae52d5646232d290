"""How a run of COMMAND ended, and the exit code that says so."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass

from holdfast.errors import NotFound, NotPermitted
from holdfast.supervise.table import Ending

__all__ = ["Outcome", "find_command"]

LOST, LIMIT, BROKE, NOT_EXECUTABLE, NOT_FOUND = 90, 124, 125, 126, 127


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of COMMAND.

    Attributes:
        ending: Why it ended.
        started: Whether COMMAND was started at all.
        lost: Whether the lease was lost before the last of its processes had ended.
        code: COMMAND's own exit code, or None.
        signal: The signal that ended COMMAND, or the one that came before it was started; or None.
        ran_s: How long it ran, in seconds of CLOCK_BOOTTIME.
        error_number: Why it could not be executed (errno), or None.
        survivors: Processes of COMMAND that could not be killed.
    """

    ending: Ending
    started: bool
    lost: bool
    code: int | None
    signal: int | None
    ran_s: float
    error_number: int | None = None
    survivors: tuple[int, ...] = ()

    @property
    def exit_code(self) -> int:
        """The exit code of who ran it: COMMAND's, or one of timeout(1), env(1) and sh(1)."""
        if self.lost:
            return LOST
        if self.error_number is not None:
            missing = self.error_number in {errno.ENOENT, errno.ENOTDIR}
            return NOT_FOUND if missing else NOT_EXECUTABLE
        match self.ending:
            case Ending.LIMIT:
                return LIMIT
            case Ending.BROKEN:
                return BROKE
        if self.signal is not None:
            return 128 + self.signal
        return BROKE if self.code is None else self.code


def find_command(name: str) -> str:
    """The path of the program, found as execvp(3) finds it.

    Raises:
        NotFound: There is none: exit code 127.
        NotPermitted: There is one, but it cannot be executed: exit code 126.
    """
    found = shutil.which(name)
    if found is not None:
        return found
    places = [""] if os.sep in name else os.environ.get("PATH", os.defpath).split(os.pathsep)
    if name and any(os.path.exists(os.path.join(place, name)) for place in places):
        raise NotPermitted(
            "the command cannot be executed", on=name, hint="is it a program, and executable?"
        )
    raise NotFound("there is no such command", on=name, hint="check its name, and PATH")
