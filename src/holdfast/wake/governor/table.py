"""The governor's table: from which phase what leads where."""

from __future__ import annotations

import enum

from holdfast.wake.model import Phase

__all__ = ["TRANSITIONS", "Turn"]


class Turn(enum.Enum):
    """What can move the governor from one phase to another."""

    BEGIN = "begin"  # somebody wants to go down, and nothing forbids it; or the machine does
    ENTER = "enter"  # all have answered and nothing forbids it
    FORBID = "forbid"  # all have answered, and something does
    RETURN = "return"  # the back-end is back, or the machine
    DONE = "done"  # all know that it is over
    SHUTDOWN = "shutdown"
    CANCEL = "cancel"  # the machine does not shut down after all


TRANSITIONS = {
    (Phase.AWAKE, Turn.BEGIN): Phase.SUSPENDING,
    (Phase.SUSPENDING, Turn.ENTER): Phase.SUSPENDED,
    (Phase.SUSPENDING, Turn.FORBID): Phase.RESUMING,
    (Phase.SUSPENDED, Turn.RETURN): Phase.RESUMING,
    (Phase.RESUMING, Turn.DONE): Phase.AWAKE,
    (Phase.AWAKE, Turn.SHUTDOWN): Phase.STOPPING,
    (Phase.SUSPENDING, Turn.SHUTDOWN): Phase.STOPPING,
    # Taken only when the back-end is back: until then the machine may still go down.
    (Phase.SUSPENDED, Turn.SHUTDOWN): Phase.STOPPING,
    (Phase.RESUMING, Turn.SHUTDOWN): Phase.STOPPING,
    (Phase.STOPPING, Turn.CANCEL): Phase.RESUMING,
}
