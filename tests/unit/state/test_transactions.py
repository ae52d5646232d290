"""Transactions: private until they commit, whole or not at all, and over when they have ended."""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.errors import Closed, Conflict, Deleted, InvalidArgument, NotPermitted
from holdfast.state import Namespace, State, Transaction
from tests.fixtures_state import MakePeer


@pytest.fixture
def state(namespace: Namespace) -> State:
    return namespace.subscribe("s", "rw", size=8)


@pytest.fixture
def other(namespace: Namespace, state: State) -> State:
    return namespace.subscribe("s", "rw")


def put(state: State, data: bytes) -> int:
    txn = state.transaction()
    txn.data[: len(data)] = data
    return txn.commit()


# -- the with block -------------------------------------------------------------------------------


def test_the_block_commits_at_its_end(state: State, other: State) -> None:
    """K9, K41: what was written becomes visible exactly then."""
    with state.transaction() as txn:
        txn.data[:5] = b"draft"
        assert other.read() == bytes(8)
        assert other.version == 0
        assert state.read() == bytes(8)
    assert (other.read(), other.version, txn.version) == (b"draft\0\0\0", 1, 1)
    assert not txn.active


def test_an_exception_in_the_block_aborts(state: State, other: State) -> None:
    """K9: contents and version are as they were, and the exception is the caller's."""
    put(state, b"kept")
    with pytest.raises(ZeroDivisionError), state.transaction() as txn:  # noqa: PT012 - the block is the subject
        txn.data[:5] = b"draft"
        raise ZeroDivisionError
    assert not txn.active
    assert (other.read()[:4], other.version) == (b"kept", 1)


def test_the_block_leaves_alone_what_was_ended_in_it(state: State) -> None:
    """K44: an explicit commit or abort in the block is the end."""
    with state.transaction() as txn:
        txn.data[0] = 1
        txn.commit()
    with state.transaction() as txn:
        txn.data[0] = 2
        txn.abort()
    assert (state.read()[0], state.version) == (1, 1)


def test_a_transaction_that_has_ended_opens_no_block(state: State) -> None:
    """K42, K44: InvalidArgument."""
    txn = state.transaction()
    txn.abort()
    with pytest.raises(InvalidArgument), txn:
        pass


# -- commit, abort, conflict ----------------------------------------------------------------------


def test_a_conflict_tells_both_versions_and_writes_nothing(state: State, other: State) -> None:
    """K10, K46, K47: started and current; the transaction has ended (K44)."""
    put(state, b"one")
    txn = state.transaction()
    txn.data[:] = b"conflict"
    for text in (b"two", b"three"):
        put(other, text)
    with pytest.raises(Conflict) as caught:
        txn.commit()
    assert (caught.value.started, caught.value.current, caught.value.on) == (1, 3, "s")
    assert not txn.active
    assert (state.read()[:5], state.version) == (b"three", 3)


def test_a_conflict_in_the_block_leaves_by_its_end(state: State, other: State) -> None:
    """K9, K46: as an exception."""
    with pytest.raises(Conflict), state.transaction() as txn:  # noqa: PT012 - the block is the subject
        put(other, b"first")
        txn.data[0] = 1
    assert state.read()[:5] == b"first"


def test_starting_never_fails_because_of_others(state: State, other: State) -> None:
    """K10: a thousand open transactions keep nobody from anything."""
    crowd = [other.transaction() for _ in range(1000)]
    assert put(state, b"free") == 1
    for txn in crowd:
        txn.data[0] = 9
    assert sum(1 for txn in crowd if conflicts(txn)) == 1000
    assert state.read()[:4] == b"free"


def conflicts(txn: Transaction) -> bool:
    try:
        txn.commit()
    except Conflict:
        return True
    return False


def test_open_transactions_of_stopped_processes_keep_nobody(state: State, peer: MakePeer) -> None:
    """K10, K48: they hold nothing that others could wait for."""
    stopped = [peer() for _ in range(3)]
    for one in stopped:
        one("s = ns.subscribe('s', 'rw'); t = [s.transaction() for _ in range(100)]")
        one("for x in t: x.data[0] = 1")
        one.start("os.kill(os.getpid(), signal.SIGSTOP)")
        os.waitid(os.P_PID, one.pid, os.WSTOPPED | os.WNOWAIT)
    for number in range(1, 1000):
        assert put(state, number.to_bytes(8, "big")) == number


def test_only_one_of_many_that_started_together_commits(state: State, other: State) -> None:
    """K46, K67: whoever comes first; each of the others conflicts, in whatever order."""
    for order in itertools.permutations(range(4)):
        started = state.version
        txns = [(state, other)[i % 2].transaction() for i in range(4)]
        for i, txn in enumerate(txns):
            txn.data[:2] = bytes([i + 1, started % 256])
        outcomes = [conflicts(txns[i]) for i in order]
        assert outcomes == [False, True, True, True]
        assert state.version == started + 1
        assert state.read()[0] == order[0] + 1


def test_a_value_that_came_back_is_a_change(state: State, other: State) -> None:
    """K59: A, B, A is a conflict: versions are compared, not bytes."""
    put(state, b"A")
    txn = state.transaction()
    txn.data[:] = b"whatever"
    put(other, b"B")
    put(other, b"A")
    with pytest.raises(Conflict):
        txn.commit()
    assert (state.read()[:1], state.version) == (b"A", 3)


def test_without_a_change_commit_is_abort(state: State, other: State) -> None:
    """K45: no version, no news, and no conflict even if somebody committed meanwhile."""
    put(state, b"same")
    state.read()
    txn = state.transaction()
    txn.data[:4] = b"diff"
    txn.data[:4] = b"same"
    assert txn.commit() == 1
    assert (state.version, state.changed()) == (1, False)
    late = state.transaction()
    put(other, b"news")
    assert late.commit() == 1
    assert state.version == 2


def test_force_publishes_the_same_bytes(state: State, other: State) -> None:
    """K45: a new version (a heart-beat), which validates like any other."""
    put(state, b"same")
    other.read()
    assert state.transaction().commit(force=True) == 2
    assert other.changed()
    assert other.read()[:4] == b"same"
    txn = state.transaction()
    put(other, b"new")
    with pytest.raises(Conflict):
        txn.commit(force=True)


def test_a_forced_first_commit_of_zeros_counts_as_written(state: State) -> None:
    """K24, K45: somebody has said that the value is zero."""
    assert state.transaction().commit(force=True) == 1
    assert state.written
    assert state.read(default=None) == bytes(8)


@pytest.mark.parametrize("first", ["commit", "abort"])
@pytest.mark.parametrize("second", ["commit", "abort"])
def test_a_transaction_ends_once(state: State, first: str, second: str) -> None:
    """K43, K44: a second commit or abort is InvalidArgument and does nothing."""
    txn = state.transaction()
    txn.data[0] = 1
    getattr(txn, first)()
    before = state.snapshot()
    with pytest.raises(InvalidArgument):
        getattr(txn, second)()
    assert state.snapshot() == before


def test_abort_always_succeeds(namespace: Namespace, state: State, other: State) -> None:
    """K43: after a change by others, after deletion, after closing."""
    txns = [state.transaction() for _ in range(4)]
    put(other, b"changed")
    txns[0].abort()
    other.delete()
    txns[1].abort()
    state.close()
    txns[2].abort()
    namespace.close()
    txns[3].abort()
    assert not any(txn.active for txn in txns)


# -- two transactions, in all orders --------------------------------------------------------------

ENDS = ("commit", "abort")
SHAPES = {
    "nested": "start-1 start-2 end-2 end-1",
    "interleaved": "start-1 start-2 end-1 end-2",
    "in turn": "start-1 end-1 start-2 end-2",
    "reversed": "start-2 end-2 start-1 end-1",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("ends", list(itertools.product(ENDS, ENDS)), ids="-".join)
@pytest.mark.parametrize("handles", ["one handle", "two handles"])
def test_two_transactions_are_independent(
    state: State, other: State, shape: str, ends: tuple[str, str], handles: str
) -> None:
    """K11, K52, K67: with writes; whoever commits second of two that overlap conflicts."""
    owners = (state, state if handles == "one handle" else other)
    open_now: dict[int, tuple[Transaction, int]] = {}
    version, content = 0, bytes(8)
    for step in shape.split():
        action, which = step.split("-")
        number = int(which)
        if action == "start":
            txn = owners[number - 1].transaction()
            assert bytes(txn.data) == content
            txn.data[:3] = b"by%d" % number
            open_now[number] = (txn, version)
            continue
        txn, started = open_now.pop(number)
        mine = bytes(txn.data)
        assert mine[:3] == b"by%d" % number  # nobody else writes in our copy
        if ends[number - 1] == "abort":
            txn.abort()
        elif started == version:
            assert txn.commit() == version + 1
            version, content = version + 1, mine
        else:
            with pytest.raises(Conflict):
                txn.commit()
        assert (state.version, state.read(), other.read()) == (version, content, content)


def test_an_inner_commit_is_seen_at_once_and_fails_the_outer_one(state: State) -> None:
    """K11: a read inside sees what is committed, not what the transaction has written."""
    with pytest.raises(Conflict), state.transaction() as outer:  # noqa: PT012 - the block is the subject
        outer.data[:5] = b"outer"
        with state.transaction() as inner:
            inner.data[:5] = b"inner"
        assert state.read()[:5] == b"inner"
        assert bytes(outer.data[:5]) == b"outer"
    assert state.read()[:5] == b"inner"


# -- the memory of a transaction ------------------------------------------------------------------


def test_the_data_is_private_and_of_the_start(state: State, other: State) -> None:
    """K39, K41, K62: later commits of others do not show in it."""
    put(state, b"start")
    txn = state.transaction()
    for number in range(20):
        put(other, b"later%d" % number)
    assert (bytes(txn.data)[:5], txn.version) == (b"start", 1)


@pytest.mark.parametrize("end", ["commit", "abort", "conflict", "gone"])
def test_the_data_cannot_be_used_after_the_end(state: State, other: State, end: str) -> None:
    """K42: ValueError from the memoryview, InvalidArgument from the transaction."""
    txn = state.transaction()
    memory = txn.data
    memory[0] = 1
    if end == "conflict":
        put(other, b"first")
        assert conflicts(txn)
    elif end == "gone":
        del txn
    else:
        getattr(txn, end)()
    with pytest.raises(ValueError, match="released"):
        memory[0] = 2
    if end != "gone":
        for use in (lambda: txn.data, lambda: txn.write(0, b"x"), lambda: txn.value):
            with pytest.raises(InvalidArgument):
                use()


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_what_was_built_on_the_data_sees_memory_that_is_nobodys(
    state: State, other: State, end: str
) -> None:
    """K42: an export that cannot be released is neither shared nor a later transaction's."""
    txn = state.transaction()
    late = (ctypes.c_char * 8).from_buffer(txn.data)
    late.raw = b"built..."
    getattr(txn, end)()
    before = state.snapshot()
    with state.transaction() as fresh:
        late.raw = b"too late"
        assert bytes(fresh.data) == before.data
    for handle in (state, other):
        assert handle.snapshot() == before
    put(state, b"more")
    assert late.raw == b"too late"


@pytest.mark.parametrize("derive", ["slice", "cast", "copy", "readonly"])
def test_what_was_derived_from_the_data_sees_memory_that_is_nobodys(
    state: State, derive: str
) -> None:
    """K42: a slice or a cast of the memoryview is not the next transaction's memory either."""
    txn = state.transaction()
    late = {
        "slice": lambda: txn.data[:8],
        "cast": lambda: txn.data.cast("Q"),
        "copy": lambda: memoryview(txn.data),
        "readonly": txn.data.toreadonly,
    }[derive]()
    txn.data[:5] = b"first"
    txn.commit()
    with state.transaction() as fresh:
        fresh.data[:6] = b"second"
        try:
            seen = late.tobytes()
            if not late.readonly:
                late.cast("B")[0] = 255
        except ValueError:
            return  # released: as good
        assert seen[:5] == b"first"
        assert bytes(fresh.data)[:6] == b"second"


def test_pages_are_used_again_only_when_nobody_has_them(state: State) -> None:
    """K60, K42: an old export, a running transaction and a new one never share memory."""
    exports = []
    for number in range(50):
        outer = state.transaction()
        inner = state.transaction()
        exports.append((ctypes.c_char * 8).from_buffer(outer.data))
        exports[-1].raw = number.to_bytes(8, "big")
        inner.data[:] = b"in" + number.to_bytes(6, "big")
        assert bytes(outer.data) == number.to_bytes(8, "big")
        inner.commit()
        outer.abort()
    assert [int.from_bytes(export.raw, "big") for export in exports] == list(range(50))


def test_write_copies_bytes_within_bounds(state: State) -> None:
    """U14: an offset and any buffer; outside of the state InvalidArgument, and nothing written."""
    with state.transaction() as txn:
        txn.write(0, b"ab")
        txn.write(6, bytearray(b"yz"))
        txn.write(8, b"")
        for offset, data in [(-1, b"x"), (7, b"xx"), (8, b"x"), (9, b""), (1 << 62, b"x")]:
            with pytest.raises(InvalidArgument):
                txn.write(offset, data)
    assert state.read() == b"ab\0\0\0\0yz"


# -- read-only transactions -----------------------------------------------------------------------


def test_a_transaction_of_a_reader_is_a_frozen_view(namespace: Namespace, state: State) -> None:
    """K40, U1: reads agree with each other; its commit is an abort, and never a conflict."""
    put(state, b"frozen")
    reader = namespace.subscribe("s")
    with reader.transaction() as txn:
        assert txn.data.readonly
        for number in range(20):
            put(state, b"moved%d" % number)
            assert bytes(txn.data)[:6] == b"frozen"
        with pytest.raises(NotPermitted):
            txn.write(0, b"x")
        with pytest.raises(TypeError):
            (ctypes.c_char * 8).from_buffer(txn.data)
    assert reader.transaction().commit(force=True) == state.version
    assert state.version == 21


# -- outliving ------------------------------------------------------------------------------------


def test_a_transaction_outlives_the_closing_of_its_handle(state: State, other: State) -> None:
    """U2: it may still commit or conflict; its handle is closed all the same."""
    winner, loser = state.transaction(), state.transaction()
    state.close()
    with pytest.raises(Closed):
        state.read()
    for txn in (winner, loser):
        txn.data[:4] = b"late"
    assert winner.commit() == 1
    assert conflicts(loser)
    assert other.read()[:4] == b"late"


def test_the_subscription_lasts_as_long_as_a_transaction(
    namespace: Namespace, state: State
) -> None:
    """U2, K26: the last of them takes the state with it."""
    txns = [state.transaction() for _ in range(3)]
    state.close()
    for txn in txns:
        assert namespace.names() == ["s"]
        txn.abort()
    assert namespace.names() == []


def test_a_transaction_that_disappears_aborts(namespace: Namespace, state: State) -> None:
    """U3: nothing is written, and it keeps no subscription."""
    txn = state.transaction()
    txn.data[0] = 1
    state.close()
    assert namespace.names() == ["s"]
    del txn
    gc.collect()
    assert namespace.names() == []


def test_a_killed_process_has_committed_nothing(state: State, peer: MakePeer) -> None:
    """K41: what it had written was its own memory."""
    victim = peer()
    victim("s = ns.subscribe('s', 'rw'); t = s.transaction()\nt.data[:] = b'unseen!!'")
    victim.kill()
    assert (state.read(), state.version) == (bytes(8), 0)


def test_a_commit_to_a_deleted_state_fails(state: State, other: State) -> None:
    """K32: Deleted; so does starting one."""
    txn = state.transaction()
    txn.data[0] = 1
    other.delete()
    with pytest.raises(Deleted):
        txn.commit()
    assert not txn.active
    with pytest.raises(Deleted):
        state.transaction()


def test_a_transaction_cannot_be_made_from_nothing() -> None:
    """K19: only a state makes one."""
    with pytest.raises(TypeError):
        Transaction()


def test_commit_takes_force_by_its_name_only(state: State) -> None:
    """K45: TypeError for anything else."""
    wrongs: list[Callable[[Any], object]] = [
        lambda txn: txn.commit(1),
        lambda txn: txn.commit(strict=1),
        lambda txn: txn.commit(force=1, strict=1),
    ]
    for wrong in wrongs:
        txn = state.transaction()
        with pytest.raises(TypeError):
            wrong(txn)
        assert txn.active
        txn.abort()
