"""Patience with a machine that is busy with other tests: how long is waited for is no subject.

The library gives up on a logind that does not answer for some seconds. Processes that a test starts
call `be_patient` themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.wake.backends import bus, logind, logind_permission

PATIENCE_S = 50.0


def be_patient(change: Callable[[object, str, object], None] = setattr) -> None:
    """Wait for logind as long as a test may take; `change` is called as `setattr`."""
    change(logind_permission, "_LOOK_S", PATIENCE_S)
    for name in ("_BLOCK_S", "_BEGIN_S"):
        change(logind, name, PATIENCE_S)
    for name in ("_GREETING_S", "_REPLY_S"):
        change(bus, name, PATIENCE_S)
    # How often it is asked whether it has seen that a lock was let go.
    change(logind, "_PAUSES_S", (*logind._PAUSES_S, *[0.5] * round(2 * PATIENCE_S)))
