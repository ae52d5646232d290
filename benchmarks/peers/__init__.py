"""What we are measured beside: one file for each.

A peer knows how to make a store of some bytes in a directory and how to attach to it from another
process, and has for each verb the statement that its users would write:

    read         the newest bytes, as `bytes`
    write        new bytes, as one transaction where the peer has transactions
    commit       the same without a ``with`` block
    update       read, change and write, so that nobody else's change is lost
    readinto, view, check (is what I have the newest?), snapshot,
    abort (start a transaction and abort it), wait (for a change, then read it);

and for leases:

    hold         have the lock or lease, and give it back, as one block
    acquire      wait for it, and have it
    release      give it back
    extend       promise it for as long again
    promise      acquire it for one second
    claim        take a lease, or insert a row; then give it back: two durable transactions
    take         the first half alone, each time another name
    gated        a transaction of the user's, one row written; with a lease, gated by it

Nothing is imported before it is asked for: a peer whose wheel is missing is reported as `Missing`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.synchronize import Lock

    from benchmarks.measure import Statement

__all__ = [
    "LEASES",
    "NAMES",
    "OURS",
    "STATES",
    "Missing",
    "Peer",
    "Place",
    "Store",
    "payloads",
    "peer",
    "versions",
    "wheel",
]

OURS = "holdfast"

# What each part is measured beside: the names that the tables have, and the modules here.
STATES = {
    OURS: "holdfast_states",
    "lmdb": "lmdb_peer",
    "iceoryx2": "iceoryx2_peer",
    "redis": "redis_peer",
    "shared_memory": "shared_memory_peer",
    "sqlite": "sqlite_peer",
    "bytearray": "bytearray_floor",
}
LEASES = {
    OURS: "holdfast_leases",
    "redis": "redis_peer",
    "filelock": "filelock_peer",
    "flock": "flock_floor",
    "bare transaction": "bare_transaction",
}
NAMES = tuple(STATES)


class Missing(Exception):
    """The peer cannot be measured here, and why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is: everything that another process needs to attach to it.

    Attributes:
        directory: For files and sockets.
        name: Of the store in it.
        size: Bytes in it.
        lock: One for all who use it.
        url: Of the leases, and of the database that they are in, if it is one.
    """

    directory: str
    name: str
    size: int
    lock: Lock
    url: str = ""


class Store(Protocol):
    """A peer's store, open in this process."""

    def statement(self, verb: str) -> Statement | None:
        """The statement for a verb; None if there is no such thing here."""
        ...

    def close(self) -> None:
        """Give back what this process holds; whoever made the store ends it."""
        ...


class Peer(Protocol):
    """A module of this package."""

    shared: bool  # between processes

    def version(self) -> str:
        """The version measured; raises `Missing`."""
        ...

    def create(self, place: Place) -> Store:
        """Make a store with `place.size` bytes written; raises `Missing`."""
        ...

    def attach(self, place: Place) -> Store:
        """Open, in another process, what `create` has made."""
        ...


def peer(name: str, among: Mapping[str, str] = STATES) -> Peer:
    """The peer of that name."""
    found: Peer = importlib.import_module(f"{__name__}.{among[name]}").PEER
    return found


def versions(among: Mapping[str, str]) -> dict[str, Callable[[], str]]:
    """What tells the version of each; it raises `Missing`."""

    def version(name: str) -> str:
        return peer(name, among).version()

    return {name: partial(version, name) for name in among}


def wheel(module: str) -> Any:
    """Import what a wheel brings, or say that it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Missing(f"{module} is not installed ({error}): the extra [bench] has it") from error


def wheel_version(distribution: str) -> str:
    """The version of an installed wheel."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise Missing(f"{distribution} is not installed: the extra [bench] has it") from error


def payloads(size: int) -> tuple[bytes, bytes]:
    """Two payloads that differ, so that every write writes something else than was there."""
    chance = random.Random(size)
    return chance.randbytes(size), chance.randbytes(size)
