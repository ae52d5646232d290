"""Leases in shared memory that cannot be read or do not fit, and handles that are too many."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast import state
from holdfast.errors import (
    InvalidArgument,
    LeaseError,
    StaleRecord,
    Unavailable,
    Unsupported,
)
from holdfast.lease import Record
from holdfast.lease.stores.local import LocalStore, handles
from tests.fixtures_state import RunScript
from tests.unit.lease.local.shared import (
    LONG_NS,
    MakeStore,
    open_files,
    own_name,
    term_name,
)
from tests.unit.state.test_resources import AS_ROOT, unshare

# -- what cannot be read, or does not fit ---------------------------------------------------------


def test_a_record_that_was_overwritten_concerns_that_lease_alone(
    make: MakeStore, place: state.Namespace
) -> None:
    with make() as before:
        healthy = before.claim("healthy", "a", LONG_NS)
        records = [before.claim(name, "a", LONG_NS) for name in ("bad", "swapped", "later")]
        before.extend(before.claim("bad term", "a", 1), LONG_NS)

    def write(name: str, data: bytes) -> None:
        place.subscribe(name, "rw").transact(lambda txn: txn.write(0, data))

    write(own_name("bad"), b"something else, which is no record")
    write(own_name("swapped"), place.subscribe(own_name("healthy")).read())
    write(own_name("later"), b"HFL\x02")
    write(term_name("bad term"), b"HFL\x01\x04\x00\x00\x00zzzz")
    store = make()
    assert store.refresh() == {"healthy": healthy}
    for name, kind in (
        ("bad", LeaseError),
        ("swapped", LeaseError),
        ("later", Unsupported),
        ("bad term", LeaseError),
    ):
        calls: list[Callable[[], object]] = [
            lambda name=name: store.claim(name, "b", 1),  # type: ignore[misc]
            lambda name=name: store.look(name),  # type: ignore[misc]
            lambda name=name: store.expire(name),  # type: ignore[misc]
        ]
        for call in calls:
            with pytest.raises(kind) as caught:
                call()
            assert not isinstance(caught.value, StaleRecord)
            assert caught.value.on == name
            assert "into the state lease." in str(caught.value)
    assert [type(one) for one in store.extend_many([(records[0], 1), (healthy, 1)])] == [
        LeaseError,
        Record,
    ]
    assert store.release(healthy)


def test_a_file_that_is_no_state_concerns_that_lease_alone(
    make: MakeStore, place: state.Namespace
) -> None:
    with make() as before:
        before.claim("bad", "a", LONG_NS)
        healthy = before.claim("healthy", "a", LONG_NS)
    path = Path(place.path) / f"{own_name('bad')}.state"
    path.write_bytes(b"x" * path.stat().st_size)
    store = make()
    assert store.refresh() == {"healthy": healthy}
    with pytest.raises(LeaseError):
        store.claim("bad", "a", 1)


def test_facts_about_the_owner_give_way_to_what_must_be_there(
    store: LocalStore, other: LocalStore
) -> None:
    facts = {"pid": 7, "argv": ["x" * 100] * 50, "why": None}
    record = store.claim("n" * 500, "h" * 500, 1, owner=facts)
    assert record.owner == facts | {"argv": []}
    assert other.look(record.name) == record
    record = store.claim("m", "h" * 500, 1, owner={"why": "y" * 2900})
    assert record.owner is None
    assert other.look("m") == record
    other.pin("m", "p" * 800)  # so much was left


@pytest.mark.parametrize("where", ["name", "holder", "pin"])
def test_what_does_not_fit_into_a_page_is_refused_and_changes_nothing(
    store: LocalStore, other: LocalStore, where: str
) -> None:
    record = store.claim("n", "a", LONG_NS, owner={"pid": 1})
    calls: dict[str, Callable[[], object]] = {
        "name": lambda: store.claim("n" * 5000, "a", 1),
        "holder": lambda: store.claim("m", "h" * 5000, 1),
        "pin": lambda: store.pin("n", "p" * 4000),
    }
    with pytest.raises(InvalidArgument, match="page"):
        calls[where]()
    assert other.refresh() == {"n": record}
    assert other.pins() == {}
    assert store.claim("m", "a", 1).epoch > record.epoch


def test_a_record_grows_and_shrinks_and_grows(store: LocalStore, other: LocalStore) -> None:
    for length in (10, 700, 2000, 10, 3000, 300):
        record = store.claim("n", "h" * length, LONG_NS)
        assert other.look("n") == record
        later = store.extend(record, 2 * LONG_NS)
        assert other.look("n") == later
        assert other.release(record)


ON_A_FULL_DISK = """
    import os, subprocess, sys
    from holdfast.errors import OutOfSpace
    from holdfast.lease.stores.local import LocalStore

    directory = sys.argv[1]
    os.mkdir(directory, 0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", directory]
    subprocess.run(mount, check=True)
    store, other = LocalStore(directory), LocalStore(directory)
    held, failed = [], 0
    for number in range(200):
        try:
            held.append(store.claim(f"n{number}", "a", 10**12))
        except OutOfSpace as error:
            assert isinstance(error, OSError)
            failed += 1
    assert held and failed, (len(held), failed)
    assert other.refresh() == {record.name: record for record in held}
    for record in held:
        try:
            store.extend(record, 10**13)  # there is no room for another state
            raise AssertionError("it was extended")
        except OutOfSpace:
            pass
        assert other.look(record.name) == record
    try:
        store.claim("n0" * 400, "a", 1)
        raise AssertionError("it was made")
    except OutOfSpace:
        pass
    for record in held:
        assert store.release(record)
        assert other.claim(record.name, "b", 1).epoch > record.epoch
    print(len(held), "of 200")
"""


def test_where_there_is_no_room_nothing_is_changed_and_what_is_there_works(
    script: RunScript,
) -> None:
    assert script(ON_A_FULL_DISK, before=unshare()).endswith("of 200")


@AS_ROOT
def test_a_directory_that_cannot_be_written_is_refused(
    store: LocalStore, directory: Path, script: RunScript
) -> None:
    record = store.claim("n", "a", LONG_NS)
    directory.parent.chmod(0o755)
    directory.chmod(0o755)
    said = script("""
        import os, sys
        from holdfast.errors import NotPermitted
        from holdfast.lease.stores.local import LocalStore
        from holdfast.process import boot_id
        boot_id()  # that user may not be able to import what it takes
        os.setgid(65531); os.setuid(65531)
        try:
            LocalStore(sys.argv[1])
        except NotPermitted as error:
            print("refused:", isinstance(error, PermissionError))
    """)
    assert said == "refused: True"
    assert store.refresh() == {"n": record}


# -- the cache of handles -------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_more_names_than_handles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """The files are kept within bounds, and what was written last is what is read."""
    monkeypatch.setattr(handles, "HANDLES_MAX", 100)
    count = 10_000 if full else 500
    with LocalStore(tmp_path / "s") as store, LocalStore(tmp_path / "s") as other:
        before = open_files()
        records = [store.claim(f"n{i}", "a", LONG_NS) for i in range(count)]
        for i in range(0, count, 7):
            records[i] = store.extend(records[i], 2 * LONG_NS)
        assert other.refresh() == {record.name: record for record in records}
        assert [other.look(f"n{i}") for i in range(count)] == records
        assert all(store.release(record) for record in records)
        assert other.refresh() == {}
        assert open_files() <= before + 200 + 5
        assert len(store._handles.slots) <= 50


def test_what_is_used_keeps_its_handle(make: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "HANDLES_MAX", 16)
    store = make()
    record = store.claim("often", "a", LONG_NS)
    slots = set()
    for i in range(100):
        store.claim(f"n{i}", "a", LONG_NS)
        assert store.release(record)
        record = store.claim("often", "a", LONG_NS)
        slots.add(store._handles.slots["often"])
    assert len(slots) == 2  # once it went, when all others had been used too
    assert len(store._handles.slots) == 8


def test_a_look_at_all_leases_takes_no_handle_away(
    make: MakeStore, other: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "HANDLES_MAX", 16)
    store = make()
    store.claim("mine", "a", LONG_NS)
    slot = store._handles.slots["mine"]
    for i in range(50):
        other.claim(f"n{i}", "a", LONG_NS)
    before = open_files()
    assert len(store.refresh()) == 51
    assert store._handles.slots["mine"] is slot
    assert open_files() <= before + 8


def test_threads_whose_handles_are_taken_away_go_on(
    make: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "HANDLES_MAX", 8)
    store = make()
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            for i in range(100):
                name = f"n{number}.{i % 5}"
                record = store.claim(name, "a", LONG_NS)
                assert store.extend(record, 2 * LONG_NS).epoch == record.epoch
                assert store.refresh()[name].epoch == record.epoch
                assert store.release(record)
        except Exception as error:  # noqa: BLE001 - the test wants to know of any
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_process_without_descriptors_is_told_so(store: LocalStore) -> None:
    import resource

    record = store.claim("warm", "a", LONG_NS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # or it could give descriptors back in the midst of it
    taken = os.dup(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
    try:
        with pytest.raises(Unavailable, match="open"):
            store.claim("cold", "a", LONG_NS)
        assert store.release(record)  # what is open goes on
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken)
    assert store.claim("cold", "a", LONG_NS).holder == "a"


def test_states_that_are_deleted_by_hand_are_made_anew(
    store: LocalStore, place: state.Namespace
) -> None:
    record = store.claim("n", "a", LONG_NS)
    store.extend(record, 2 * LONG_NS)
    place.subscribe(own_name("n"), "rw").delete()
    with pytest.raises(StaleRecord):
        store.extend(record, LONG_NS)
    assert store.records() == {}
    assert store.refresh() == {}
    assert store.claim("n", "b", 1).epoch > record.epoch
