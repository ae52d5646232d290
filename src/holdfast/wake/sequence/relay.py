"""The output of a stage in the middle: it takes no wake lease, and passes on those that come.

A baton says: everything up to here was processed by this stage. If its messages have led to others,
which were sent on, then they are what the baton stands for from now on, and the next stage gets it
with their number. If they have led to none that the next stage has not been given a baton for, the
work is at its end, and the baton is released.

::

             passed on, somebody is owed          the last who was due has been served
    NOTHING ───────────────────────────▶ HOLDING ─────────────────────────────────────▶ NOTHING
       ▲                                   │   ▲
       └──────── nobody is owed ───────────┘   └ one more comes: it replaces the older

Source: the seed, which has only the head of a pipeline take leases, and says of what the client's
library returns that it is for passing on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.wake.sequence.clients import Clients
from holdfast.wake.sequence.effects import Refuse, Release
from holdfast.wake.sequence.sender import RETAIN_NS

if TYPE_CHECKING:
    from holdfast.wake.sequence.clients import Client
    from holdfast.wake.sequence.effects import Effect

__all__ = ["Relay"]


class Relay:
    """One output, with any number of clients. The effects are those of the head.

    Args:
        retain_ns: For how long a baton is held for a client that is only expected.

    Attributes:
        clients: By number.
        holding: It has a baton for somebody who has not asked.
        ended: No message is sent any more.
    """

    __slots__ = ("clients", "ended", "holding")

    def __init__(self, *, retain_ns: int = RETAIN_NS) -> None:
        self.clients = Clients(retain_ns)
        self.holding = False
        self.ended = False

    @property
    def next_due_ns(self) -> int | None:
        """When to call `expire`; None: not before something happens."""
        return self.clients.next_due_ns

    def add(self, number: int) -> Client:
        """A place for clients."""
        return self.clients.add(number)

    def sent(self, number: int, n: int = 1) -> None:
        """So many messages were sent. Who has sent them holds a baton, or nobody suspends."""
        self.clients[number].sent += n

    def passed_on(self, now_ns: int) -> list[Effect]:
        """A baton is there, in place of the one before: for whoever is owed."""
        self.holding = True
        if not self.ended:
            self.clients.make_due()
        return self._settle(now_ns)

    def asked(
        self, number: int, request: object, now_ns: int, *, processed: int = 0
    ) -> list[Effect]:
        """A client asks for a baton."""
        if self.ended:
            return [Refuse(number, request, "ended")]
        return self.clients[number].ask(request, processed) + self._settle(now_ns)

    def lets_go(self, number: int, epoch: int, index: int, processed: int) -> None:
        """A client lets go of a baton of that index, and has processed so many messages."""
        self.clients[number].lets_go(index, processed, epoch)

    def leaves(self, number: int, epoch: int) -> None:
        """A client processes nothing any more."""
        self.clients[number].leaves(epoch)

    def subscribed(self, number: int, now_ns: int) -> list[Effect]:
        """Another client has come to that place."""
        return self.clients.subscribe(number) + self._settle(now_ns)

    def gone(self, number: int, now_ns: int) -> list[Effect]:
        """The client of that place has gone."""
        return self.clients[number].leave() + self._settle(now_ns)

    def undelivered(self, number: int, epoch: int) -> None:
        """A baton did not arrive. The client that it was for has gone, or will be said to have."""
        self.clients[number].undelivered(epoch)

    def expire(self, now_ns: int) -> list[Effect]:
        """What fell due until now."""
        return self.clients.expire(now_ns) + self._settle(now_ns)

    def end(self) -> list[Effect]:
        """This stage ends."""
        self.ended = True
        return self.clients.end() + self._settle(0)

    def _settle(self, now_ns: int) -> list[Effect]:
        if not self.holding:
            return []
        effects = self.clients.serve()
        self.clients.wait_from(now_ns)
        if not self.clients.due:
            self.holding = False
            effects.append(Release())
        return effects
