"""The suite for stores of leases can fail: each fault here is found by the test that is for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.lease import Reading, Record, rules
from holdfast.lease.rules import Change
from holdfast.lease.stores import Store
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore
from holdfast.testing.conformance import LeaseStoreConformance

SUITE = LeaseStoreConformance


class Make:
    def __init__(self) -> None:
        self.database = MemoryDatabase()

    def __call__(self, *, namespace: str = "default", writer: str | None = None) -> Store:
        return MemoryStore(self.database, namespace=namespace, writer=writer)

    def elapse(self, elapsed_ns: int) -> None:
        store = self()
        while elapsed_ns:
            before = store.clock()
            elapsed_ns -= store.advance(elapsed_ns, since=before).now_ns - before.now_ns


def run(test: Callable[..., None], **more: object) -> None:
    make = Make()
    fixtures = {"make": make, "store": make(), "other": make()} | more
    wanted = list(inspect.signature(test).parameters)[1:]
    test(SUITE(), **{name: fixtures[name] for name in wanted})


def expired_at_its_end(record: Record, reading: Reading) -> bool:
    return reading.now_ns >= record.end_in(reading.era)


def claimed_over(current: Record | None, *args: Any, **more: Any) -> Change:
    return CLAIM(None, *args, **more)


def extended_by_name(current: Record | None, record: Record, *args: Any, **more: Any) -> Change:
    return EXTEND(current, current or record, *args, **more)


def shortened(
    current: Record | None, record: Record, duration_ns: int, reading: Reading, *, writer: str
) -> Change:
    change = EXTEND(current, record, duration_ns, reading, writer=writer)
    assert change.after is not None
    return Change(change.before, replace(change.after, duration_ns=duration_ns))


def expired_unseen(current: Record | None, expected: Record | str, reading: Reading) -> Change:
    return EXPIRE(current, expected if isinstance(expected, str) else expected.name, reading)


def expired_pinned(current: Record | None, expected: Record | str, reading: Reading) -> Change:
    return EXPIRE(current and replace(current, pins=frozenset()), expected, reading)


def released_by_name(current: Record | None, record: Record) -> Change:
    return Change(current, None)


CLAIM, EXTEND, EXPIRE = rules.claim, rules.extend, rules.expire
FAULTS: list[tuple[str, Any, Callable[..., None], dict[str, object]]] = [
    (
        "expired",
        expired_at_its_end,
        SUITE.test_a_lease_expires_strictly_after_its_end,
        {"by": "name"},
    ),
    ("claim", claimed_over, SUITE.test_a_held_lease_cannot_be_claimed, {"holder": "b"}),
    ("extend", extended_by_name, SUITE.test_what_was_lost_is_not_extended, {"successor": "a"}),
    ("extend", extended_by_name, SUITE.test_many_extensions_are_each_for_itself, {}),
    ("extend", shortened, SUITE.test_an_extension_never_shortens, {}),
    ("expire", expired_unseen, SUITE.test_only_the_record_that_was_seen_expires, {}),
    ("expire", expired_pinned, SUITE.test_a_pin_keeps_a_lease_from_expiring, {}),
    ("release", released_by_name, SUITE.test_a_successors_lease_is_not_given_back, {}),
]


@pytest.mark.parametrize(
    ("rule", "fault", "test", "more"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_fault_is_found(
    rule: str,
    fault: Any,
    test: Callable[..., None],
    more: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(test, **more)  # the control
    monkeypatch.setattr(rules, rule, fault)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(test, **more)
