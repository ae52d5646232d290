"""The head: when to take a wake lease, whom to give a copy, when the governor may be answered.

Two things are known at any time. The *phase*, which only the governor's calls change::

                         awake seen              before suspend
              UNKNOWN ────────────────▶ AWAKE ────────────────────▶ FLUSHING
                 │                        ▲ ▲                         │   │
                 │                        │ └───── after resume ──────┘   │ answered: covered,
                 │                        │                               │ or nobody is owed
                 │                        └──────── after resume ─────── DOWN
                 └──────── before suspend ─────▶ FLUSHING

              (end ──▶ ENDED from all; before suspend ──▶ FLUSHING from DOWN and FLUSHING, too)

and the *lease*, of which there is one at most::

              NONE ── somebody is owed, and not AWAKE ──▶ WANTED ── held ──▶ HELD
               ▲                                            │                  │
               ├───────────────── failed ───────────────────┘                  │
               └── AWAKE, or DOWN of itself, and nobody is due who has not asked ┘

Rules, and what each is for:

=====================================  ===========================================================
one listener; mark, flush, answer      with two there is an instant at which the flush is over and
                                       the head still believes that it is awake: a message sent
                                       then would be stranded (specs, row 17)
DOWN until AfterResume has come        an attempt may go on for long after our answer, and without
                                       our being asked again (row 18)
the lease is kept until AfterResume    the attempt is given up then, so AfterResume surely comes;
                                       and one lease covers all that is sent until then (row 18)
but not if the machine goes down of    then it is delayed and not prevented, and AfterResume comes
itself                                 only after the sleep: who held on until then would delay it
                                       for as long as it lets itself be. The batons that were given
                                       hold it, as long as there is work
answer only when the lease is held     an acquisition on its way forbids nothing (row 16)
the index is that of the delivery      what was sent since the lease was taken is covered, too
the first state is UNKNOWN             who registers while an attempt is under way is not called
                                       for it, so no call does not mean awake (row 1)
no lease for who is absent             else a machine stays awake for nobody (row 6)
=====================================  ===========================================================
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from holdfast.wake.accounts import Account
from holdfast.wake.sequence.clients import Clients
from holdfast.wake.sequence.effects import (
    Acquire,
    Answer,
    Covered,
    Refuse,
    Release,
    Retry,
    Uncovered,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.wake.sequence.clients import Client
    from holdfast.wake.sequence.effects import Effect

__all__ = ["RETAIN_NS", "TRANSITIONS", "Event", "Lease", "Phase", "Sender"]

RETAIN_NS = 10_000_000_000
RETRY_NS = 20_000_000
RETRY_NS_MAX = 2_000_000_000


class Phase(enum.Enum):
    """What the head knows of the machine."""

    UNKNOWN = "unknown"
    AWAKE = "awake"
    FLUSHING = "flushing"  # the governor waits for our answer
    DOWN = "down"  # answered: the machine may be down at any time
    ENDED = "ended"


class Event(enum.Enum):
    """What changes that."""

    AWAKE_SEEN = "awake_seen"
    BEFORE_SUSPEND = "before_suspend"
    ANSWERED = "answered"
    AFTER_RESUME = "after_resume"
    END = "end"


TRANSITIONS = {
    (Phase.UNKNOWN, Event.AWAKE_SEEN): Phase.AWAKE,
    (Phase.UNKNOWN, Event.BEFORE_SUSPEND): Phase.FLUSHING,
    (Phase.UNKNOWN, Event.AFTER_RESUME): Phase.AWAKE,
    (Phase.AWAKE, Event.BEFORE_SUSPEND): Phase.FLUSHING,
    (Phase.AWAKE, Event.AFTER_RESUME): Phase.AWAKE,
    (Phase.FLUSHING, Event.BEFORE_SUSPEND): Phase.FLUSHING,  # the governor did not wait for us
    (Phase.FLUSHING, Event.ANSWERED): Phase.DOWN,
    (Phase.FLUSHING, Event.AFTER_RESUME): Phase.AWAKE,  # nor here
    (Phase.DOWN, Event.BEFORE_SUSPEND): Phase.FLUSHING,
    (Phase.DOWN, Event.AFTER_RESUME): Phase.AWAKE,
} | {(phase, Event.END): Phase.ENDED for phase in Phase}


class Lease(enum.Enum):
    """How it stands with the one wake lease."""

    NONE = "none"
    WANTED = "wanted"
    HELD = "held"


_NOTHING: Sequence[Effect] = ()


class Sender:
    """The head of a pipeline. Pure: the driver talks to the governor and to the clients.

    Args:
        retain_ns: For how long a wake lease is held for a client that is only expected.

    Attributes:
        phase: What is known of the machine.
        lease: How it stands with the wake lease.
        clients: By number.
        acquired: How many wake leases were taken.
        flushes: How often the governor asked.
        saved: How many messages a wake lease was taken for, which would have been stranded: nobody
            had said by then that they were processed.
        saving: How many wake leases were taken for such messages.
        inevitable: The machine goes down of itself: it can be delayed, and not kept up.
    """

    __slots__ = (
        "_call",
        "_failures",
        "acquired",
        "clients",
        "flushes",
        "inevitable",
        "lease",
        "phase",
        "saved",
        "saving",
    )

    def __init__(self, *, retain_ns: int = RETAIN_NS) -> None:
        self.phase = Phase.UNKNOWN
        self.lease = Lease.NONE
        self.clients = Clients(retain_ns)
        self.acquired = 0
        self.flushes = 0
        self.saved = 0
        self.saving = 0
        self.inevitable = False
        self._call: object | None = None  # the governor's, which waits for our answer
        self._failures = 0

    @property
    def next_due_ns(self) -> int | None:
        """When to call `expire`; None: not before something happens."""
        return self.clients.next_due_ns

    def covered(self, number: int) -> bool:
        """Whether what was sent to that client cannot be stranded now."""
        if self.phase is Phase.AWAKE or self.lease is Lease.HELD:
            return True
        return not self.clients[number].owed  # a baton covers it, or nobody is there

    # -- messages and clients ---------------------------------------------------------------------

    def add(self, number: int) -> Client:
        """A place for clients. Who sends to it says so; nobody is there yet."""
        return self.clients.add(number)

    def remove(self, number: int, now_ns: int) -> list[Effect]:
        """No client comes to that place any more."""
        effects = self.clients[number].leave()
        del self.clients[number]
        return effects + self._settle(now_ns)

    def sent(self, number: int, n: int, now_ns: int) -> Sequence[Effect]:
        """So many messages were sent, or are about to be; then wait until it is `covered`.

        Nothing and less than nothing is ignored.
        """
        if n <= 0:
            return _NOTHING
        self.clients[number].sent += n
        if self.phase is Phase.AWAKE:
            return _NOTHING
        return self._settle(now_ns)

    def asked(
        self, number: int, request: object, now_ns: int, *, processed: int = 0
    ) -> list[Effect]:
        """A client asks for a baton, and says how much it has processed if it likes."""
        if self.phase is Phase.ENDED:
            return [Refuse(number, request, "ended")]
        return self.clients[number].ask(request, processed) + self._settle(now_ns)

    def subscribed(self, number: int, now_ns: int) -> list[Effect]:
        """Another client has come to that place: from here on its messages are counted."""
        return self.clients.subscribe(number) + self._settle(now_ns)

    def gone(self, number: int, now_ns: int) -> list[Effect]:
        """The client of that place has gone: its connection is closed."""
        return self.clients[number].leave() + self._settle(now_ns)

    def undelivered(self, number: int, epoch: int, now_ns: int) -> list[Effect]:
        """A baton could not be delivered: the client went, or will be said to have gone."""
        self.clients[number].undelivered(epoch)
        return self._settle(now_ns)

    def lets_go(self, number: int, epoch: int, index: int, processed: int) -> None:
        """A client lets go of a baton of that index, and has processed so many messages."""
        self.clients[number].lets_go(index, processed, epoch)

    def leaves(self, number: int, epoch: int) -> None:
        """A client processes nothing any more: it is not accounted for."""
        self.clients[number].leaves(epoch)

    # -- the governor -----------------------------------------------------------------------------

    def account(self) -> Account:
        """What is told to the governor with each answer."""
        held = self.lease is Lease.HELD
        each = [client.account(held=held) for client in self.clients.values()]
        return Account(
            clients=sum(one.clients for one in each),
            sent=sum(one.sent for one in each),
            covered=sum(one.covered for one in each),
            processed=sum(one.processed for one in each),
            let_go=sum(one.let_go for one in each),
            saved=self.saved,
            wake_leases=self.saving,
        )

    def awake(self, now_ns: int) -> list[Effect]:
        """The governor, asked after we were registered, says that it is awake."""
        if self.phase is not Phase.UNKNOWN:
            return []  # it has called since: that is newer
        return self._resumed(Event.AWAKE_SEEN, now_ns)

    def before_suspend(self, call: object, now_ns: int) -> list[Effect]:
        """The governor asks; it waits for `Answer`."""
        if self.phase is Phase.ENDED:
            return []
        self._apply(Event.BEFORE_SUSPEND)
        self.flushes += 1
        effects = self._forget_call()
        self._call = call
        return effects + self._settle(now_ns)

    def sleeps(self, now_ns: int, *, begins: bool) -> list[Effect]:
        """The machine goes down of itself; or it is back, or has given that up."""
        self.inevitable = begins
        return self._settle(now_ns)

    def after_resume(self, call: object, now_ns: int) -> list[Effect]:
        """It is over; the machine was down, or the attempt was given up."""
        if self.phase is Phase.ENDED:
            return []
        return [*self._resumed(Event.AFTER_RESUME, now_ns), Answer(call)]

    def held(self, now_ns: int) -> list[Effect]:
        """The wake lease that was wanted is held."""
        if self.phase is Phase.ENDED:
            return [Release()]
        assert self.lease is Lease.WANTED, "a wake lease that nobody wanted"
        self.lease = Lease.HELD
        self.acquired += 1
        self._failures = 0
        if self.phase is not Phase.AWAKE:
            saved = sum(client.unprocessed for client in self.clients.values() if client.due)
            self.saved += saved
            self.saving += saved > 0
        return [Covered(), *self._settle(now_ns)]

    def failed(self, error: Exception) -> list[Effect]:
        """There was no wake lease to be had."""
        if self.phase is Phase.ENDED:
            return []
        self.lease = Lease.NONE
        effects: list[Effect] = [Uncovered(error)]
        if self.phase is Phase.FLUSHING:
            # The answer would be a lie, and to go away counts as one: so let the governor wait.
            effects.append(Retry(min(RETRY_NS << self._failures, RETRY_NS_MAX)))
            self._failures = min(self._failures + 1, 16)
        return effects

    def retry(self, now_ns: int) -> list[Effect]:
        """The pause after a failure is over."""
        return self._settle(now_ns)

    def flush(self, now_ns: int) -> list[Effect]:
        """Give a baton to everybody who is owed, though nobody suspends yet."""
        if self.phase is Phase.AWAKE and self.clients.owed:
            self.clients.make_due()
            if self.lease is Lease.NONE:
                return [self._acquire()]
        return self._settle(now_ns)

    # -- time, and the end ------------------------------------------------------------------------

    def expire(self, now_ns: int) -> list[Effect]:
        """What fell due until now."""
        return self.clients.expire(now_ns) + self._settle(now_ns)

    def end(self, error: Exception) -> list[Effect]:
        """The governor is gone, or we go: nothing is covered from now on."""
        if self.phase is Phase.ENDED:
            return []
        self._apply(Event.END)
        effects: list[Effect] = [Uncovered(error), *self.clients.end()]
        if self.lease is Lease.HELD:
            effects.append(Release())
        self.lease = Lease.NONE
        self._call = None
        return effects

    # -- what follows from it ---------------------------------------------------------------------

    def _resumed(self, event: Event, now_ns: int) -> list[Effect]:
        self._apply(event)
        effects = self._forget_call()
        if self.lease is not Lease.NONE:
            self.clients.make_due()  # there is a lease at hand: it may as well cover the rest
        return [Covered(), *effects, *self._settle(now_ns)]

    def _forget_call(self) -> list[Effect]:
        """The governor did not wait for our answer. It is given all the same; it means nothing."""
        call, self._call = self._call, None
        return [] if call is None else [Answer(call)]

    def _settle(self, now_ns: int) -> list[Effect]:
        """Serve, take, release and answer, as far as that can be done now."""
        effects: list[Effect] = []
        if self.phase is Phase.ENDED:
            return effects
        if self.phase is not Phase.AWAKE and self.lease is Lease.NONE and self.clients.owed:
            effects.append(self._acquire())
        if self.lease is Lease.HELD:
            if self.inevitable:
                self.clients.make_due()  # not at the resume, which comes only after the sleep
            effects += self.clients.serve()
            self.clients.wait_from(now_ns)
        if self.phase is Phase.FLUSHING and self._may_answer():
            self._apply(Event.ANSWERED)
            effects.append(Answer(self._call))
            self._call = None
        if self.lease is Lease.HELD and self._may_release():
            self.lease = Lease.NONE
            effects.append(Release())
        return effects

    def _may_release(self) -> bool:
        if self.phase is Phase.AWAKE:
            return not self.clients.due
        return self.inevitable and self.phase is Phase.DOWN and not self.clients.owed

    def _may_answer(self) -> bool:
        return self.lease is Lease.HELD or not self.clients.owed

    def _acquire(self) -> Acquire:
        self.lease = Lease.WANTED
        self.clients.make_due()
        return Acquire()

    def _apply(self, event: Event) -> None:
        following = TRANSITIONS.get((self.phase, event))
        assert following is not None, f"{event.value} while {self.phase.value}"
        self.phase = following
