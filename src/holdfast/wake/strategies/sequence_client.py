"""`SequenceClient`: asks for batons, and holds each until its messages are processed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from holdfast.closing import Closing
from holdfast.errors import Closed, InvalidArgument
from holdfast.wake.sequence import Receiver
from holdfast.wake.strategies.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.wake.strategies.surroundings import WakeLeaseLike

__all__ = ["Baton", "BatonChannel", "SequenceClient"]


@dataclass(frozen=True, slots=True)
class Baton:
    """A wake lease on its way down a pipeline.

    Attributes:
        wake_lease: A copy, which is the receiver's.
        index: How many messages it covers.
        epoch: Counted since when: the number of the subscription.
    """

    wake_lease: WakeLeaseLike
    index: int
    epoch: int


class BatonChannel(Protocol):
    """Where batons come from: `socket_channel`, `holdfast.seams.state_channel`, or one's own.

    It may have two more methods, by which the server learns what became of its batons, and the
    governor can check that nothing was stranded. Both must be on their way when they return, ahead
    of what is closed after that: ``let_go(index, processed)``, a baton of that index is let go of,
    and so many messages are processed; and ``leave()``, there is nobody who processes what comes.
    """

    async def receive_baton(self, processed: int) -> Baton | None:
        """Ask for a baton and wait, for however long; None: there will be none any more.

        Args:
            processed: How many messages this client has processed.

        Raises:
            WakeError: Another one asks in our place.
        """
        ...


class SequenceClient(Closing):
    """The receiving end of optimistic lease management.

    ::

        client = SequenceClient(channel)
        running = client.run()                # asks for batons until the server has ended
        async for message in messages:
            work(message)
            client.process_message()          # may close the baton: the machine may go down
        client.end_of_messages()

    Args:
        channel: Where batons come from.
        pass_on: Called with each baton of which everything is processed here, in place of closing
            it: `SequenceRelay.pass_on`. It is called for those, too, that come too late for this
            stage: the next one may not be so quick.
    """

    def __init__(
        self,
        channel: BatonChannel,
        *,
        pass_on: Callable[[WakeLeaseLike], object] | None = None,
    ) -> None:
        self._channel = channel
        self._pass_on = pass_on
        self._machine: Receiver[WakeLeaseLike] = Receiver()
        self._running: asyncio.Task[None] | None = None
        self._closed = False
        self._index = 0  # of the baton that is held
        self._progress = Progress(lambda: self._machine.index)
        self._let_go: Callable[[int, int], object] | None = getattr(channel, "let_go", None)
        self._leave: Callable[[], object] | None = getattr(channel, "leave", None)

    @property
    def index(self) -> int:
        """How many messages are processed."""
        return self._machine.index

    @property
    def holding(self) -> bool:
        """Whether it holds a baton: messages are on their way to it, or in work."""
        return self._machine.held is not None

    def run(self) -> asyncio.Task[None]:
        """Start to ask for batons; the task ends when there will be none any more.

        Raises:
            Closed: It was closed.
            InvalidArgument: It runs already.
        """
        if self._closed:
            raise Closed("the client is closed", hint="make another one")
        if self._running is not None:
            raise InvalidArgument("the client runs already", hint="call run() once")
        self._running = asyncio.create_task(self._run(), name="sequence-client")
        return self._running

    async def _run(self) -> None:
        machine = self._machine
        asked = machine.index
        while (baton := await self._channel.receive_baton(asked)) is not None:
            arrival = machine.arrived(baton.wake_lease, baton.index, baton.epoch)
            if machine.held is baton.wake_lease:
                self._index = baton.index
                self._progress.began(baton.wake_lease, baton.index, asked)
            if arrival.released is not None:
                arrival.released.close()
            if arrival.done is not None:
                self._finish(arrival.done, baton.index)
            asked = machine.index

    def process_message(self, n: int = 1, *, keep: bool = False) -> WakeLeaseLike | None:
        """So many more messages are processed.

        Args:
            n: How many.
            keep: Give the baton that is done now, if there is one, to the caller, who closes it.

        Returns:
            That baton, or None.

        Raises:
            InvalidArgument: `n` is negative.
        """
        if n < 0:
            raise InvalidArgument(f"n={n}: what is processed stays so")
        machine = self._machine
        if machine.held is None:  # nearly always, and this is done for every message
            machine.index += n
            return None
        return self._finish(machine.processed(n), self._index, keep=keep)

    def processed_through(self, index: int, *, keep: bool = False) -> WakeLeaseLike | None:
        """As many messages are processed, counted from the first of this subscription."""
        return self._finish(self._machine.processed_through(index), self._index, keep=keep)

    def subscribed(self, epoch: int) -> None:
        """From here on messages are counted anew, in that epoch; earlier batons are done."""
        done = self._machine.subscribed(epoch)
        if done is not None:  # of an earlier count, which nobody asks about any more
            self._progress.ended()
            self._hand_over(done)

    def end_of_messages(self) -> None:
        """No message comes any more: what is held would be held for ever, and is closed."""
        if self._leave is not None and not self._machine.ended:
            self._leave()
        released = self._machine.end()
        self._progress.ended()
        if released is not None:
            released.close()

    def close(self) -> None:
        """Ask no more, and close the baton."""
        self._closed = True
        if self._running is not None:
            self._running.cancel()
        self.end_of_messages()

    def _finish(
        self, baton: WakeLeaseLike | None, index: int, *, keep: bool = False
    ) -> WakeLeaseLike | None:
        if baton is None:
            return None
        if self._let_go is not None:
            self._let_go(index, self._machine.index)
        if keep or self._pass_on is not None:
            self._progress.done(baton, self._machine.index)
        else:
            self._progress.ended(baton)
        if keep:
            return baton
        self._hand_over(baton)
        return None

    def _hand_over(self, baton: WakeLeaseLike) -> None:
        if self._pass_on is not None:
            self._pass_on(baton)
        else:
            baton.close()
