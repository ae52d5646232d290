"""Faulty stand-ins: each class is the suite over a fault of its own, and must fail.

Not collected by itself; `test_suite_finds_faults.py` runs it: of each class the test that is there
for its fault, since with some of them others would never end.
"""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.testing import MemoryNamespace, MemoryState, MemoryView
from holdfast.testing.conformance import Make, NamespaceConformance
from holdfast.testing.memory_store import Record, Store
from holdfast.testing.memory_transaction import Copy, MemoryTransaction
from tests.makes import MakeMemory


def nothing(*_: object) -> None:
    """In the place of something that has to be done."""


class Faulty(NamespaceConformance):
    fault: tuple[Any, str, Any]

    @pytest.fixture
    def make(self, monkeypatch: pytest.MonkeyPatch) -> Make:
        monkeypatch.setattr(*self.fault)
        return MakeMemory()


class TestNothing(Faulty):
    fault = (MemoryNamespace, "path", "memory:")  # the control: it must pass


class TestConflicts(Faulty):
    fault = (Copy, "see_unmoved", nothing)


def only_what_is_written(self: MemoryTransaction, *, force: bool = False) -> int:
    writing = [copy for copy in self._copies() if copy.writes(force=force)]
    self._need_leader()
    self._see_unmoved(writing)
    for copy in writing:
        copy.version = copy.state.publish(bytes(copy.buffer))
    self._end()
    return self.own.version


class TestRequiredMembers(Faulty):
    fault = (MemoryTransaction, "commit", only_what_is_written)


def one_after_the_other(self: MemoryTransaction, *, force: bool = False) -> int:
    self._need_leader()
    for copy in self._copies():
        if copy.writes(force=force):
            self._see_unmoved([copy])
            copy.version = copy.state.publish(bytes(copy.buffer))
    self._end()
    return self.own.version


class TestAllOrNothing(Faulty):
    fault = (MemoryTransaction, "commit", one_after_the_other)


class TestNews(Faulty):
    fault = (MemoryState, "changed", lambda state: state.version > 0)


class TestThrottle(Faulty):
    fault = (MemoryState, "_remaining_ns", lambda _: 0)


class TestEvaporation(Faulty):
    fault = (Store, "withdraw", lambda _, record, one: record.subscriptions.remove(one))


def anybody(record: Record, *, but: Any = None, beside: Any = None) -> bool:
    return any(one is not but and one.process is not beside for one in record.subscriptions)


class TestTheDead(Faulty):
    fault = (Record, "anybody", anybody)


class TestDeletion(Faulty):
    fault = (MemoryNamespace, "forget", nothing)


class TestViews(Faulty):
    fault = (MemoryView, "check", lambda _: True)


def always(copy: Copy, *, force: bool) -> bool:
    return copy.state.writable or force


class TestUnchanged(Faulty):
    fault = (Copy, "writes", always)
