"""Transactions of states that are gated by a lease in shared memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import state
from holdfast.errors import (
    Conflict,
    Deleted,
    InvalidArgument,
    LeaseLost,
)
from holdfast.lease.stores.local import LocalStore, handles
from tests.unit.lease.local.shared import (
    LONG_NS,
    Hands,
    MakeStore,
    hand_over,
    pass_end,
    value_of,
)


def test_a_gated_transaction_commits_while_the_lease_is_held(
    store: LocalStore, counter: state.State
) -> None:
    record = store.claim("n", "a", LONG_NS)
    for number in range(3):
        with counter.transaction() as txn:
            store.gate(record, txn)
            txn.value = (number,)
    with counter.transaction() as txn:
        txn.value = (7,)
        store.gate(record, txn)  # last is as good as first
        store.gate(record, txn)  # and twice as good as once
    assert value_of(counter) == 7


def test_a_state_of_the_default_place_is_gated_by_a_store_of_the_default_place(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(directory))
    with LocalStore() as store, state.subscribe("mine", "rw", size=8) as mine:
        record = store.claim("n", "a", LONG_NS)
        with mine.transaction() as txn:
            store.gate(record, txn)
            txn.data[0] = 1
        assert mine.version == 1


@pytest.mark.parametrize("change", ["released", "expired", "claimed", "claimed by the same"])
def test_a_transaction_that_was_gated_before_the_hand_over_conflicts(
    clock: Hands, store: LocalStore, other: LocalStore, counter: state.State, change: str
) -> None:
    record = store.claim("n", "a", 1)
    txn = counter.transaction()
    store.gate(record, txn)
    txn.value = (1,)
    if change == "released":
        other.release(record)
    elif change == "expired":
        pass_end(clock, record)
        other.expire("n")
    else:
        hand_over(clock, other, record, "a" if change == "claimed by the same" else "b")
    with pytest.raises(Conflict):
        txn.commit()
    assert value_of(counter) is None


@pytest.mark.parametrize("successor", [None, "a", "b"])
def test_a_transaction_of_one_who_has_lost_the_lease_is_refused(
    clock: Hands,
    store: LocalStore,
    other: LocalStore,
    counter: state.State,
    successor: str | None,
) -> None:
    record = store.claim("n", "a", 1)
    if successor:
        hand_over(clock, other, record, successor)
    else:
        other.release(record)
    txn = counter.transaction()
    txn.value = (1,)
    with pytest.raises(LeaseLost):
        store.gate(record, txn)
    assert not txn.active  # whoever swallows the error cannot commit by mistake
    with counter.transaction() as txn:
        txn.value = (2,)  # nothing but the gate keeps it from that
    assert value_of(counter) == 2


def test_a_lease_that_never_was_gates_nothing(
    make: MakeStore, store: LocalStore, counter: state.State
) -> None:
    record = make(namespace="elsewhere").claim("n", "a", LONG_NS)
    with pytest.raises(LeaseLost), counter.transaction() as txn:
        store.gate(record, txn)


def test_renewals_do_not_disturb_what_is_gated(
    clock: Hands, store: LocalStore, other: LocalStore, counter: state.State
) -> None:
    record = store.claim("n", "a", 10)
    for number in range(3):
        with counter.transaction() as txn:
            store.gate(record, txn)
            txn.value = (number,)
            clock.now_ns += 5
            other.extend(record, 10)
    assert value_of(counter) == 2
    assert counter.info().conflicts == 0


def test_a_conflict_of_the_users_own_states_is_said_by_the_gate(
    store: LocalStore, place: state.Namespace, counter: state.State
) -> None:
    record = store.claim("n", "a", LONG_NS)
    txn = counter.transaction()
    with counter.transaction() as faster:
        faster.value = (1,)
    with pytest.raises(Conflict):
        store.gate(record, txn)


def test_what_cannot_be_gated_is_said_at_once(
    store: LocalStore, counter: state.State, tmp_path: Path
) -> None:
    record = store.claim("n", "a", LONG_NS)
    ended = counter.transaction()
    ended.abort()
    with pytest.raises(InvalidArgument, match="ended"):
        store.gate(record, ended)
    with state.Namespace(tmp_path / "elsewhere") as far:
        abroad = far.subscribe("s", "rw", size=8)
        with pytest.raises(InvalidArgument, match="another directory"):
            store.gate(record, abroad.transaction())
    mine = counter.transaction()
    counter.delete()
    with pytest.raises(Deleted):
        store.gate(record, mine)
    with pytest.raises(TypeError):
        store.gate(record, counter)


def test_a_gate_holds_when_the_handle_had_to_make_room(
    make: MakeStore, counter: state.State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "HANDLES_MAX", 8)
    store = make()
    held = [store.claim(f"n{i}", "a", LONG_NS) for i in range(2)]
    first, second = counter.transaction(), counter.transaction()
    for record, txn in zip(held, (first, second), strict=True):
        store.gate(record, txn)
        txn.value = (record.epoch,)
    for i in range(50):
        store.claim(f"m{i}", "a", LONG_NS)
    assert not {"n0", "n1"} & set(store._handles.slots)
    first.commit()
    assert value_of(counter) == held[0].epoch
    store.release(held[1])
    with pytest.raises(Conflict):
        second.commit()
