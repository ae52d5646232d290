"""What the head of a pipeline accounts for whenever the governor asks it before a suspend. Pure.

The promise of optimistic lease management is that at each entry of the back-end everything that was
sent has been processed, or a wake lease exists. At the entry none does; so what was sent must have
been processed. Two processes know a part of that, and each tells what it knows::

    head      sent ........................ so many messages were sent
              covered ..................... of these, so many by a baton that was delivered
    client    processed ................... so many are processed, said as it lets go of a baton
              let go ...................... and so many more the baton had covered, and are not

What is not covered, and what was let go of unprocessed, is **stranded**: that is known, by what the
one said who must know. What is covered, and its client has not said that it is processed, is
**unknown**: the client has died, or lost its baton, or its word is still on its way.

It is all a claim of the program whose account it is. It is checked because faults happen, and not
against somebody who lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec

__all__ = ["Account", "Count", "Pipeline"]

# How many of something, as somebody says who may be anybody.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Account(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of all clients of one head that are there; what nobody would process is not in it.

    Attributes:
        clients: How many there are.
        sent: Messages, since each of them began.
        covered: Of these, by a baton that was delivered, or by a wake lease that the head holds.
        processed: Of these, by what the clients said.
        let_go: Of those that are covered: not processed when the client let go of their baton.
        saved: Messages that a wake lease was taken for because a suspend would have stranded them,
            since the head began.
        wake_leases: How many wake leases that took.
    """

    clients: Count = 0
    sent: Count = 0
    covered: Count = 0
    processed: Count = 0
    let_go: Count = 0
    saved: Count = 0
    wake_leases: Count = 0

    @property
    def stranded(self) -> int:
        """How many messages, if the machine goes down now and no wake lease exists."""
        return max(0, self.sent - self.covered) + self.let_go

    @property
    def unknown(self) -> int:
        """Of how many nobody has said that they are processed."""
        return max(0, self.covered - self.processed - self.let_go)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The account that one head gave in one attempt.

    Attributes:
        listener_id: Of its listener.
        name: Of its listener, and of its wake leases.
        by: Which process it is.
        account: As it answered, before the suspend.
        stranded: How many messages were stranded when the back-end was entered; 0: none, or it was
            not entered.
        unknown: Of how many nobody had said, by the end of the attempt, that they are processed.
    """

    listener_id: int
    name: str
    by: str
    account: Account
    stranded: int = 0
    unknown: int = 0
