"""What the suite for namespaces of states asks of those who run it."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

__all__ = ["Make", "NamespaceSuite", "Stranger", "number", "put"]


class Stranger(Protocol):
    """Another process that is subscribed to one state."""

    def put(self, data: bytes) -> None:
        """Commit these bytes at the beginning of the state."""
        ...

    def leave(self) -> None:
        """Unsubscribe in good order."""
        ...

    def die(self) -> None:
        """Be killed, without a chance to do anything."""
        ...


class Make(Protocol):
    """Makes what one test needs; everything of it shares one directory, unless it says otherwise.

    Namespaces and states are `Any` here, because they are duck-typed: they have the face of
    `holdfast.state.Namespace` and `holdfast.state.State`.
    """

    def __call__(self, *, mode: int = 0o600, retain: bool = False) -> Any:
        """A namespace object of this process; each call makes another, on the same directory."""
        ...

    def elsewhere(self) -> Any:
        """A namespace of this process on another directory."""
        ...

    def stranger(self, name: str, permissions: str = "r") -> Stranger:
        """Another process, subscribed to that state."""
        ...

    def snapshot(self, *states: Any) -> tuple[Any, ...]:
        """The function that takes a snapshot of several states at once."""
        ...

    def advance(self, elapsed_ns: int) -> None:
        """Let so much time pass for throttled handles; no other time may pass for them."""
        ...


class NamespaceSuite:
    """The fixtures of every part of the suite."""

    @pytest.fixture
    def make(self) -> Make:
        """To be overridden: what makes the namespaces under test."""
        raise NotImplementedError("give the suite a fixture `make`")

    @pytest.fixture
    def namespace(self, make: Make) -> Any:
        """A namespace, empty."""
        return make()

    @pytest.fixture
    def writer(self, namespace: Any) -> Any:
        """A writable handle on the state "s" of eight bytes."""
        return namespace.subscribe("s", "rw", size=8)

    @pytest.fixture
    def reader(self, namespace: Any, writer: Any) -> Any:
        """A read-only handle on the same."""
        return namespace.subscribe("s")


def put(state: Any, value: int) -> int:
    """Commit a number; the version that it became."""
    txn = state.transaction()
    txn.data[:8] = value.to_bytes(8, "little")
    version = txn.commit(force=True)
    assert type(version) is int
    return version


def number(data: bytes) -> int:
    """The number that was put there."""
    return int.from_bytes(data[:8], "little")
