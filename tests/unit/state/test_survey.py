"""Looking over a namespace, and clearing up after the dead."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.state import Namespace
from tests.fixtures_state import MakePeer


def conditions(namespace: Namespace) -> dict[str, str]:
    return {entry.name: entry.condition for entry in namespace.survey()}


def kill_one_that_has(peer: MakePeer, *names: str) -> None:
    one = peer()
    for name in names:
        one(f"{name} = ns.subscribe({name!r}, 'rw', size=64)")
        one(f"{name}.transact(lambda txn: txn.write(0, b'x'))")
    one.kill()


def test_a_survey_says_for_whom_each_state_is_there(
    namespace: Namespace, directory: Path, peer: MakePeer
) -> None:
    """K26: subscribed, retained, left over by the dead, damaged; and it changes nothing."""
    kill_one_that_has(peer, "dead")
    with Namespace(directory, retain=True) as retaining:
        retaining.subscribe("kept", "rw", size=64).close()
    live = namespace.subscribe("live", "rw", size=256)
    live.transact(lambda txn: txn.write(0, b"x"))
    (directory / "odd.state").write_bytes(b"no state at all")
    expected = {"dead": "left over", "kept": "retained", "live": "subscribed", "odd": "damaged"}
    for _ in range(2):
        # Looking once more finds the same, unless a subscription in passing has swept the dead.
        found = conditions(namespace)
        assert found.pop("dead", "left over") == "left over"
        assert found == {name: what for name, what in expected.items() if name != "dead"}
    entry = next(entry for entry in namespace.survey() if entry.name == "live")
    assert (entry.size, entry.version) == (256, 1)
    assert entry.time_ns == live.snapshot().time_ns
    assert entry.memory_bytes == live.info().memory_bytes
    assert (directory / "odd.state").read_bytes() == b"no state at all"


def test_a_sweep_removes_what_the_dead_left_and_nothing_else(
    namespace: Namespace, directory: Path, peer: MakePeer
) -> None:
    """K26: the memory of those killed is given back without waiting for the name to be used."""
    kill_one_that_has(peer, "a", "b", "c")
    with Namespace(directory, retain=True) as retaining:
        retaining.subscribe("kept", "rw", size=64).close()
        live = retaining.subscribe("live", size=64)
        left = {name for name, what in conditions(namespace).items() if what == "left over"}
        assert set(namespace.sweep()) == left
        assert namespace.sweep() == []
        assert conditions(namespace) == {"kept": "retained", "live": "subscribed"}
        assert live.read() == bytes(64)
        live.close()


def test_whoever_makes_a_state_sweeps_a_few_of_the_dead(
    namespace: Namespace, peer: MakePeer
) -> None:
    """K26: bounded, so that it slows nobody down."""
    kill_one_that_has(peer, *(f"dead{i}" for i in range(6)))
    with namespace.subscribe("fresh", "rw", size=64):
        assert namespace.names() == ["fresh"]


def test_a_state_that_was_deleted_half_way_is_left_over(
    namespace: Namespace, directory: Path, peer: MakePeer
) -> None:
    """K32: its head says deleted, its file is still there."""
    one = peer(retain=True)
    one("s = ns.subscribe('s', 'rw', size=64)")
    one("s._mark_deleted()")
    one.kill()
    assert conditions(namespace) == {"s": "left over"}
    assert namespace.sweep() == ["s"]
    assert sorted(os.listdir(directory)) == [".lock"]
