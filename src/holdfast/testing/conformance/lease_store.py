"""The suite for stores of leases: what `holdfast.lease.stores.Store` promises, of any store."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from holdfast.errors import Closed, InvalidArgument, StaleRecord

if TYPE_CHECKING:
    from holdfast.lease import Record
    from holdfast.lease.stores import Store

__all__ = ["LeaseStoreConformance", "MakeStore"]

LONG_NS = 10**9
PATIENCE_S = 30.0  # a bound for liveness, never a measure


class MakeStore(Protocol):
    """Makes what one test needs; all stores that it makes share one place."""

    def __call__(self, *, namespace: str = "default", writer: str | None = None) -> Store:
        """Another store object."""
        ...

    def elapse(self, elapsed_ns: int) -> None:
        """Let so much time pass on the clock of the place, exactly."""
        ...


def pass_end(make: MakeStore, store: Store, record: Record) -> None:
    """Let the clock pass the end of a term, by as little as possible."""
    reading = store.clock()
    make.elapse(record.end_in(reading.era) - reading.now_ns + 1)


def ended_by_a_look(store: Store, other: Store, pause_s: float) -> bool:
    """Whether a thread that has had so long to begin to wait hears of what we see before it."""
    record = store.claim("n", "a", LONG_NS)
    answers: list[bool] = []
    waiting = threading.Thread(
        target=lambda: answers.append(store.wait_changed(PATIENCE_S, name="n"))
    )
    waiting.start()
    time.sleep(pause_s)
    other.release(record)
    assert store.look("n") is None
    waiting.join(10)
    ended = not waiting.is_alive()
    last = other.claim("n", "b", LONG_NS)  # this ends it in any case
    waiting.join()
    other.release(last)
    assert answers == [True]
    return ended


class LeaseStoreConformance:
    """Every behaviour of a store that needs neither another process nor a fault.

    Derive from it and override the fixture `make` with an object of the protocol `MakeStore`.
    """

    @pytest.fixture
    def make(self) -> MakeStore:
        """To be overridden: what makes the stores under test."""
        raise NotImplementedError("give the suite a fixture `make`")

    @pytest.fixture
    def store(self, make: MakeStore) -> Store:
        """A store, empty."""
        return make()

    @pytest.fixture
    def other(self, make: MakeStore, store: Store) -> Store:
        """Another object of the same namespace."""
        return make()

    # -- claims -----------------------------------------------------------------------------------

    def test_a_claim_is_seen_by_everybody(self, store: Store, other: Store) -> None:
        """Every field of it, the facts about the owner included."""
        before = store.clock()
        record = store.claim("n", "a", LONG_NS, owner={"pid": 7, "why": None})
        assert (record.name, record.holder, record.duration_ns) == ("n", "a", LONG_NS)
        assert record.start_ns >= before.latest_ns
        assert (record.writer, record.era) == (store.writer, before.era)
        assert record.owner == {"pid": 7, "why": None}
        assert store.records() == {"n": record}
        assert other.records() == {}
        assert other.refresh() == other.records() == {"n": record}

    @pytest.mark.parametrize("holder", ["a", "b"])
    def test_a_held_lease_cannot_be_claimed(
        self, make: MakeStore, store: Store, other: Store, holder: str
    ) -> None:
        """Not by its holder either, nor after its end; and the picture is fresh then."""
        record = store.claim("n", "a", 1)
        with pytest.raises(StaleRecord):
            other.claim("n", holder, LONG_NS)
        assert other.records() == {"n": record}
        pass_end(make, store, record)
        with pytest.raises(StaleRecord):
            store.claim("n", holder, LONG_NS)

    def test_epochs_grow_across_holders_and_vacancies(
        self, make: MakeStore, store: Store, other: Store
    ) -> None:
        """And are unique in the store, so that one fences whatever it is compared with."""
        epochs = []
        for i in range(4):
            record = (store, other)[i % 2].claim("n", f"h{i % 3}", 1)
            epochs.append(record.epoch)
            if i % 2:
                store.release(record)
            else:
                pass_end(make, store, record)
                store.expire("n")
            epochs.append(store.claim(f"m{i}", "h", 1).epoch)
        assert epochs == sorted(set(epochs))
        assert make(namespace="elsewhere").claim("n", "a", 1).epoch > epochs[-1]

    def test_namespaces_are_apart(self, make: MakeStore, store: Store) -> None:
        """The same name in two of them is two leases."""
        elsewhere = make(namespace="elsewhere")
        ours, theirs = store.claim("n", "a", LONG_NS), elsewhere.claim("n", "b", LONG_NS)
        elsewhere.pin("n", "ops")
        assert store.refresh() == {"n": ours}
        assert store.pins() == {}
        assert elsewhere.release(theirs)
        assert store.refresh() == {"n": ours}

    @pytest.mark.parametrize("name", ["a b", "a.b#c/$d", "'\"; --", "häuser 名", "%s", "x" * 300])
    def test_names_and_holders_may_be_anything_printable(self, store: Store, name: str) -> None:
        """They are data and never syntax."""
        record = store.claim(name, name, 1)
        store.pin(name, name)
        assert store.refresh() == {name: replace(record, pins=frozenset({name}))}

    @pytest.mark.parametrize("wrong", ["", "a\nb", "\t", "\x00", "\ud800"])
    def test_other_names_and_holders_are_refused(self, store: Store, wrong: str) -> None:
        """Before anything is done."""
        with pytest.raises(InvalidArgument):
            store.claim(wrong, "a", 1)
        with pytest.raises(InvalidArgument):
            store.claim("n", wrong, 1)
        for call in (store.pin, store.unpin):
            with pytest.raises(InvalidArgument):
                call(wrong, "ops")
            with pytest.raises(InvalidArgument):
                call("n", wrong)
        with pytest.raises(InvalidArgument):
            store.expire(wrong)
        assert store.refresh() == {}

    @pytest.mark.parametrize("duration_ns", [0, -1, 2**62 + 1])
    def test_no_duration_is_refused(self, store: Store, duration_ns: int) -> None:
        """For claims and for extensions."""
        with pytest.raises(InvalidArgument):
            store.claim("n", "a", duration_ns)
        record = store.claim("n", "a", 1)
        with pytest.raises(InvalidArgument):
            store.extend(record, duration_ns)
        assert store.refresh() == {"n": record}

    # -- extensions -------------------------------------------------------------------------------

    def test_an_extension_is_to_and_not_by(
        self, make: MakeStore, store: Store, other: Store
    ) -> None:
        """It keeps the epoch, and can be made through any object."""
        record = store.claim("n", "a", 100, owner={"pid": 1})
        make.elapse(30)
        later = other.extend(record, 100)
        assert later.start_ns >= record.start_ns + 30
        assert later == replace(record, start_ns=later.start_ns, writer=other.writer)
        assert store.refresh() == {"n": later}

    def test_an_extension_never_shortens(self, store: Store, other: Store) -> None:
        """It succeeds, and the longer promise stays."""
        record = store.claim("n", "a", LONG_NS)
        assert store.extend(record, 1) == record
        assert other.refresh() == {"n": record}

    def test_extensions_race_benignly(self, store: Store, other: Store) -> None:
        """An old picture of the same holding is good enough."""
        record = store.claim("n", "a", 100)
        longer = other.extend(record, 5000)
        assert store.extend(record, 200) == longer
        longest = store.extend(record, 9000)
        assert longest.duration_ns == 9000
        assert other.refresh() == {"n": longest}

    def test_a_lease_past_its_end_can_be_extended(self, make: MakeStore, store: Store) -> None:
        """As long as nobody has removed it; and then it is not expired."""
        record = store.claim("n", "a", 1)
        pass_end(make, store, record)
        store.extend(record, 100)
        with pytest.raises(StaleRecord):
            store.expire("n")

    @pytest.mark.parametrize("successor", [None, "a", "b"])
    def test_what_was_lost_is_not_extended(
        self, store: Store, other: Store, successor: str | None
    ) -> None:
        """Whoever has it now; and the picture is fresh."""
        record = store.claim("n", "a", LONG_NS)
        other.release(record)
        current = {"n": other.claim("n", successor, LONG_NS)} if successor else {}
        with pytest.raises(StaleRecord):
            store.extend(record, LONG_NS)
        assert store.records() == current
        assert store.refresh() == current

    def test_many_extensions_are_each_for_itself(
        self, make: MakeStore, store: Store, other: Store
    ) -> None:
        """One that is refused does not hinder the others, nor keeps a successor's lease alive."""
        records = [store.claim(f"n{i}", "a", 100) for i in range(4)]
        other.release(records[1])
        successor = other.claim("n1", "a", 100)
        make.elapse(10)
        results = store.extend_many([(record, 100 + i) for i, record in enumerate(records)])
        assert [isinstance(result, StaleRecord) for result in results] == [
            False,
            True,
            False,
            False,
        ]
        expected = {result.name: result for result in results if not isinstance(result, Exception)}
        assert other.refresh() == expected | {"n1": successor}
        assert expected["n3"].duration_ns == 103
        assert list(store.extend_many([])) == []

    # -- expiry -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("by", ["record", "name"])
    def test_a_lease_expires_strictly_after_its_end(
        self, make: MakeStore, store: Store, other: Store, by: str
    ) -> None:
        """Anybody may do it, once."""
        record = store.claim("n", "a", 100)
        expected: Record | str = record if by == "record" else "n"
        reading = store.clock()
        make.elapse(record.end_in(reading.era) - reading.now_ns)
        with pytest.raises(StaleRecord):
            other.expire(expected)
        make.elapse(1)
        other.expire(expected)
        assert other.records() == store.refresh() == {}
        with pytest.raises(StaleRecord):
            other.expire(expected)
        assert other.claim("n", "b", 1).holder == "b"

    def test_only_the_record_that_was_seen_expires(
        self, make: MakeStore, store: Store, other: Store
    ) -> None:
        """One that was extended, or claimed anew, is another."""
        record = store.claim("n", "a", 1)
        make.elapse(10)
        later = other.extend(record, 1)
        pass_end(make, store, later)
        with pytest.raises(StaleRecord):
            store.expire(record)
        assert store.records() == {"n": later}
        store.expire(later)

    def test_a_pin_keeps_a_lease_from_expiring(
        self, make: MakeStore, store: Store, other: Store
    ) -> None:
        """Also one that was set before anybody held it; each that pinned has to unpin."""
        store.pin("n", "ops")
        store.pin("n", "ops")
        other.pin("n", "dba")
        assert store.pins() == {"n": {"ops", "dba"}}
        record = store.claim("n", "a", 1)
        assert record.pins == {"ops", "dba"}
        pass_end(make, store, record)
        for by in ("ops", "dba"):
            with pytest.raises(StaleRecord):
                other.expire("n")
            store.unpin("n", by)
        store.unpin("n", "nobody")
        other.expire("n")
        assert other.pins() == {}

    # -- release ----------------------------------------------------------------------------------

    def test_a_lease_is_given_back_once(self, store: Store, other: Store) -> None:
        """A picture that is old in its term, or a pin, is no hindrance."""
        record = store.claim("n", "a", 100)
        other.extend(record, LONG_NS)
        other.pin("n", "ops")
        assert store.release(record) is True
        assert store.release(record) is False
        assert other.refresh() == {}

    def test_a_successors_lease_is_not_given_back(self, store: Store) -> None:
        """Though the holder has the same name: the epoch tells."""
        record = store.claim("n", "a", LONG_NS)
        store.release(record)
        successor = store.claim("n", "a", LONG_NS)
        assert store.release(record) is False
        assert store.refresh() == {"n": successor}

    def test_what_is_no_transaction_is_not_gated(self, store: Store) -> None:
        """And that is said at once."""
        record = store.claim("n", "a", LONG_NS)
        for wrong in (None, object(), "BEGIN"):
            with pytest.raises(TypeError):
                store.gate(record, wrong)

    # -- time -------------------------------------------------------------------------------------

    def test_the_clock_goes_as_time_does(self, make: MakeStore, store: Store, other: Store) -> None:
        """For everybody alike, and nanoseconds are not lost."""
        before = store.clock()
        make.elapse(7)
        assert other.clock() == replace(before, now_ns=before.now_ns + 7)
        assert store.now_ns() == before.now_ns + 7

    # -- waiting ----------------------------------------------------------------------------------

    def test_a_wait_ends_with_a_change(self, store: Store, other: Store) -> None:
        """And does not end without: its own doings are no news."""
        store.claim("m", "a", LONG_NS)
        assert store.wait_changed(0) is False
        assert store.wait_changed(0.05) is False
        timer = threading.Timer(0.05, other.claim, ["n", "b", LONG_NS])
        timer.start()
        assert store.wait_changed(PATIENCE_S) is True
        timer.join()
        assert set(store.records()) == {"m", "n"}

    def test_a_wait_for_one_lease_ends_with_its_change(self, store: Store, other: Store) -> None:
        """What becomes of another is no matter."""
        record = store.claim("n", "a", LONG_NS)
        other.claim("m", "a", LONG_NS)
        assert store.wait_changed(0.05, name="n") is False
        timer = threading.Timer(0.05, other.release, [record])
        timer.start()
        assert store.wait_changed(PATIENCE_S, name="n") is True
        timer.join()
        assert "n" not in store.records()

    def test_a_wait_sees_what_another_thread_has_looked_at(
        self, store: Store, other: Store
    ) -> None:
        """Whoever looks brings the picture up to date for all threads; that ends no wait unseen."""
        # A thread may take its time until it waits; one that waits is ended at the first attempt.
        assert any(ended_by_a_look(store, other, pause_s) for pause_s in (0.05, 1.0, 5.0))

    # -- looking ----------------------------------------------------------------------------------

    def test_a_look_reads_one_record(self, store: Store, other: Store) -> None:
        """And the picture shows that one as it is now."""
        assert store.look("n") is None
        record = other.claim("n", "a", LONG_NS)
        other.claim("m", "a", LONG_NS)
        assert store.look("n") == record
        assert store.records() == {"n": record}
        other.release(record)
        assert store.look("n") is None
        assert store.records() == {}
        with pytest.raises(InvalidArgument):
            store.look("")

    def test_overdue_is_what_may_be_expired(
        self, make: MakeStore, store: Store, other: Store
    ) -> None:
        """In the order of names, and no more than was asked for."""
        make(namespace="elsewhere").claim("a", "a", 1)
        other.claim("later", "a", LONG_NS)
        other.claim("pinned", "a", 1)
        other.pin("pinned", "ops")
        late = [other.claim(name, "a", 1) for name in "abc"]
        assert list(store.overdue()) == []
        pass_end(make, store, late[-1])
        assert list(store.overdue()) == late
        assert list(store.overdue(2)) == late[:2]
        for record in store.overdue():
            store.expire(record)
        assert list(store.overdue()) == []
        assert set(store.refresh()) == {"later", "pinned"}

    # -- many at once -----------------------------------------------------------------------------

    def test_of_many_claims_one_succeeds(self, make: MakeStore) -> None:
        """Threads with a store of their own each, and two on one."""
        stores = [make() for _ in range(3)]
        won: list[Any] = []
        failed: list[Exception] = []

        def race(store: Store, holder: str) -> None:
            for i in range(10):
                try:
                    won.append(store.claim(f"n{i}", holder, LONG_NS))
                except StaleRecord:
                    pass
                except Exception as error:  # noqa: BLE001 - the test wants to know of any
                    failed.append(error)

        threads = [threading.Thread(target=race, args=(stores[i % 3], f"h{i}")) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert sorted(record.name for record in won) == sorted(f"n{i}" for i in range(10))
        assert stores[0].refresh() == {record.name: record for record in won}
        assert len({record.epoch for record in won}) == 10

    # -- ending -----------------------------------------------------------------------------------

    def test_a_closed_store_does_nothing_and_leaves_the_leases(
        self, make: MakeStore, store: Store
    ) -> None:
        """Closing twice is harmless."""
        with make() as closed:
            record = closed.claim("n", "a", LONG_NS)
        closed.close()
        calls: list[Any] = [
            lambda: closed.claim("m", "a", 1),
            lambda: closed.extend(record, 1),
            lambda: closed.expire("n"),
            lambda: closed.release(record),
            lambda: closed.pin("n", "ops"),
            closed.refresh,
            closed.pins,
            closed.clock,
            lambda: closed.wait_changed(0),
            lambda: closed.look("n"),
            closed.overdue,
        ]
        for call in calls:
            with pytest.raises(Closed):
                call()
        assert store.refresh() == {"n": record}
