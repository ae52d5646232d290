"""What a head or a relay knows of one client: what was sent, what is covered, who asks.

::

                 asked                      gone
    EXPECTED ─────────────▶ ATTACHED ──────────────▶ GONE
        │                      ▲  ▲                    │
        │ its time is over     │  └──── subscribed ────┘
        ▼                asked │
      MISSED ──────────────────┘

While a client is expected or attached, what was sent to it keeps the machine from going down. For
one that is missed or gone nothing does: nobody would ever process it. Who has gone does not come
back: a request of his that was still on its way is refused, and the next one is another client.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from holdfast.wake.accounts import Account
from holdfast.wake.sequence.effects import Deliver, Lost, Refuse, Unclaimed

if TYPE_CHECKING:
    from holdfast.wake.sequence.effects import Effect

__all__ = ["Client", "Clients", "Presence"]


class Presence(enum.Enum):
    """Whether there is anybody."""

    EXPECTED = "expected"  # it was said to come, and has not asked yet
    ATTACHED = "attached"
    MISSED = "missed"  # it did not come in time
    GONE = "gone"


class Client:
    """One client: counts that begin with it, and the request that it has made.

    Attributes:
        number: Its place; a place can have one client after the other.
        epoch: Which of them; no two clients of one head have the same, and later ones have higher
            ones, so that no baton is taken for another's.
        presence: Whether there is anybody.
        sent: How many messages.
        delivered: The index of the last baton delivered.
        processed: How many it has said to have processed, when it asked, or let go of a baton.
        confirms: It says so whenever it lets go of a baton.
        let_go: The highest index of a baton that it let go of.
        left: It has said that it processes nothing any more.
        request: Its request for a baton that waits for an answer; None: it has none.
        due: It is to get a baton as soon as it asks.
    """

    __slots__ = (
        "confirms",
        "delivered",
        "due",
        "epoch",
        "left",
        "let_go",
        "number",
        "presence",
        "processed",
        "request",
        "sent",
    )

    def __init__(self, number: int, epoch: int) -> None:
        self.number = number
        self.epoch = epoch
        self.presence = Presence.EXPECTED
        self.sent = 0
        self.delivered = 0
        self.processed = 0
        self.confirms = False
        self.let_go = 0
        self.left = False
        self.request: object | None = None
        self.due = False

    @property
    def owed(self) -> bool:
        """Messages were sent that no baton covers, to somebody who could process them."""
        return self.delivered < self.sent and not self.absent

    @property
    def absent(self) -> bool:
        """There is nobody who could process anything."""
        return self.presence is Presence.MISSED or self.presence is Presence.GONE

    def subscribe(self, epoch: int) -> list[Effect]:
        """Another client has come: its messages are counted from here."""
        effects = self.leave()
        self.epoch = epoch
        self.presence = Presence.ATTACHED
        self.sent = self.delivered = self.processed = self.let_go = 0
        self.left = False
        return effects

    def leave(self) -> list[Effect]:
        """The client has gone: its request with it, and perhaps messages."""
        effects: list[Effect] = []
        if self.request is not None:
            effects.append(Refuse(self.number, self.request, "superseded"))
        if self.presence is Presence.ATTACHED and self.processed < self.sent:
            effects.append(Lost(self.number, self.epoch, self.sent - self.processed))
        self.presence = Presence.GONE
        self.request = None
        self.due = False
        return effects

    def ask(self, request: object, processed: int) -> list[Effect]:
        """It asks for a baton. What it asked before is answered: one request waits at most."""
        if self.presence is Presence.GONE:  # its connections did not all end at once
            return [Refuse(self.number, request, "superseded")]
        effects: list[Effect] = []
        if self.request is not None:
            effects.append(Refuse(self.number, self.request, "superseded"))
        self.request = request
        self.presence = Presence.ATTACHED
        self.processed = max(self.processed, processed)
        return effects

    def lets_go(self, index: int, processed: int, epoch: int) -> None:
        """It lets go of a baton, and says how many messages it has processed."""
        if epoch == self.epoch:
            self.confirms = True
            self.let_go = max(self.let_go, index)
            self.processed = max(self.processed, processed)

    def leaves(self, epoch: int) -> None:
        """It processes nothing any more, and stays for a while."""
        if epoch == self.epoch:
            self.left = True

    @property
    def unprocessed(self) -> int:
        """Messages that were sent, and of which nobody knows that they are processed or covered."""
        return max(0, self.sent - max(self.delivered, self.processed))

    def account(self, *, held: bool) -> Account:
        """How it stands with what was sent to it.

        Args:
            held: The head has a wake lease, which covers everything.
        """
        if self.absent or self.left:
            return Account()
        covered = self.sent if held else min(self.sent, self.delivered)
        processed = min(covered, self.processed) if self.confirms else covered
        let_go = min(self.let_go, covered)
        return Account(1, self.sent, covered, processed, max(0, let_go - processed))

    def take_delivery(self) -> Deliver:
        """The baton for what was sent until now, which is more than when its lease was taken."""
        assert self.request is not None
        delivery = Deliver(self.number, self.request, self.sent, self.epoch)
        self.request = None
        self.due = False
        self.delivered = self.sent
        return delivery

    def undelivered(self, epoch: int) -> None:
        """The baton did not arrive: act as if none ever had. It costs one wake lease too many."""
        if epoch == self.epoch:
            self.delivered = 0


class Clients(dict[int, Client]):
    """The clients of one head or relay, by number.

    Args:
        retain_ns: For how long what is held is held for a client that is only expected.

    Attributes:
        next_due_ns: When to call `expire`; None: nobody is waited for.
    """

    __slots__ = ("_epochs", "next_due_ns", "retain_ns")

    def __init__(self, retain_ns: int) -> None:
        super().__init__()
        self._epochs = 0
        self.retain_ns = retain_ns
        self.next_due_ns: int | None = None

    def add(self, number: int) -> Client:
        """A place for clients."""
        client = self[number] = Client(number, self._next_epoch())
        return client

    def subscribe(self, number: int) -> list[Effect]:
        """Another client has come to that place."""
        return self[number].subscribe(self._next_epoch())

    def _next_epoch(self) -> int:
        self._epochs += 1
        return self._epochs

    @property
    def owed(self) -> bool:
        """Whether anybody is."""
        return any(client.owed for client in self.values())

    @property
    def due(self) -> bool:
        """Whether anybody is to get a baton as soon as he asks."""
        return any(client.due for client in self.values())

    def make_due(self) -> None:
        """Whoever is owed is to get a baton as soon as he asks."""
        for client in self.values():
            client.due = client.owed

    def serve(self) -> list[Effect]:
        """Copies of what is held, for all who are due and have asked."""
        return [
            client.take_delivery()
            for client in self.values()
            if client.due and client.request is not None
        ]

    def wait_from(self, now_ns: int) -> None:
        """Something is held: what is held only for clients that are expected is held for a time."""
        waiting = any(
            client.due and client.presence is Presence.EXPECTED for client in self.values()
        )
        if not waiting:
            self.next_due_ns = None
        elif self.next_due_ns is None:
            self.next_due_ns = now_ns + self.retain_ns

    def expire(self, now_ns: int) -> list[Effect]:
        """Those who are still only expected are missed from now on, if the time is over."""
        effects: list[Effect] = []
        if self.next_due_ns is None or now_ns < self.next_due_ns:
            return effects
        self.next_due_ns = None
        for client in self.values():
            if client.due and client.presence is Presence.EXPECTED:
                client.presence = Presence.MISSED
                client.due = False
                effects.append(Unclaimed(client.number, client.epoch, client.sent))
        return effects

    def end(self) -> list[Effect]:
        """Answer every request: there will be no baton."""
        effects: list[Effect] = []
        for client in self.values():
            if client.request is not None:
                effects.append(Refuse(client.number, client.request, "ended"))
            client.request = None
            client.due = False
        self.next_due_ns = None
        return effects
