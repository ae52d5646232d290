"""The suite for namespaces of states: subscribing, reading, and learning of changes."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.errors import Closed, Conflict, Deleted, InvalidArgument, NotFound, NotPermitted
from holdfast.state import PAGE_SIZE, Permission
from holdfast.testing.conformance.making import Make, NamespaceSuite, number, put

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOOKS", "Reads"]

PATIENCE_S = 30.0  # a bound for liveness, never a measure

LOOKS: dict[str, Callable[[Any], Any]] = {
    "read": lambda state: state.read(),
    "readinto": lambda state: state.readinto(bytearray(PAGE_SIZE)),
    "snapshot": lambda state: state.snapshot(),
    "view": lambda state: state.view(),
    "transaction": lambda state: state.transaction().abort(),
}


class Reads(NamespaceSuite):
    """Subscribing, reading, and learning of changes."""

    # -- subscribing ------------------------------------------------------------------------------

    @pytest.mark.parametrize("permissions", ["r", "w", "rw", 1, 2, 3, Permission.READ])
    def test_any_subscription_makes_the_state(self, namespace: Any, permissions: Any) -> None:
        """K17, K18, K20: consumers may come first; an unwritten state is a page of zeros."""
        state = namespace.subscribe("a.b", permissions)
        assert (state.name, state.version, state.written) == ("a.b", 0, False)
        assert (state.read(), state.size) == (bytes(PAGE_SIZE), PAGE_SIZE)
        assert state.permissions == ("r" if permissions in {"r", 1, Permission.READ} else "rw")
        assert not state.closed
        assert not state.persistent
        assert namespace.names() == ["a.b"]

    def test_handles_of_one_name_are_of_one_state(self, namespace: Any, make: Make) -> None:
        """K17: through whatever namespace object of the directory."""
        first = namespace.subscribe("s", "rw", size=8)
        second = make().subscribe("s")
        put(first, 7)
        assert number(second.read()) == 7
        assert first.incarnation == second.incarnation
        assert len(bytes.fromhex(first.incarnation)) == 16

    @pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "a/b", "ä", "a b", "a" * 201])
    def test_a_bad_name_is_refused(self, namespace: Any, name: str) -> None:
        """K16: and nothing is made."""
        with pytest.raises(InvalidArgument):
            namespace.subscribe(name)
        assert namespace.names() == []

    @pytest.mark.parametrize("permissions", ["", "x", "rx", 0, 4, None])
    def test_a_bad_permission_is_refused(self, namespace: Any, permissions: Any) -> None:
        """K18: InvalidArgument."""
        with pytest.raises(InvalidArgument):
            namespace.subscribe("s", permissions)
        assert namespace.names() == []

    @pytest.mark.parametrize("size", [0, -1, PAGE_SIZE + 1])
    def test_a_bad_size_is_refused(self, namespace: Any, size: int) -> None:
        """K15: 1 to one page."""
        with pytest.raises(InvalidArgument):
            namespace.subscribe("s", size=size)
        assert namespace.names() == []

    def test_what_must_exist_is_not_made(self, namespace: Any) -> None:
        """K17: create=False."""
        with pytest.raises(NotFound):
            namespace.subscribe("s", create=False)
        assert namespace.names() == []
        with namespace.subscribe("s"):
            assert namespace.subscribe("s", create=False).version == 0

    def test_an_unwritten_state_becomes_the_size_asked_for(self, namespace: Any) -> None:
        """K24: that is a commit; a reader may not do it."""
        first = namespace.subscribe("s", size=8)
        with pytest.raises(NotPermitted):
            namespace.subscribe("s", "r", size=16)
        namespace.subscribe("s", "rw", size=16)
        assert (first.size, first.version, first.written) == (16, 1, False)

    def test_a_written_state_must_match_the_size_asked_for(
        self, namespace: Any, writer: Any
    ) -> None:
        """K25: else InvalidArgument, and the state is as it was."""
        put(writer, 1)
        for size in (4, 16):
            with pytest.raises(InvalidArgument):
                namespace.subscribe("s", "rw", size=size)
        assert namespace.subscribe("s", "rw", size=8).version == 1
        assert namespace.subscribe("s").size == 8

    def test_a_type_gives_the_size_and_the_value(self, namespace: Any) -> None:
        """K15: of a state made here; None until somebody has written."""
        state = namespace.subscribe("s", "rw", type="<qd")
        assert (state.size, state.value) == (struct.calcsize("<qd"), None)
        with state.transaction() as txn:
            txn.value = (3, 0.5)
            assert txn.value == (3, 0.5)
        assert state.value == (3, 0.5)
        with pytest.raises(InvalidArgument), state.transaction() as txn:
            txn.value = ("three",)
        assert state.version == 1
        with pytest.raises(InvalidArgument):
            _ = namespace.subscribe("s").value
        with pytest.raises(InvalidArgument):
            namespace.subscribe("t", type=object())

    # -- reading ----------------------------------------------------------------------------------

    def test_a_default_stands_for_what_nobody_has_written(self, writer: Any, reader: Any) -> None:
        """K34: a change of size is no writing."""
        writer.set_size(4)
        assert reader.read() == bytes(4)
        assert reader.read("nothing") == "nothing"
        assert reader.read(default=b"") == b""
        with writer.transaction() as txn:
            txn.data[0] = 1
        assert reader.read("nothing") == b"\1\0\0\0"

    def test_all_ways_of_reading_see_the_same(self, writer: Any, reader: Any) -> None:
        """K35, K37: read, readinto, snapshot, view and a transaction."""
        for value in range(1, 5):
            put(writer, value)
            buffer = bytearray(12)
            assert reader.readinto(buffer) == 8
            snapshot, view, txn = reader.snapshot(), reader.view(), reader.transaction()
            found = [reader.read(), bytes(buffer[:8]), snapshot.data, bytes(view.memoryview)]
            found.append(bytes(txn.data))
            assert {number(data) for data in found} == {value}
            assert {snapshot.version, view.version, txn.version, reader.version} == {value}
            assert (len(view), view.check()) == (8, True)
            assert view.memoryview.readonly
            assert snapshot.incarnation == reader.incarnation

    def test_a_snapshot_says_when_and_by_whom(self, writer: Any, reader: Any) -> None:
        """K35: nobody has committed version 0."""
        unwritten = reader.snapshot()
        assert (unwritten.version, unwritten.time_ns, unwritten.pid) == (0, 0, 0)
        put(writer, 1)
        first = reader.snapshot()
        put(writer, 2)
        second = reader.snapshot()
        assert first.pid == second.pid != 0
        assert second.time_ns >= first.time_ns

    def test_a_short_buffer_is_refused_and_nothing_is_shown(self, writer: Any, reader: Any) -> None:
        """K35, K54: what could not be shown is still news."""
        put(writer, 1)
        with pytest.raises(InvalidArgument):
            reader.readinto(bytearray(7))
        assert reader.changed()

    def test_a_view_that_checks_is_of_its_version(self, writer: Any, reader: Any) -> None:
        """K37: while check() holds the bytes are those; in the end it does not."""
        put(writer, 1)
        view = reader.view()
        for value in range(2, 50):
            assert not view.check() or number(bytes(view.memoryview)) == 1
            put(writer, value)
        assert not view.check()
        assert view.version == 1

    def test_info_tells_what_is_known(self, namespace: Any, writer: Any) -> None:
        """K54: and shows nothing."""
        put(writer, 1)
        alone = writer.info()
        assert (alone.name, alone.permissions, alone.size) == ("s", "rw", 8)
        assert (alone.version, alone.written, alone.retained) == (1, True, False)
        assert (alone.commits, alone.conflicts, alone.others) == (1, 0, False)
        assert alone.persistent is None
        reader = namespace.subscribe("s")
        assert reader.info().others
        assert reader.info().incarnation == writer.incarnation
        assert (reader.info().commits, reader.info().permissions) == (0, "r")
        repr(reader), repr(namespace)
        assert reader.changed()

    # -- learning of changes ----------------------------------------------------------------------

    def test_version_zero_is_no_news(self, reader: Any) -> None:
        """K54: nothing has happened yet."""
        assert not reader.changed()
        assert not reader.wait(0)

    @pytest.mark.parametrize("look", LOOKS)
    def test_every_look_takes_the_news(self, writer: Any, reader: Any, look: str) -> None:
        """K54: until the next commit; each handle for itself."""
        for value in range(1, 4):
            put(writer, value)
            assert reader.changed()
            assert reader.wait(timedelta(0))
            LOOKS[look](reader)
            assert not reader.changed()
            assert reader.wait(0) is False

    def test_a_fresh_handle_on_a_written_state_has_news(self, namespace: Any, writer: Any) -> None:
        """K55e: at once; waiting for ever takes no time."""
        put(writer, 1)
        assert namespace.subscribe("s").changed()
        assert namespace.subscribe("s").wait(None)
        assert namespace.subscribe("s").wait(5)

    def test_ones_own_commit_is_news_too(self, writer: Any, reader: Any) -> None:
        """K54: a handle has shown what its transaction started from."""
        put(writer, 1)
        assert writer.changed()
        assert reader.changed()
        writer.read()
        assert not writer.changed()
        assert reader.changed()

    @pytest.mark.parametrize("wrong", [-1, -1e-9, float("nan"), timedelta(seconds=-1)])
    def test_a_negative_wait_is_refused(self, reader: Any, wrong: Any) -> None:
        """K54: InvalidArgument, and so is a negative throttle."""
        with pytest.raises(InvalidArgument):
            reader.wait(wrong)
        with pytest.raises(InvalidArgument):
            reader.throttle(wrong)

    def test_changes_come_to_an_event_loop(self, writer: Any, reader: Any) -> None:
        """K54: the newest at once, those that come too fast merged, deletion at the end."""

        async def consume() -> list[int]:
            seen = []
            changes = reader.changes()
            with contextlib.suppress(Deleted):
                async for snapshot in changes:
                    seen.append(snapshot.version)
                    if snapshot.version == 3:
                        asyncio.get_running_loop().call_soon(put, writer, 9)
                    elif snapshot.version == 4:
                        put(writer, 10)
                        put(writer, 11)
                    elif snapshot.version == 6:
                        asyncio.get_running_loop().call_soon(writer.delete)
            return seen

        for value in range(3):
            put(writer, value)
        assert asyncio.run(asyncio.wait_for(consume(), PATIENCE_S)) == [3, 4, 6]

    def test_closing_a_handle_ends_its_changes(
        self, namespace: Any, writer: Any, reader: Any
    ) -> None:
        """K54: with Closed, also while its task waits."""

        async def consume() -> None:
            async for _ in reader.changes():
                asyncio.get_running_loop().call_soon(reader.close)

        put(writer, 1)
        with pytest.raises(Closed):
            asyncio.run(asyncio.wait_for(consume(), PATIENCE_S))

    def test_a_conflict_is_told_with_its_versions(self, writer: Any, reader: Any) -> None:
        """K46: which was started from, which is current, on which state, and what to do."""
        txn = writer.transaction()
        txn.data[0] = 1
        put(writer, 5)
        with pytest.raises(Conflict) as caught:
            txn.commit()
        error = caught.value
        assert (error.started, error.current, error.attempts, error.on) == (0, 1, 1, "s")
        assert error.hint
        assert writer.info().conflicts == 1
