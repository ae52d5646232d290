"""The exit codes: one table, from which the help, the manual and the tests are made.

The numbers are those of sysexits.h, timeout(1), env(1) and sh(1), where they have one for it.
"""

from __future__ import annotations

import enum

from holdfast import errors

__all__ = ["MEANINGS", "ExitCode", "exit_code_of"]


class ExitCode(enum.IntEnum):
    """What the command's exit status says."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    UNAVAILABLE = 69
    BUSY = 75
    NOT_PERMITTED = 77
    CONFIG = 78
    LEASE_LOST = 90
    TIME_LIMIT = 124
    WRAPPER_BROKE = 125
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    INTERRUPTED = 130
    BROKEN_PIPE = 141


# What is shown to people, in this order.
MEANINGS: tuple[tuple[str, str], ...] = (
    ("0", "done"),
    ("1", "it failed"),
    ("2", "wrong usage: an unknown option, a bad argument"),
    ("69", "not available: a server, a bus or a feature of this machine is missing"),
    ("75", "busy: somebody else was first, or the wait limit was reached; try again"),
    ("77", "not permitted"),
    ("78", "bad configuration"),
    ("90", "the lease was lost and COMMAND was stopped"),
    ("124", "the time limit was reached and COMMAND was stopped"),
    ("125", "COMMAND was not started: the wrapper itself failed"),
    ("126", "COMMAND cannot be executed"),
    ("127", "COMMAND was not found"),
    ("128+N", "ended by signal N: 130 by Ctrl-C, 141 because nobody reads the output"),
    ("other", "COMMAND's own exit code, untouched"),
)

# The nearest class in an exception's ancestry decides.
_CODES: dict[type[BaseException], ExitCode] = {
    errors.HoldfastError: ExitCode.FAILURE,
    errors.InvalidArgument: ExitCode.USAGE,
    errors.InvalidConfig: ExitCode.CONFIG,
    errors.NotPermitted: ExitCode.NOT_PERMITTED,
    errors.Unavailable: ExitCode.UNAVAILABLE,
    errors.NotFound: ExitCode.FAILURE,  # nothing is out of reach: there is none of that name
    errors.Unsupported: ExitCode.UNAVAILABLE,
    errors.GovernorGone: ExitCode.UNAVAILABLE,
    errors.Conflict: ExitCode.BUSY,
    errors.Busy: ExitCode.BUSY,
    errors.ClaimDenied: ExitCode.BUSY,
    errors.SuspendAborted: ExitCode.BUSY,
    errors.StaleRecord: ExitCode.BUSY,
    errors.LeaseLost: ExitCode.LEASE_LOST,
    PermissionError: ExitCode.NOT_PERMITTED,
    KeyboardInterrupt: ExitCode.INTERRUPTED,
    BrokenPipeError: ExitCode.BROKEN_PIPE,
}


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code for an exception that nobody handled; `FAILURE` if nothing better is known."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return ExitCode.FAILURE
