"""Optimistic lease management: no wake lease is taken before the governor says that it suspends.

A *head* produces messages, stages pass them on, and nobody takes a wake lease for each. Both sides
count. When the governor asks the head before a suspend, the head takes one wake lease if there are
messages for which no *baton* was delivered: a copy of it goes to each client together with an
index, and the client holds it until it has processed that many messages. So the machine cannot go
down between a message that was sent and the one who has to deal with it; and it costs one wake
lease per attempt to suspend, however many messages there are.

The promise, at every instant at which the machine may go down, for every client: it has processed
what was sent to it, or a wake lease exists somewhere.

=============  ===================================================================================
``sender``     `Sender`: the head; it alone takes wake leases; any number of clients
``receiver``   `Receiver`: a client; holds the baton until its index is processed
``relay``      `Relay`: the output of a stage in the middle; passes batons on, takes none
``clients``    `Client`: what a head or a relay knows of one client: counts, epoch, its request
``effects``    what they want done
=============  ===================================================================================

All of it is pure: inputs are methods, time is an argument, what is wanted comes back as values.

Sources: the seed on optimistic lease management, which names the two kinds of instants at which a
lease is taken, the index, and the request that waits for a baton. What it leaves open, and where
this departs from the program that it describes, is in ``docs/design/wake.md``.
"""

from __future__ import annotations

from holdfast.wake.sequence.clients import Client, Presence
from holdfast.wake.sequence.effects import (
    Acquire,
    Answer,
    Covered,
    Deliver,
    Effect,
    Lost,
    Refuse,
    Release,
    Retry,
    Unclaimed,
    Uncovered,
)
from holdfast.wake.sequence.receiver import Receiver
from holdfast.wake.sequence.relay import Relay
from holdfast.wake.sequence.sender import TRANSITIONS, Event, Lease, Phase, Sender

__all__ = [
    "TRANSITIONS",
    "Acquire",
    "Answer",
    "Client",
    "Covered",
    "Deliver",
    "Effect",
    "Event",
    "Lease",
    "Lost",
    "Phase",
    "Presence",
    "Receiver",
    "Refuse",
    "Relay",
    "Release",
    "Retry",
    "Sender",
    "Unclaimed",
    "Uncovered",
]
