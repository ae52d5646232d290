"""What the strategies need of a governor, of a wake lease and of who asks for a baton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import enum
    from collections.abc import Awaitable, Callable

__all__ = ["BatonRequest", "GovernorLike", "Listening", "StatusLike", "WakeLeaseLike"]


class WakeLeaseLike(Protocol):
    """A wake lease, or a copy of one: `holdfast.wake.WakeLease`."""

    def fileno(self) -> int:
        """The descriptor."""
        ...

    def dup(self) -> Self:
        """Another copy, which has to be closed, too."""
        ...

    def close(self) -> None:
        """Close this copy. Closing twice is harmless."""
        ...


class StatusLike(Protocol):
    """What a governor says of itself, as far as it matters here."""

    @property
    def state(self) -> str | enum.Enum:
        """A word, or a member of an enumeration with it as its value; "awake" is looked for."""
        ...


class Listening(Protocol):
    """A registration as a listener: `holdfast.wake.Listener`."""

    def close(self) -> None:
        """Hear no more. The governor takes that for an answer to whatever it has asked."""
        ...

    async def wait_closed(self) -> object:
        """Return when there will be no more calls: it was closed, or the governor is gone."""
        ...


class GovernorLike(Protocol):
    """A connection to the governor: `holdfast.wake.AsyncGovernor`."""

    async def acquire(self, name: str) -> WakeLeaseLike:
        """Take a wake lease; it is held when this returns."""
        ...

    async def listen(
        self,
        before_suspend: Callable[[], Awaitable[object]],
        after_resume: Callable[[], Awaitable[object]],
        *,
        name: str,
        on_sleep: Callable[[bool], object] | None = None,
    ) -> Listening:
        """Register a listener; its functions are called from the next attempt on.

        `on_sleep` is called with True before an attempt that the machine makes of itself, and with
        False when it is back.
        """
        ...

    async def status(self) -> StatusLike:
        """How the governor stands now."""
        ...


class BatonRequest(Protocol):
    """A client's request for a baton that waits for its answer; made by a channel.

    Whatever answers must not wait: the governor may be waiting for us.
    """

    @property
    def processed(self) -> int:
        """How many messages the client had processed when it asked; 0 if it does not say."""
        ...

    def deliver(self, wake_lease: WakeLeaseLike, index: int, epoch: int) -> None:
        """Answer it. The copy is the channel's from now on.

        Raises:
            HoldfastError, OSError: It cannot be delivered; the copy is still the caller's.
        """
        ...

    def refuse(self, code: str) -> None:
        """Answer that there will be no baton: "superseded" or "ended". It never raises."""
        ...
