"""The backlog of updates against a list that is sorted anew for every packet."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.membership.updates import Backlog

KEYS = st.integers(0, 7)


class AgainstAList(RuleBasedStateMachine):
    """Section 4.4. Which of two equals goes first is open: there the list follows the backlog."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()
        self.entries: dict[int, tuple[int, bytes]] = {}  # transmissions left, and bytes

    @rule(key=KEYS, length=st.integers(1, 2), transmissions=st.integers(1, 3))
    def add(self, key: int, length: int, transmissions: int) -> None:
        data = bytes([key]) * length
        self.backlog.add(key, data, transmissions)
        self.entries[key] = (transmissions, data)

    @rule(key=KEYS)
    def discard(self, key: int) -> None:
        self.backlog.discard(key)
        self.entries.pop(key, None)

    @rule(space=st.integers(0, 12), each=st.sampled_from([0, 2]), limit=st.integers(1, 5))
    def take(self, space: int, each: int, limit: int) -> None:
        rest = space
        expected: list[tuple[int, int]] = []
        for left, length in sorted(
            ((left, len(data)) for left, data in self.entries.values()), reverse=True
        ):
            if length + each <= rest and len(expected) < limit:
                rest -= length + each
                expected.append((left, length))
        found: list[tuple[int, int]] = []
        for data in self.backlog.take(space, each=each, limit=limit):
            left, known = self.entries.pop(data[0])
            assert known == data
            found.append((left, len(data)))
            if left > 1:
                self.entries[data[0]] = (left - 1, data)
        assert found == expected

    @invariant()
    def as_many_as_expected(self) -> None:
        assert len(self.backlog) == len(self.entries)


AgainstAList.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestAgainstAList = AgainstAList.TestCase
