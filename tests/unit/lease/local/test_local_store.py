"""Leases in shared memory: what the suite for all stores does not ask for."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import state
from holdfast.errors import (
    Busy,
    Closed,
    InvalidArgument,
    StaleRecord,
    Unavailable,
    Unsupported,
)
from holdfast.lease import rules
from holdfast.lease.stores import local
from holdfast.lease.stores.local import LocalStore, handles, ledger
from holdfast.lease.stores.local.layout import LEDGER, Ledger, pack
from holdfast.process import boot_id
from tests.fixtures_state import RunScript
from tests.unit.lease.local.shared import (
    LONG_NS,
    Hands,
    MakeStore,
    open_files,
    own_name,
    pass_end,
    term_name,
)

# -- two halves of one record ---------------------------------------------------------------------


def test_the_second_state_is_made_by_the_first_extension(
    clock: Hands, store: LocalStore, place: state.Namespace
) -> None:
    record = store.claim("n", "a", 10)
    store.release(record)
    record = store.claim("n", "a", 10)
    assert term_name("n") not in place.names()
    version = place.subscribe(own_name("n")).version
    clock.now_ns += 1
    store.extend(record, 10)
    assert term_name("n") in place.names()
    assert place.subscribe(own_name("n")).version == version


def test_a_term_of_an_earlier_holding_says_nothing_of_this_one(
    clock: Hands, store: LocalStore, other: LocalStore
) -> None:
    record = store.claim("n", "a", 10)
    store.extend(record, LONG_NS)
    store.release(record)
    record = store.claim("n", "a", 10)
    assert other.look("n") == other.refresh()["n"] == record
    pass_end(clock, record)
    other.expire(record)


def in_between(
    monkeypatch: pytest.MonkeyPatch, rule: str, act: Callable[[], object]
) -> Callable[[], int]:
    """Do `act` once, between the look of an operation and its commit."""
    decide = getattr(rules, rule)
    asked = []

    def hooked(*args: Any, **settings: Any) -> Any:
        asked.append(rule)
        if len(asked) == 1:
            act()
        return decide(*args, **settings)

    monkeypatch.setattr(rules, rule, hooked)
    return lambda: len(asked)


@pytest.mark.parametrize("extended_before", [False, True])
def test_an_expiry_that_meets_an_extension_leaves_the_promise(
    clock: Hands,
    store: LocalStore,
    other: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    extended_before: bool,
) -> None:
    record = store.claim("n", "a", 1)
    if extended_before:
        clock.now_ns += 1
        record = store.extend(record, 2)
    pass_end(clock, record)
    asked = in_between(monkeypatch, "expire", lambda: store.extend(record, LONG_NS))
    with pytest.raises(StaleRecord, match="for at least"):
        other.expire("n")
    assert asked() == 2
    assert other.look("n") == store.records()["n"]


@pytest.mark.parametrize("successor", [None, "a", "b"])
def test_an_extension_that_meets_a_hand_over_is_refused(
    store: LocalStore, other: LocalStore, monkeypatch: pytest.MonkeyPatch, successor: str | None
) -> None:
    record = store.claim("n", "a", 10)

    def end() -> None:
        other.release(record)
        if successor:
            other.claim("n", successor, 10)

    asked = in_between(monkeypatch, "extend", end)
    with pytest.raises(StaleRecord):
        store.extend(record, LONG_NS)
    assert asked() == 2
    current = other.look("n")
    assert (current is None) == (successor is None)
    assert current is None or current.duration_ns == 10


def test_of_two_claims_at_once_one_is_told_so(
    store: LocalStore, other: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_between(monkeypatch, "claim", lambda: other.claim("n", "b", 10))
    with pytest.raises(StaleRecord, match="'b'"):
        store.claim("n", "a", 10)
    assert store.records()["n"].holder == "b"


def test_a_release_that_meets_a_pin_is_made_again(
    store: LocalStore, other: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.claim("n", "a", 10)
    in_between(monkeypatch, "release", lambda: other.pin("n", "ops"))
    assert store.release(record)
    assert other.pins() == {"n": {"ops"}}


def test_who_is_overtaken_all_the_time_gives_up(
    store: LocalStore, other: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "ATTEMPTS_MAX", 3)
    decide, numbers = rules.claim, itertools.count()

    def hooked(*args: Any, **settings: Any) -> Any:
        other.pin("n", f"ops{next(numbers)}")
        return decide(*args, **settings)

    monkeypatch.setattr(rules, "claim", hooked)
    with pytest.raises(Unavailable, match="all the time"):
        store.claim("n", "a", 10)
    assert store.look("n") is None


# -- epochs ---------------------------------------------------------------------------------------


def test_epochs_grow_over_more_than_a_block(store: LocalStore) -> None:
    epochs = []
    for _ in range(2 * ledger.BLOCK + 5):
        record = store.claim("n", "a", 1)
        epochs.append(record.epoch)
        store.release(record)
    assert epochs == list(range(epochs[0], epochs[0] + len(epochs)))  # alone: none is thrown away


def test_epochs_are_unique_among_threads(make: MakeStore) -> None:
    stores = [make(), make()]
    epochs: list[int] = []

    def work(number: int) -> None:
        store = stores[number % 2]
        for i in range(300):
            record = store.claim(f"n{number}.{i % 3}", "a", 1)
            epochs.append(record.epoch)
            store.release(record)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(epochs)) == len(epochs) == 1200


@pytest.mark.parametrize("fate", ["lost", "overwritten"])
def test_epochs_go_on_when_the_ledger_was_destroyed(
    directory: Path, place: state.Namespace, make: MakeStore, store: LocalStore, fate: str
) -> None:
    with make(namespace="elsewhere") as before:
        record = before.claim("n", "a", 1)
        before.release(record)
    store.close()
    if fate == "overwritten":
        place.subscribe(LEDGER, "rw").transact(lambda txn: txn.write(0, b"something else"))
    else:
        place.subscribe(LEDGER, "rw").delete()
    assert make().claim("never seen before", "a", 1).epoch > record.epoch


def test_an_epoch_is_greater_than_the_last_of_its_name_whatever_the_ledger_says(
    place: state.Namespace, make: MakeStore
) -> None:
    with make() as before:
        last = [before.claim(name, "a", 1) for name in "ab"]
        for _ in range(2 * ledger.BLOCK):
            before.release(last[1])
            last[1] = before.claim("b", "a", 1)
        for record in last:
            before.release(record)
    old = pack(Ledger(1, boot_id(), ledger.time_offset_ns()))
    place.subscribe(LEDGER, "rw").transact(lambda txn: txn.write(0, old))
    after = make()
    for record in last:
        assert after.claim(record.name, "a", 1).epoch > record.epoch


def test_a_ledger_that_is_deleted_under_a_store_is_made_anew(
    store: LocalStore, place: state.Namespace
) -> None:
    record = store.claim("n", "a", 1)
    store.release(record)
    place.subscribe(LEDGER, "rw").delete()
    later = store.claim("n", "a", 1)
    assert later.epoch > record.epoch
    assert LEDGER in place.names()


# -- one clock ------------------------------------------------------------------------------------


def test_the_clock_is_the_kernels_and_nobody_advances_it(make: MakeStore) -> None:
    store = make(clock=None)
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    reading = store.clock()
    assert before <= reading.now_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert (reading.era, reading.step_ns) == (boot_id(), 0)
    with pytest.raises(Unsupported):
        store.advance(5, since=reading)


def test_a_reboot_ends_every_term_and_nothing_else(
    make: MakeStore, clock: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now_ns = LONG_NS
    with make() as before:
        held = before.claim("held", "a", LONG_NS)
        before.extend(before.claim("extended", "a", 1), LONG_NS)
        before.claim("pinned", "a", LONG_NS)
        before.pin("pinned", "ops")
    clock.now_ns = 5
    monkeypatch.setattr(local, "boot_id", lambda: "another-boot")
    after = make()
    assert {record.holder for record in after.refresh().values()} == {"a"}
    assert [record.name for record in after.overdue()] == ["extended", "held"]
    with pytest.raises(StaleRecord):
        after.claim("held", "b", 1)
    for record in after.overdue():
        after.expire(record)
    with pytest.raises(StaleRecord, match="pinned"):
        after.expire("pinned")
    later = after.claim("held", "b", LONG_NS)
    assert later.epoch > held.epoch
    with pytest.raises(StaleRecord):
        after.expire("held")


def test_a_holder_that_outlived_its_boot_id_can_extend_until_it_is_expired(
    make: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen process that is thawed under another kernel still holds what nobody took."""
    record = make().claim("n", "a", LONG_NS)
    monkeypatch.setattr(local, "boot_id", lambda: "another-boot")
    after = make()
    later = after.extend(record, 100)
    assert (later.epoch, later.era, later.duration_ns) == (record.epoch, "another-boot", 100)
    with pytest.raises(StaleRecord):
        after.expire("n")


def test_who_reads_another_boottime_is_refused(
    store: LocalStore, make: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "time_offset_ns", lambda: 7)
    with pytest.raises(Unsupported, match="7 ns ahead"):
        make()
    monkeypatch.setattr(local, "boot_id", lambda: "another-boot")
    make()  # nobody of this boot was there before


IN_A_TIME_NAMESPACE = """
    import sys
    from holdfast.errors import Unsupported
    from holdfast.lease.stores.local import LocalStore
    from holdfast.lease.stores.local.ledger import time_offset_ns

    print(time_offset_ns(), end=" ")
    try:
        LocalStore(sys.argv[1])
    except Unsupported:
        print("refused")
"""


def test_another_time_namespace_is_noticed(store: LocalStore, script: RunScript) -> None:
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("no time namespaces here")
    for command in (("unshare", "-T"), ("unshare", "-UrT")):
        try:
            said = script(IN_A_TIME_NAMESPACE, before=(*command, "-f", "--boottime", "1000"))
        except (AssertionError, FileNotFoundError):
            continue
        ours = ledger.time_offset_ns()
        assert said == f"{ours + 1000 * 10**9} refused"
        return
    pytest.skip("time namespaces cannot be made here (unshare)")


# -- processes and objects ------------------------------------------------------------------------


def test_a_forks_child_has_no_store(store: LocalStore, other: LocalStore) -> None:
    record = store.claim("n", "a", LONG_NS)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            calls: list[Callable[[], object]] = [
                lambda: store.claim("m", "b", 1),
                lambda: store.release(record),
                lambda: store.extend(record, 1),
                lambda: store.gate(record, other._states.subscribe("x", "rw").transaction()),
                lambda: store.look("n"),
                lambda: store.wait_changed(0),
                store.refresh,
                store.clock,
            ]
            for call in calls:
                try:
                    call()
                except Closed as error:
                    if "after the fork" in str(error):
                        continue
                os._exit(2)
            store.close()
            store.close()
            with LocalStore(store._states.path) as mine:
                assert mine.look("n") is not None
                mine.pin("n", "child")
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.pins() == {"n": {"child"}}
    assert store.release(record)


def test_a_failed_store_leaves_nothing_open(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LocalStore(directory).close()
    before = open_files()
    monkeypatch.setattr(local, "time_offset_ns", lambda: 7)
    with pytest.raises(Unsupported):
        LocalStore(directory)
    monkeypatch.setattr(local, "boot_id", lambda: "")
    with pytest.raises(Unsupported):
        LocalStore(directory)
    with pytest.raises(InvalidArgument):
        LocalStore(directory, namespace="")
    assert open_files() <= before


def test_a_store_that_is_forgotten_closes_its_files(directory: Path) -> None:
    before = open_files()
    for _ in range(3):
        store = LocalStore(directory)
        store.extend(store.claim("n", "a", 1), LONG_NS)
        store.release(store.records()["n"])
        del store
    assert open_files() <= before


def test_a_directory_that_somebody_keeps_locked_is_unavailable(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped while it made a state: nothing was done, and it may come back."""

    def locked(*_: object, **__: object) -> None:
        raise Busy("others are using it", on="lease.store", hint="try later")

    monkeypatch.setattr(local, "Epochs", locked)
    with pytest.raises(Unavailable, match="others are using it"):
        LocalStore(directory)
