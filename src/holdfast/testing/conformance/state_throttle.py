"""The suite for namespaces of states: handles that show no more than so many changes a second."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.errors import Deleted, InvalidArgument
from holdfast.testing.conformance.making import Make, NamespaceSuite, number, put

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SHOWING", "Throttle"]

S = 1_000_000_000


def _readinto(state: Any) -> bytes:
    buffer = bytearray(8)
    state.readinto(buffer)
    return bytes(buffer)


def _transaction(state: Any) -> bytes:
    with state.transaction() as txn:
        return bytes(txn.data)


SHOWING: dict[str, Callable[[Any], bytes]] = {
    "read": lambda state: bytes(state.read()),
    "readinto": _readinto,
    "snapshot": lambda state: bytes(state.snapshot().data),
    "view": lambda state: bytes(state.view().memoryview),
    "transaction": _transaction,
}


class Throttle(NamespaceSuite):
    """Handles that show no more than so many changes a second."""

    @pytest.mark.parametrize("look", SHOWING)
    def test_a_throttled_handle_shows_a_change_every_interval(
        self, make: Make, writer: Any, reader: Any, look: str
    ) -> None:
        """K56, P1-P5: the newest first, then that, and after the interval the newest again."""
        put(writer, 1)
        reader.throttle(1.0)
        put(writer, 2)
        assert reader.changed()
        assert number(SHOWING[look](reader)) == 2
        for value in (3, 4, 5):
            put(writer, value)
            assert not reader.changed()
            assert number(SHOWING[look](reader)) == 2
            make.advance(S // 4)
        make.advance(S // 4 - 1)
        assert number(SHOWING[look](reader)) == 2
        assert not reader.changed()
        make.advance(1)
        assert reader.changed()
        assert reader.wait(0)
        assert number(SHOWING[look](reader)) == 5
        assert not reader.changed()
        make.advance(10 * S)
        assert not reader.changed()

    def test_the_interval_counts_from_the_look_that_showed_the_change(
        self, make: Make, writer: Any, reader: Any
    ) -> None:
        """K56, K72: not from the commit, not on a grid, and not from looks that showed nothing."""
        reader.throttle(timedelta(seconds=1))
        put(writer, 1)
        make.advance(5 * S)
        assert number(reader.read()) == 1
        make.advance(S // 2)
        reader.read()
        put(writer, 2)
        make.advance(S // 2)
        assert number(reader.read()) == 2
        put(writer, 3)
        make.advance(S - 1)
        assert number(reader.read()) == 2

    def test_all_kinds_of_look_go_by_one_rule(self, make: Make, writer: Any, reader: Any) -> None:
        """K56, P1: what one has shown the others show too."""
        reader.throttle(1.0)
        put(writer, 1)
        for seconds in range(3):
            for first in SHOWING.values():
                make.advance(S)
                put(writer, 10 + seconds)
                shown = number(first(reader))
                put(writer, 99)
                assert {number(look(reader)) for look in SHOWING.values()} == {shown}
        assert reader.version == writer.version

    def test_the_rate_is_of_the_handle(self, namespace: Any, make: Make, writer: Any) -> None:
        """K8: three handles of one state in one process: 0, 10 ms, 1 s."""
        handles = [namespace.subscribe("s") for _ in range(3)]
        for handle, interval in zip(handles, (0, 0.01, 1.0), strict=True):
            handle.throttle(interval)
        shown: list[set[int]] = [set(), set(), set()]
        for value in range(1, 2001):
            put(writer, value)
            for seen, handle in zip(shown, handles, strict=True):
                seen.add(number(handle.read()))
            make.advance(1_000_000)
        assert [len(seen) for seen in shown] == [2000, 200, 2]

    def test_transactions_that_may_write_are_not_throttled(
        self, namespace: Any, make: Make, writer: Any
    ) -> None:
        """K56, P6: they would always conflict; the handle's reads go by the rule all the same."""
        handle = namespace.subscribe("s", "rw")
        handle.throttle(1.0)
        put(writer, 1)
        assert number(handle.read()) == 1
        for value in range(2, 10):
            put(writer, value)
            with handle.transaction() as txn:
                assert number(bytes(txn.data)) == value
                txn.data[7] ^= 1
            assert number(handle.read()) == 1
        make.advance(S)
        assert handle.changed()

    def test_a_write_transaction_shows_nothing(
        self, namespace: Any, make: Make, writer: Any
    ) -> None:
        """K56, P5: the change that it started from is still shown at its time."""
        handle = namespace.subscribe("s", "rw")
        handle.throttle(1.0)
        put(writer, 1)
        handle.read()
        put(writer, 2)
        handle.transaction().abort()
        make.advance(S)
        assert handle.changed()
        assert number(handle.read()) == 2

    def test_a_throttled_handle_cannot_be_seen_together_with_others(
        self, namespace: Any, make: Make, writer: Any, reader: Any
    ) -> None:
        """K56 P1 and P4, K68: it shows what was; InvalidArgument, not a conflict with itself."""
        other = namespace.subscribe("other", "rw", size=8)
        reader.throttle(1.0)
        reader.read()
        put(writer, 1)
        for members in ((other, reader), (reader, other)):
            with pytest.raises(InvalidArgument):
                namespace.transaction(*members)
            with pytest.raises(InvalidArgument):
                make.snapshot(*members)
        assert number(reader.read()) == 0
        assert not reader.changed()
        reader.throttle(0)
        assert number(make.snapshot(reader)[0].data) == 1
        with namespace.transaction(other, reader) as txn:
            txn[other].data[0] = 1

    def test_a_throttled_writer_can_be_a_member(
        self, namespace: Any, make: Make, writer: Any
    ) -> None:
        """K56, P6: of a transaction, which shows nothing; not of a snapshot, which would."""
        other = namespace.subscribe("other", "rw", size=8)
        handle = namespace.subscribe("s", "rw")
        handle.throttle(1.0)
        handle.read()
        put(writer, 1)
        with pytest.raises(InvalidArgument):
            make.snapshot(handle, other)
        for members in ((other, handle), (handle, other)):
            with namespace.transaction(*members) as txn:
                assert number(bytes(txn[handle].data)) == 1
                txn[other].data[0] += 1
        assert number(handle.read()) == 0
        assert (other.version, writer.version) == (2, 1)
        make.advance(S)
        assert handle.changed()

    def test_zero_turns_it_off(self, make: Make, writer: Any, reader: Any) -> None:
        """K56, P7: at once."""
        reader.throttle(1000)
        put(writer, 1)
        reader.read()
        put(writer, 2)
        assert not reader.changed()
        reader.throttle(0)
        assert reader.changed()
        assert number(reader.read()) == 2
        put(writer, 3)
        assert number(reader.read()) == 3

    @pytest.mark.parametrize(("first", "then"), [(1000, 2), (1, 2)])
    def test_a_new_interval_counts_from_the_last_change_shown(
        self, make: Make, writer: Any, reader: Any, first: int, then: int
    ) -> None:
        """K56, P7: shorter or longer."""
        reader.throttle(first)
        put(writer, 1)
        reader.read()
        put(writer, 2)
        make.advance(S // 2)
        reader.throttle(then)
        make.advance(then * S - S // 2 - 1)
        assert not reader.changed()
        assert number(reader.read()) == 1
        make.advance(1)
        assert reader.changed()
        assert number(reader.read()) == 2

    def test_throttling_takes_no_news_away(self, make: Make, writer: Any, reader: Any) -> None:
        """K54, K56 P5: a change that no look has shown is still one, now or an interval later."""
        reader.read()
        put(writer, 1)
        reader.throttle(1.0)
        make.advance(S)
        assert reader.changed()
        assert number(reader.read()) == 1
        assert not reader.changed()

    def test_a_handle_that_was_not_throttled_begins_anew(
        self, make: Make, writer: Any, reader: Any
    ) -> None:
        """K56, P2 and P7: its next look shows the newest, and the interval counts from there."""
        for round_ in range(3):
            put(writer, 1)
            assert number(reader.read()) == 1
            reader.throttle(1.0)
            make.advance(S // 2)
            put(writer, 2)
            assert reader.changed()
            assert number(reader.read()) == 2
            put(writer, 3)
            make.advance(S - 1)
            assert number(reader.read()) == 2
            make.advance(round_)  # 0, 1, 2 ns
            assert number(reader.read()) == (3 if round_ else 2)
            reader.throttle(0)

    def test_the_interval_counts_from_a_first_look_without_news(
        self, make: Make, writer: Any, reader: Any
    ) -> None:
        """K56, P2: what it shows is then the first version that it shows."""
        put(writer, 1)
        reader.read()
        reader.throttle(1.0)
        make.advance(S)
        assert number(reader.read()) == 1
        make.advance(S // 2)
        put(writer, 2)
        assert number(reader.read()) == 1
        make.advance(S // 2)
        assert number(reader.read()) == 2

    def test_asking_about_the_newest_version_is_not_throttled(
        self, writer: Any, reader: Any
    ) -> None:
        """K54, K56: version, size and info show nothing."""
        reader.throttle(1.0)
        reader.read()
        put(writer, 1)
        writer.set_size(16)
        assert (reader.version, reader.size, reader.info().version) == (2, 16, 2)
        assert len(reader.read()) == 8

    def test_a_deleted_state_is_not_shown_any_longer(self, writer: Any, reader: Any) -> None:
        """K32, K56: at once."""
        reader.throttle(1000)
        reader.read()
        writer.delete()
        for look in SHOWING.values():
            with pytest.raises(Deleted):
                look(reader)
        with pytest.raises(Deleted):
            reader.changed()

    def test_a_throttled_view_keeps_its_bytes(self, writer: Any, reader: Any) -> None:
        """K37, K56: they are not overwritten."""
        reader.throttle(1000)
        put(writer, 1)
        view = reader.view()
        for value in range(2, 50):
            put(writer, value)
        assert number(bytes(view.memoryview)) == 1
        assert (view.check(), view.version, len(view)) == (True, 1, 8)

    def test_no_interval_is_refused(self, reader: Any) -> None:
        """K56: None, and more than a lifetime."""
        for wrong in (None, float("inf"), 1e12):
            with pytest.raises(InvalidArgument):
                reader.throttle(wrong)
