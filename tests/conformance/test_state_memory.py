"""The conformance suite over the stand-in for simulations."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.testing import MemoryNamespace, MemoryState, snapshot
from holdfast.testing.conformance import Make, NamespaceConformance, Stranger


class SteppedClock:
    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000

    def boottime_ns(self) -> int:
        return self.now_ns

    monotonic_ns = realtime_ns = boottime_ns


class MemoryStranger:
    def __init__(self, namespace: MemoryNamespace, name: str, permissions: str) -> None:
        self._namespace = namespace
        self._state = namespace.subscribe(name, permissions)

    def put(self, data: bytes) -> None:
        self._state.transact(lambda txn: txn.write(0, data))

    def leave(self) -> None:
        self._namespace.close()

    def die(self) -> None:
        self._namespace.crash()


class MakeMemory:
    def __init__(self) -> None:
        self._clock = SteppedClock()
        self._first = MemoryNamespace(self._clock)

    def __call__(self, *, mode: int = 0o600, retain: bool = False) -> Any:
        return self._first.again(mode=mode, retain=retain)

    def elsewhere(self) -> Any:
        return MemoryNamespace(self._clock)

    def stranger(self, name: str, permissions: str = "r") -> Stranger:
        return MemoryStranger(self._first.process(), name, permissions)

    def snapshot(self, *states: MemoryState) -> tuple[Any, ...]:
        return snapshot(*states)

    def advance(self, elapsed_ns: int) -> None:
        self._clock.now_ns += elapsed_ns


class TestMemory(NamespaceConformance):
    @pytest.fixture
    def make(self) -> Make:
        return MakeMemory()
