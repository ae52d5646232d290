"""`SequenceRelay`: the output of a stage in the middle. It needs no governor and takes no lease.

Its batons are those that come from the stage before; `SequenceClient` gives them to `pass_on` when
what they stand for was processed here::

    relay = SequenceRelay()
    tracker = relay.manage()                                # for each client of this stage
    client = SequenceClient(channel, pass_on=relay.pass_on)
    ...
    output = work(message); send(output); tracker.message_sent()
    client.process_message()                                # after what came of it was sent
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast.clock import NS_PER_S, SystemClock
from holdfast.closing import Closing
from holdfast.durations import nanoseconds
from holdfast.errors import Closed, HoldfastError
from holdfast.wake.in_turn import InTurn
from holdfast.wake.sequence import Deliver, Lost, Refuse, Relay, Release, Unclaimed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from holdfast.wake.sequence import Client, Effect
    from holdfast.wake.strategies.surroundings import BatonRequest, WakeLeaseLike

__all__ = ["RelayTracker", "SequenceRelay"]

log = logging.getLogger("holdfast.wake")
log.addHandler(logging.NullHandler())


class SequenceRelay(Closing):
    """Passes batons on to the clients of this stage.

    Args:
        retain: For how many seconds a baton is held for a client that was never there.
    """

    def __init__(self, *, retain: float | timedelta = 10.0) -> None:
        self.machine = Relay(retain_ns=nanoseconds(retain, "retain"))
        self._now_ns = SystemClock().boottime_ns
        self._numbers = 0
        self._baton: WakeLeaseLike | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._do_in_turn: InTurn[Effect] = InTurn(self._perform_one)

    def manage(self) -> RelayTracker:
        """A tracker for one client.

        Raises:
            Closed: This relay was closed.
        """
        self.check()
        self._numbers += 1
        self.machine.add(self._numbers)
        return RelayTracker(self, self._numbers)

    def check(self) -> None:
        """See that it was not closed.

        Raises:
            Closed: It was.
        """
        if self.machine.ended:
            raise Closed("the relay is closed", hint="make another one")

    def pass_on(self, baton: WakeLeaseLike) -> None:
        """What this stage was sent up to that baton is processed, and what came of it was sent."""
        if self._do_in_turn.busy:  # what is being done is still about the one before
            asyncio.get_running_loop().call_soon(self.pass_on, baton)
            return
        before, self._baton = self._baton, baton
        if before is not None:
            before.close()
        self.perform(self.machine.passed_on(self._now_ns()))

    def close(self) -> None:
        """Answer all requests and close what is held."""
        if not self.machine.ended:
            self.perform(self.machine.end())

    def now_ns(self) -> int:
        """CLOCK_BOOTTIME."""
        return self._now_ns()

    def perform(self, effects: Iterable[Effect]) -> None:
        """Do what the machine wants, in order; what comes of it in the meantime waits its turn."""
        if not self._do_in_turn(effects):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due_ns = self.machine.next_due_ns
        if due_ns is not None:
            delay_s = max(due_ns - self._now_ns(), 0) / NS_PER_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case Deliver():
                self._deliver(effect)
            case Refuse(_, request, code):
                known: BatonRequest = request  # type: ignore[assignment]
                known.refuse(code)
            case Release():
                baton, self._baton = self._baton, None
                if baton is not None:
                    baton.close()
            case Lost() | Unclaimed():
                if effect.messages:
                    log.warning("%d messages of a stage are for nobody", effect.messages)
            case _:
                raise AssertionError(f"no effect of a relay: {effect}")

    def _expire(self) -> None:
        self.perform(self.machine.expire(self._now_ns()))

    def _deliver(self, delivery: Deliver) -> None:
        assert self._baton is not None
        request: BatonRequest = delivery.request  # type: ignore[assignment]
        copy = None
        try:
            copy = self._baton.dup()
            request.deliver(copy, delivery.index, delivery.epoch)
        except (HoldfastError, OSError) as error:
            log.warning("a baton could not be passed on: %s", error)
            if copy is not None:
                copy.close()
            self.machine.undelivered(delivery.client, delivery.epoch)


class RelayTracker(Closing):
    """What one client of a stage was sent; made by `SequenceRelay.manage`."""

    def __init__(self, relay: SequenceRelay, number: int) -> None:
        self._relay = relay
        self._number = number
        self._client: Client = relay.machine.clients[number]
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
        """Whether its client has gone for good, or the relay was closed."""
        return self._closed or self._relay.machine.ended

    def message_sent(self, n: int = 1) -> None:
        """So many messages were sent, before their cause is said to be processed."""
        if n > 0 and not self.closed:
            self._relay.machine.sent(self._number, n)

    def sent_through(self, index: int) -> None:
        """As many messages were sent since this client began."""
        self.message_sent(index - self._client.sent)

    def count_through(self, index: int) -> None:
        """The same: a stage in the middle never waits."""
        self.sent_through(index)

    def set_requester(self, request: BatonRequest) -> None:
        """The client asks for a baton. What it asked before is answered with "superseded"."""
        if self.closed:
            request.refuse("ended")
            return
        relay = self._relay
        processed = request.processed
        relay.perform(
            relay.machine.asked(self._number, request, relay.now_ns(), processed=processed)
        )

    def let_go(self, epoch: int, index: int, processed: int) -> None:
        """The client lets go of a baton of that index, and says how many it has processed.

        A channel that can tells it before the client closes the baton, so that it is known when the
        governor asks next; it is for the account that the governor is given.
        """
        if not self.closed:
            self._relay.machine.lets_go(self._number, epoch, index, processed)

    def leave(self, epoch: int) -> None:
        """The client processes nothing any more: nobody waits for it in the account."""
        if not self.closed:
            self._relay.machine.leaves(self._number, epoch)

    def subscribed(self) -> int:
        """Another client takes the place of the one before; gives its epoch."""
        if self.closed:
            raise Closed("the tracker is closed", hint="make another one with manage()")
        self._relay.perform(self._relay.machine.subscribed(self._number, self._relay.now_ns()))
        return self.epoch

    def client_gone(self) -> None:
        """The client has gone."""
        if not self.closed:
            self._relay.perform(self._relay.machine.gone(self._number, self._relay.now_ns()))

    def close(self) -> None:
        """There will be no client any more in this place."""
        if not self.closed:
            self.client_gone()
        self._closed = True
