"""What the conformance suite is run over: the C core, and its stand-in for simulations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from holdfast import state
from holdfast.testing import MemoryNamespace, MemoryState, snapshot
from holdfast.testing.conformance import Stranger
from tests.peer import Peer

# -- the C core -----------------------------------------------------------------------------------


class SteppedNamespace(state.Namespace):
    """Its handles take the time of throttling from the test, not from the kernel."""

    now_ns = 1_000_000_000_000

    def subscribe(self, *args: Any, **options: Any) -> state.State:
        handle = super().subscribe(*args, **options)
        handle._pretend(self.now_ns)
        return handle

    def set_time(self, now_ns: int) -> None:
        self.now_ns = now_ns
        for handle in list(self._states):
            handle._pretend(now_ns)


class CoreStranger:
    def __init__(self, peer: Peer, name: str, permissions: str) -> None:
        self._peer = peer
        peer(f"s = ns.subscribe({name!r}, {permissions!r})")

    def put(self, data: bytes) -> None:
        self._peer(f"s.transact(lambda txn: txn.write(0, {data!r}))")

    def leave(self) -> None:
        self._peer("s.close()")

    def die(self) -> None:
        self._peer.kill()


class MakeCore:
    def __init__(self, directory: Path, peer: Callable[..., Peer]) -> None:
        self._directory = directory
        self._peer = peer
        self._now_ns = SteppedNamespace.now_ns
        self._made: list[SteppedNamespace] = []

    def __call__(self, *, mode: int = 0o600, retain: bool = False) -> Any:
        return self._remember(SteppedNamespace(self._directory, mode=mode, retain=retain))

    def elsewhere(self) -> Any:
        return self._remember(SteppedNamespace(f"{self._directory}.elsewhere"))

    def _remember(self, namespace: SteppedNamespace) -> SteppedNamespace:
        namespace.now_ns = self._now_ns
        self._made.append(namespace)
        return namespace

    def stranger(self, name: str, permissions: str = "r") -> Stranger:
        return CoreStranger(self._peer(), name, permissions)

    def snapshot(self, *states: state.State) -> tuple[Any, ...]:
        return state.snapshot(*states)

    def advance(self, elapsed_ns: int) -> None:
        self._now_ns += elapsed_ns
        for namespace in self._made:
            namespace.set_time(self._now_ns)

    def close(self) -> None:
        for namespace in self._made:
            namespace.close()


# -- the stand-in ---------------------------------------------------------------------------------


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
