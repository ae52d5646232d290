"""How the machine goes down: what every back-end offers, and what it may tell the governor.

A back-end says first whether it can work here. It is opened once, is entered by `suspend` for one
attempt at a time, and returns from there only when the machine is back. What the machine does of
itself (somebody else suspends it, it shuts down) it tells its host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast.wake.model import Failed, Slept

__all__ = ["Backend", "BackendHost"]


class BackendHost(Protocol):
    """Whom a back-end tells what the machine does of itself. Called in the event loop's thread."""

    def sleep_begins(self) -> None:
        """The machine wants to go down and waits for `Backend.ready_for_sleep`, but not for ever.

        If it is our own `suspend` that it answers, do not call this: the listeners were asked.
        """

    def sleep_ended(self, outcome: Slept | Failed) -> None:
        """The machine is back, or has given up, after `sleep_begins`; called once for each."""

    def shutdown_begins(self) -> None:
        """The machine shuts down, and waits for `Backend.ready_for_shutdown`, but not for ever."""

    def shutdown_ended(self) -> None:
        """It does not shut down after all."""


class Backend(Protocol):
    """One way to go down.

    It may have more to say, in attributes that not every back-end has:

    - ``blocks_nothing``: True if `block` need not be waited for;
    - ``trouble``: what keeps it from doing its part just now, in a clause, or None; it is told by
      `Status.trouble` and by ``why``;
    - ``delay_budget_ns``: how long a machine that goes down of itself waits for us, or None.
    """

    @property
    def name(self) -> str:
        """The word by which people choose it: "simulated", "logind", "command"."""

    def available(self) -> str | None:
        """None if it can work here, or why not, in a sentence with a hint what to do."""

    async def open(self, host: BackendHost) -> None:
        """Get ready, and tell `host` from now on.

        Raises:
            Unavailable: What it needs cannot be reached now.
            NotPermitted: This user may not do it.
            Unsupported: It cannot work here.
        """

    async def suspend(self, attempt: int) -> Slept | Failed:
        """Go down, and return after the machine is back. Never raises: what fails is `Failed`."""

    def wake(self, attempt: int) -> None:
        """Somebody waits for a lease: come back from `suspend` soon, if that can be done.

        It may come just before ``suspend(attempt)`` has begun, or after it has returned; nothing
        happens where only the hardware can wake the machine.
        """

    async def block(self, held: bool) -> None:
        """A wake lease exists, or none does. Called in order, one at a time. Never raises.

        Returns once the system honours it, or cannot: only then is a lease granted.
        """

    def ready_for_sleep(self) -> None:
        """The machine, which goes down of itself, need not wait for us any more."""

    def ready_for_shutdown(self) -> None:
        """The machine, which shuts down, need not wait for us any more."""

    async def close(self) -> None:
        """Let go of everything. Closing twice is harmless."""
