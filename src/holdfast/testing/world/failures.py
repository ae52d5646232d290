"""How a simulated run can end badly, beside the exceptions of the code that runs in it.

They are assertions: what they say is that a promise of the scenario was not kept.
"""

from __future__ import annotations

__all__ = ["Deadlock", "Livelock", "OutOfTime", "SeedFailed"]


class Deadlock(AssertionError):
    """Nothing is scheduled any more, and somebody still waits. The message says who, for what."""


class Livelock(AssertionError):
    """Steps go on and on while virtual time stands still."""


class OutOfTime(AssertionError):
    """What a run was to reach was not reached within its limit of virtual time."""


class SeedFailed(AssertionError):
    """A scenario failed under one seed. The message is the report, with the line that replays it.

    Attributes:
        seed: The seed.
        replay: The command that runs it again.
        ran: How many seeds had passed before.
        trace: The last lines of the trace.
        error: What the scenario raised.
    """

    def __init__(
        self,
        report: str,
        *,
        seed: int,
        replay: str,
        ran: int,
        trace: tuple[str, ...],
        error: BaseException | None,
    ) -> None:
        super().__init__(report)
        self.seed = seed
        self.replay = replay
        self.ran = ran
        self.trace = trace
        self.error = error
