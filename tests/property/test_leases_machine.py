"""Two clients of one place, in two namespaces, driven at random beside a model: a plain dict.

Whatever they do, each call has the modelled outcome, and leaves the modelled record; epochs are
unique and grow; nothing is removed before its end, at which it still stands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from holdfast.errors import StaleRecord
from holdfast.lease import Record
from holdfast.lease.global_clock import STEP_NS_MAX
from holdfast.lease.stores import Store
from holdfast.lease.stores.local import LocalStore
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore
from holdfast.lease.stores.sql import SqlStore
from tests.fixtures_lease import Hands
from tests.fixtures_postgres import Postgres

CLIENTS = st.integers(0, 1)
NAMESPACES = st.sampled_from(["one", "two"])
NAMES = st.sampled_from(["a", "b"])
HOLDERS = st.sampled_from(["x", "y"])
ENTITIES = st.sampled_from(["p", "q"])
DURATIONS = st.sampled_from([1, 2, 1_000, STEP_NS_MAX, 10**9])
WHICH = st.integers(0, 7)  # of the records that were seen, the newest first


class Place(Protocol):
    """Where the stores of one kind meet."""

    def make(self, namespace: str) -> Store: ...

    def elapse(self, elapsed_ns: int) -> None: ...


class Ticking:
    """A place whose clock its users advance."""

    def __init__(self, make: Any) -> None:
        self.make = make
        self.store: Store = make("clock")

    def elapse(self, elapsed_ns: int) -> None:
        while elapsed_ns > 0:
            step = min(elapsed_ns, STEP_NS_MAX)
            self.store.advance(step, since=self.store.clock())
            elapsed_ns -= step

    def close(self) -> None:
        self.store.close()


class Running:
    """One whose clock runs by itself: here, by hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hands = Hands()

    def make(self, namespace: str) -> Store:
        return LocalStore(self.directory, namespace=namespace, clock=self.hands)

    def elapse(self, elapsed_ns: int) -> None:
        self.hands.now_ns += elapsed_ns

    def close(self) -> None:
        """There is nothing to let go of."""


EXAMPLES = {"memory": 150, "local": 50, "sqlite": 15, "postgresql": 8}


@pytest.fixture(params=list(EXAMPLES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made: Any
    match request.param:
        case "memory":
            database = MemoryDatabase()
            made = Ticking(lambda namespace: MemoryStore(database, namespace=namespace))
        case "local":
            made = Running(request.getfixturevalue("directory"))
        case "sqlite":
            url = f"sqlite:///{tmp_path}/leases.db"
            made = Ticking(lambda namespace: SqlStore(url, namespace=namespace))
        case _:
            postgres: Postgres = request.getfixturevalue("postgres")
            made = Ticking(lambda namespace: SqlStore(postgres.url, namespace=namespace))
    made.examples = EXAMPLES[request.param]
    yield made
    made.close()


Key = tuple[str, str]
_lives = itertools.count()


class Leases(RuleBasedStateMachine):
    """The model beside the real thing."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.held: dict[Key, Record] = {}
        self.pins: dict[Key, frozenset[str]] = {}
        self.seen: list[tuple[str, Record]] = []  # every record that anybody ever had, and where
        self.epochs: list[int] = []
        self.latest: dict[Key, int] = {}

    @initialize()
    def open(self) -> None:
        life = next(_lives)  # each example has namespaces of its own, in one place
        self.stores = {
            (namespace, client): self.place.make(f"{namespace}-{life}")
            for namespace in ("one", "two")
            for client in (0, 1)
        }
        reading = self.stores["one", 0].clock()
        self.now_ns, self.step_ns, self.era = reading.now_ns, reading.step_ns, reading.era

    def teardown(self) -> None:
        for store in getattr(self, "stores", {}).values():
            store.close()

    # -- the model --------------------------------------------------------------------------------

    def set(self, key: Key, record: Record | None) -> None:
        if record is None:
            self.held.pop(key, None)
        else:
            self.held[key] = record
            self.seen.append((key[0], record))

    def holding(self, namespace: str, record: Record) -> Record | None:
        """The record that stands, if it is of the same holding."""
        found = self.held.get((namespace, record.name))
        if found is None or (found.holder, found.epoch) != (record.holder, record.epoch):
            return None
        return found

    def extended(self, found: Record, duration_ns: int, writer: str) -> Record:
        start_ns = self.now_ns + self.step_ns
        if start_ns + duration_ns <= found.start_ns + found.duration_ns:
            return found
        return replace(found, start_ns=start_ns, duration_ns=duration_ns, writer=writer)

    def past(self, record: Record) -> bool:
        return self.now_ns > record.start_ns + record.duration_ns

    def pick(self, which: int) -> tuple[str, Record] | None:
        return self.seen[-1 - which % len(self.seen)] if self.seen else None

    def pick_held(self, which: int) -> tuple[str, Record] | None:
        keys = sorted(self.held)
        return (keys[which % len(keys)][0], self.held[keys[which % len(keys)]]) if keys else None

    def fresh(self, namespace: str, client: int, name: str) -> None:
        """Whatever came of a call, the picture of whoever made it shows what stands."""
        found = self.stores[namespace, client].records().get(name)
        assert found == self.held.get((namespace, name))

    # -- calls that change ------------------------------------------------------------------------

    @rule(client=CLIENTS, namespace=NAMESPACES, name=NAMES, holder=HOLDERS, duration_ns=DURATIONS)
    def claim(self, client: int, namespace: str, name: str, holder: str, duration_ns: int) -> None:
        store, key = self.stores[namespace, client], (namespace, name)
        if key in self.held:
            with pytest.raises(StaleRecord):
                store.claim(name, holder, duration_ns)
        else:
            record = store.claim(name, holder, duration_ns, owner={"client": client})
            assert record == Record(
                name=name,
                holder=holder,
                epoch=record.epoch,
                start_ns=self.now_ns + self.step_ns,
                duration_ns=duration_ns,
                writer=store.writer,
                era=self.era,
                owner_json=f'{{"client":{client}}}',
                pins=self.pins.get(key, frozenset()),
            )
            assert record.epoch > self.latest.get(key, 0)
            self.latest[key] = record.epoch
            self.epochs.append(record.epoch)
            self.set(key, record)
        self.fresh(namespace, client, name)

    @rule(client=CLIENTS, which=WHICH, duration_ns=DURATIONS)
    def extend(self, client: int, which: int, duration_ns: int) -> None:
        if (picked := self.pick(which)) is not None:
            self.extend_as(client, *picked, duration_ns)

    def extend_as(self, client: int, namespace: str, record: Record, duration_ns: int) -> None:
        store, found = self.stores[namespace, client], self.holding(namespace, record)
        if found is None:
            with pytest.raises(StaleRecord):
                store.extend(record, duration_ns)
        else:
            later = self.extended(found, duration_ns, store.writer)
            assert store.extend(record, duration_ns) == later
            self.set((namespace, record.name), later)
        self.fresh(namespace, client, record.name)

    @rule(client=CLIENTS, namespace=NAMESPACES, picks=st.lists(WHICH, max_size=4), ns=DURATIONS)
    def extend_many(self, client: int, namespace: str, picks: list[int], ns: int) -> None:
        store = self.stores[namespace, client]
        chosen = [picked for which in picks if (picked := self.pick(which)) is not None]
        asked = {record.name: record for where, record in chosen if where == namespace}
        answers = store.extend_many([(record, ns) for record in asked.values()])
        assert len(answers) == len(asked)
        for record, answer in zip(asked.values(), answers, strict=True):
            found = self.holding(namespace, record)
            if found is None:
                assert isinstance(answer, StaleRecord)
            else:
                later = self.extended(found, ns, store.writer)
                assert answer == later
                self.set((namespace, record.name), later)
            self.fresh(namespace, client, record.name)

    @rule(client=CLIENTS, which=WHICH, by_name=st.booleans())
    def expire(self, client: int, which: int, by_name: bool) -> None:
        if (picked := self.pick(which)) is not None:
            self.expire_as(client, *picked, by_name=by_name)

    def expire_as(self, client: int, namespace: str, record: Record, *, by_name: bool) -> None:
        key = (namespace, record.name)
        store, found = self.stores[namespace, client], self.held.get(key)
        same = found is not None and (by_name or replace(record, pins=found.pins) == found)
        expected = record.name if by_name else record
        if found is None or not same or found.pins or not self.past(found):
            with pytest.raises(StaleRecord):
                store.expire(expected)
        else:
            store.expire(expected)
            self.set(key, None)
        self.fresh(namespace, client, record.name)

    @rule(client=CLIENTS, which=WHICH)
    def release(self, client: int, which: int) -> None:
        if (picked := self.pick(which)) is not None:
            self.release_as(client, *picked)

    def release_as(self, client: int, namespace: str, record: Record) -> None:
        held = self.holding(namespace, record) is not None
        assert self.stores[namespace, client].release(record) is held
        if held:
            self.set((namespace, record.name), None)
        self.fresh(namespace, client, record.name)

    # -- what takes several steps with one lease, and would seldom come by itself ------------------

    @rule(client=CLIENTS, other=CLIENTS, which=WHICH)
    def come_back_with_another_epoch(self, client: int, other: int, which: int) -> None:
        """The same holder again: what is old must not pass for what is new."""
        if (picked := self.pick_held(which)) is None:
            return
        namespace, old = picked
        self.release_as(client, namespace, old)
        self.claim(other, namespace, old.name, old.holder, 1_000)
        self.extend_as(client, namespace, old, STEP_NS_MAX)
        self.release_as(client, namespace, old)

    @rule(client=CLIENTS, other=CLIENTS, which=WHICH)
    def expire_what_was_extended_since(self, client: int, other: int, which: int) -> None:
        """All of its end has passed, and yet it is another record than was decided upon."""
        if (picked := self.pick_held(which)) is None:
            return
        namespace, old = picked
        self.extend_as(other, namespace, old, 2 * 10**9)
        self.pass_end(self.held[namespace, old.name], 1)
        self.expire_as(client, namespace, old, by_name=False)

    @rule(client=CLIENTS, which=WHICH, beyond_ns=st.sampled_from([0, 1]))
    def expire_at_the_end(self, client: int, which: int, beyond_ns: int) -> None:
        """In its last instant, or in the first after it."""
        if (picked := self.pick_held(which)) is not None:
            self.pass_end(picked[1], beyond_ns)
            self.expire_as(client, *picked, by_name=False)

    @rule(client=CLIENTS, namespace=NAMESPACES, name=NAMES, by=ENTITIES, on=st.booleans())
    def pin(self, client: int, namespace: str, name: str, by: str, on: bool) -> None:
        store, key = self.stores[namespace, client], (namespace, name)
        before = self.pins.get(key, frozenset())
        self.pins[key] = before | {by} if on else before - {by}
        (store.pin if on else store.unpin)(name, by)
        if key in self.held:
            self.set(key, replace(self.held[key], pins=self.pins[key]))
        self.fresh(namespace, client, name)

    # -- time -------------------------------------------------------------------------------------

    def pass_ns(self, elapsed_ns: int) -> None:
        self.place.elapse(elapsed_ns)
        self.now_ns += elapsed_ns

    @rule(elapsed_ns=DURATIONS)
    def advance(self, elapsed_ns: int) -> None:
        self.pass_ns(elapsed_ns)

    def pass_end(self, record: Record, beyond_ns: int) -> None:
        self.pass_ns(max(0, record.start_ns + record.duration_ns + beyond_ns - self.now_ns))

    # -- looking ----------------------------------------------------------------------------------

    @rule(client=CLIENTS, namespace=NAMESPACES, name=NAMES)
    def look(self, client: int, namespace: str, name: str) -> None:
        assert self.stores[namespace, client].look(name) == self.held.get((namespace, name))
        self.fresh(namespace, client, name)

    @rule(client=CLIENTS, namespace=NAMESPACES)
    def look_at_all(self, client: int, namespace: str) -> None:
        store = self.stores[namespace, client]
        expected = {name: one for (where, name), one in self.held.items() if where == namespace}
        assert store.refresh() == store.records() == expected
        late = [one for _, one in sorted(expected.items()) if self.past(one) and not one.pins]
        assert list(store.overdue()) == late
        assert list(store.overdue(1)) == late[:1]
        assert store.wait_changed(0) is False
        pinned = {name: by for (where, name), by in self.pins.items() if where == namespace and by}
        assert store.pins() == pinned

    @rule(client=CLIENTS, namespace=NAMESPACES, name=NAMES)
    def hear_of_a_change(self, client: int, namespace: str, name: str) -> None:
        store = self.stores[namespace, client]
        news = store.records().get(name) != self.held.get((namespace, name))
        assert store.wait_changed(0, name=name) is news
        self.fresh(namespace, client, name)

    # -- always -----------------------------------------------------------------------------------

    @invariant()
    def epochs_are_unique(self) -> None:
        assert len(set(self.epochs)) == len(self.epochs)

    @invariant()
    def the_clock_shows_what_has_passed(self) -> None:
        if hasattr(self, "stores"):
            assert self.stores["two", 1].clock().now_ns == self.now_ns


def test_leases_behave_like_their_model(place: Any, full: bool) -> None:
    class There(Leases):
        def __init__(self) -> None:
            super().__init__(place)

    run_state_machine_as_test(
        There,
        settings=settings(
            max_examples=place.examples * (20 if full else 1),
            stateful_step_count=30,
        ),
    )
