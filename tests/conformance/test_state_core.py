"""The conformance suite over the C core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import state
from holdfast.testing.conformance import Make, NamespaceConformance, Stranger
from tests.fixtures_state import MakePeer
from tests.peer import Peer

# What the core does not do yet, and why that is wrong. Each goes when its defect does.
DEFECTS = {
    "test_two_handles_on_one_state_are_no_two_members": (
        "a member through a second handle is let in: each aborts the other, and the commit is Busy"
    ),
    "test_a_throttled_reader_does_not_hold_up_a_transaction": (
        "a throttled read-only member is copied as shown, not as it is: it conflicts with itself"
    ),
    "test_throttling_takes_no_news_away": (
        "throttle() takes a look of its own: what nobody has been shown is no news any more"
    ),
    "test_a_handle_that_was_not_throttled_remembers_what_it_showed": (
        "throttle() shows the newest at once, however short ago another version was shown"
    ),
    "test_versions_never_go_back": (
        "a snapshot of several states shows a throttled handle's newest, its next read an older one"
    ),
    "test_closing_a_handle_ends_its_changes": (
        "close() does not wake a task that waits in changes(): it waits for ever"
    ),
}


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
    def __init__(self, directory: Path, peer: MakePeer) -> None:
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


class TestCore(NamespaceConformance):
    @pytest.fixture(autouse=True)
    def defects(self, request: pytest.FixtureRequest) -> None:
        reason = DEFECTS.get(request.node.originalname)
        if reason is not None:
            request.node.add_marker(pytest.mark.xfail(strict=True, reason=reason))

    @pytest.fixture
    def make(self, directory: Path, peer: MakePeer) -> Iterator[Make]:
        make = MakeCore(directory, peer)
        yield make
        make.close()
