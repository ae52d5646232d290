"""Waiting for leases in shared memory."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from holdfast import state
from holdfast.errors import (
    Closed,
)
from holdfast.lease import Record
from holdfast.lease.stores.local import LocalStore, handles
from tests.fixtures_lease import until
from tests.unit.lease.local.shared import (
    LONG_NS,
    open_files,
    own_name,
    rests,
    soon,
)


@pytest.mark.parametrize("change", ["claim", "extend", "extend again", "release", "pin", "delete"])
def test_a_wait_for_one_lease_ends_at_the_commit(
    store: LocalStore,
    other: LocalStore,
    place: state.Namespace,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    """And not because of a poll: between two looks there is none."""
    looks: list[str] = []
    look = LocalStore.look

    def counted(self: LocalStore, name: str) -> Record | None:
        looks.append(name)
        return look(self, name)

    monkeypatch.setattr(LocalStore, "look", counted)
    record = other.claim("n", "a", 10)
    if change == "extend again":
        record = other.extend(record, 100)
    if change == "claim":
        other.release(record)
    store.look("n")
    looks.clear()
    acts: dict[str, Callable[[], object]] = {
        "claim": lambda: other.claim("n", "b", 10),
        "extend": lambda: other.extend(record, LONG_NS),
        "extend again": lambda: other.extend(record, LONG_NS),
        "release": lambda: other.release(record),
        "pin": lambda: other.pin("n", "ops"),
        "delete": lambda: place.subscribe(own_name("n"), "rw").delete(),
    }
    timer = soon(acts[change])
    assert store.wait_changed(30, name="n")
    timer.join()
    assert len(looks) <= 6
    assert store.records().get("n") == other.look("n")


def test_a_wait_wakes_for_a_lease_that_never_was(store: LocalStore, other: LocalStore) -> None:
    timer = soon(lambda: other.claim("new", "a", 10))
    assert store.wait_changed(30, name="new")
    timer.join()
    assert store.records()["new"].holder == "a"


@pytest.mark.parametrize("name", ["n", None])
def test_a_wait_ends_when_the_store_is_closed(store: LocalStore, name: str | None) -> None:
    store.claim("n", "a", LONG_NS)
    before = open_files()
    timer = soon(store.close)
    with pytest.raises(Closed):
        store.wait_changed(30, name=name)
    timer.join()
    assert open_files() < before


@pytest.mark.parametrize("name", ["n", None])
def test_a_wait_can_be_interrupted(store: LocalStore, name: str | None) -> None:
    store.claim("n", "a", LONG_NS)
    before = open_files()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        assert until(lambda: rests(main))
        signal.pthread_kill(main, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        store.wait_changed(300, name=name)
    interrupter.join()
    if name is None:
        assert open_files() <= before
    assert store.wait_changed(0, name=name) is False


def test_a_wait_leaves_no_descriptors(store: LocalStore) -> None:
    store.wait_changed(0.01, name="n")
    before = open_files()
    for _ in range(5):
        assert store.wait_changed(0.01, name="n") is False
        assert store.wait_changed(0.01) is False
    assert open_files() <= before


def test_waits_for_many_leases_keep_the_descriptors_of_a_few(store: LocalStore) -> None:
    assert store.wait_changed(0.01, name="n") is False
    one = open_files()
    for i in range(10):
        assert store.wait_changed(0.01, name=f"n{i}") is False
    assert open_files() <= one + 30  # two for each lease, and eight for one more that is watched
    assert len(store._waiting._idle) == 2


def test_a_second_wait_for_the_same_lease_opens_nothing(
    store: LocalStore, other: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And closes nothing: the kernel takes its time for that."""
    record = other.claim("n", "a", LONG_NS)
    store.wait_changed(0.01, name="n")
    store.wait_changed(0.01, name="n")

    def opened(*_: object) -> None:
        raise AssertionError("handles were opened")

    monkeypatch.setattr(handles.Handles, "subscribe", opened)
    timer = soon(lambda: other.release(record))
    assert store.wait_changed(30, name="n")
    timer.join()
    assert "n" not in store.records()
