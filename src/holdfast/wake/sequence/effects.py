"""What a head or a relay wants done. Each is a value; the driver carries them out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "Acquire",
    "Answer",
    "Covered",
    "Deliver",
    "Effect",
    "Lost",
    "Refuse",
    "Release",
    "Retry",
    "Unclaimed",
    "Uncovered",
]


@dataclass(frozen=True, slots=True)
class Acquire:
    """Take a wake lease, and say `held` or `failed`. There is one at most at any time."""


@dataclass(frozen=True, slots=True)
class Release:
    """Close the wake lease that is held. Copies that were delivered are not ours any more."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Answer a request: a copy of the wake lease that is held, and what it stands for.

    Attributes:
        client: Number of the client.
        request: What was given to `asked`.
        index: How many messages it covers, counted from when this client began.
        epoch: Which client: the count begins anew with each.
    """

    client: int
    request: object
    index: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer a request: there will be no baton for it. Its connection stays as it is.

    Attributes:
        code: "superseded" (the client has asked again, or another client is there) or "ended".
    """

    client: int
    request: object
    code: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the governor's call of that number."""

    call: object


@dataclass(frozen=True, slots=True)
class Covered:
    """Nothing that was sent can be stranded now: let those go on who wait since `sent`."""


@dataclass(frozen=True, slots=True)
class Uncovered:
    """Those who wait since `sent` get this error: no wake lease, so nothing may be acknowledged."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Retry:
    """Call `retry` after so long: the governor waits, and there was no wake lease to be had."""

    after_ns: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A client has gone: of so many messages nobody knows whether they were processed.

    Who comes next begins at nothing, and has to be told what it must know.
    """

    client: int
    epoch: int
    messages: int


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """No client came to ask in time: the machine is not kept awake for these messages any more."""

    client: int
    epoch: int
    messages: int


Effect: TypeAlias = (
    Acquire | Release | Deliver | Refuse | Answer | Covered | Uncovered | Retry | Lost | Unclaimed
)
