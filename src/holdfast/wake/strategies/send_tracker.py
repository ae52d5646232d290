"""`MessageSendTracker`: what one client of a `SequenceServer` was sent, and who of it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.closing import Closing
from holdfast.errors import Closed
from holdfast.wake.sequence import Phase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

    from holdfast.wake.sequence import Client
    from holdfast.wake.strategies.sequence_server import SequenceServer
    from holdfast.wake.strategies.surroundings import BatonRequest

__all__ = ["COVERED", "MessageSendTracker"]

_AWAKE: Final = Phase.AWAKE


class _Covered:
    """What can be awaited any number of times, and is over."""

    def __await__(self) -> Generator[None, None, None]:
        return iter(())  # type: ignore[return-value]  # whoever awaits it only takes its end


# What `MessageSendTracker.message_sent` gives when there is nothing to wait for.
COVERED: Final = _Covered()


class MessageSendTracker(Closing):
    """What one client was sent; made by `SequenceServer.manage`.

    Count a message, and send it, in either order, but without waiting between the two where a
    client may take the place of another. Whoever can leave the source of the message
    unacknowledged (an interrupt, a queue) does so until `message_sent` has returned; who cannot
    calls it before sending.
    """

    def __init__(self, server: SequenceServer, number: int) -> None:
        self._server = server
        self._number = number
        self._machine = server.machine
        self._client: Client = server.machine.clients[number]
        self._closed = False

    @property
    def sent(self) -> int:
        """How many messages, since this client began."""
        return self._client.sent

    @property
    def epoch(self) -> int:
        """Which client it is: batons carry it."""
        return self._client.epoch

    @property
    def closed(self) -> bool:
        """Whether its client has gone for good, or the server has ended."""
        return self._closed or self._machine.phase is Phase.ENDED

    def message_sent(self, n: int = 1) -> Awaitable[None]:
        """So many messages were sent; they are counted at once. Nothing and less is ignored.

        Await it: it is over when they cannot be stranded by a suspend, at once while the machine is
        awake, else when a wake lease is held. Only then may their source be acknowledged.

        Raises:
            Closed: This tracker was closed, or its server has ended.
            GovernorGone: The governor is gone.
            HoldfastError, OSError: No wake lease was to be had. The messages are counted; call
                again, with `sent_through`, before the source is acknowledged.
        """
        # As `Sender.sent` does while it is awake; here, because it is done for every message.
        if self._machine.phase is _AWAKE and not self._closed:
            if n > 0:
                self._client.sent += n
            return COVERED
        self._check()
        self._server.perform(self._machine.sent(self._number, n, self._server.now_ns()))
        return self._server.wait_covered(self._number) if n > 0 else COVERED

    def sent_through(self, index: int) -> Awaitable[None]:
        """As many messages were sent since this client began; less than that changes nothing.

        Raises:
            As `message_sent`.
        """
        n = index - self._client.sent
        if n <= 0 and not self._machine.covered(self._number):
            # Counted by a call that failed: try again.
            self._check()
            self._server.perform(self._machine.retry(self._server.now_ns()))
            return self._server.wait_covered(self._number)
        return self.message_sent(n)

    def count_through(self, index: int) -> None:
        """As `sent_through`, for who cannot wait: it does not say when a suspend strands nothing.

        For functions that were given to `SequenceServer.before_flush`.
        """
        if not self.closed:
            n = index - self._client.sent
            self._server.perform(self._machine.sent(self._number, n, self._server.now_ns()))

    def set_requester(self, request: BatonRequest) -> None:
        """The client asks for a baton. What it asked before is answered with "superseded"."""
        if self.closed:
            request.refuse("ended")
            return
        self._server.perform(
            self._machine.asked(
                self._number, request, self._server.now_ns(), processed=request.processed
            )
        )

    def let_go(self, epoch: int, index: int, processed: int) -> None:
        """The client lets go of a baton of that index, and says how many it has processed.

        A channel that can tells it before the client closes the baton, so that it is known when the
        governor asks next; it is for the account that the governor is given.
        """
        if not self.closed:
            self._machine.lets_go(self._number, epoch, index, processed)

    def leave(self, epoch: int) -> None:
        """The client processes nothing any more: nobody waits for it in the account."""
        if not self.closed:
            self._machine.leaves(self._number, epoch)

    def subscribed(self) -> int:
        """Another client takes the place of the one before; its messages are counted from here.

        Returns:
            Its epoch.

        Raises:
            Closed: As `message_sent`.
        """
        self._check()
        self._server.perform(self._machine.subscribed(self._number, self._server.now_ns()))
        return self.epoch

    def client_gone(self) -> None:
        """The client has gone. Nothing keeps the machine awake for it, until there is another."""
        if not self.closed:
            self._server.perform(self._machine.gone(self._number, self._server.now_ns()))

    def close(self) -> None:
        """There will be no client any more in this place."""
        if not self.closed:
            self._closed = True
            self._server.perform(self._machine.remove(self._number, self._server.now_ns()))
        self._closed = True

    def _check(self) -> None:
        self._server.check()
        if self._closed:
            raise Closed("the tracker is closed", hint="make another one with manage()")
