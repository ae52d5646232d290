"""The suite for namespaces of states: growing, deleting, vanishing and staying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from holdfast.errors import Busy, Closed, Conflict, Deleted, InvalidArgument, NotPermitted
from holdfast.state import PAGE_SIZE
from holdfast.testing.conformance.making import Make, NamespaceSuite, number, put

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Life"]

USES: list[Callable[[Any], Any]] = [
    lambda state: state.read(),
    lambda state: state.readinto(bytearray(PAGE_SIZE)),
    lambda state: state.snapshot(),
    lambda state: state.view(),
    lambda state: state.version,
    lambda state: state.size,
    lambda state: state.written,
    lambda state: state.changed(),
    lambda state: state.wait(0),
    lambda state: state.wait(None),
    lambda state: state.info(),
    lambda state: state.transaction(),
    lambda state: state.transact(lambda txn: txn.write(0, b"x")),
    lambda state: state.set_size(8),
    lambda state: state.delete(),
]


class Life(NamespaceSuite):
    """Growing, deleting, vanishing and staying."""

    # -- size -------------------------------------------------------------------------------------

    def test_an_unwritten_state_takes_any_size(self, writer: Any, reader: Any) -> None:
        """K23, K24: each change is a commit that does not count as written; the same size none."""
        version = 0
        for size in (16, 1, PAGE_SIZE, 8):
            writer.set_size(size)
            version += 1
            assert (reader.size, reader.version, reader.written) == (size, version, False)
            assert reader.changed()
            assert reader.read() == bytes(size)
        writer.set_size(8)
        assert reader.version == version

    def test_a_written_state_only_grows(self, writer: Any, reader: Any) -> None:
        """K25: the old bytes stay, the new ones are zeros; smaller is refused."""
        put(writer, 77)
        for size in (9, 64, 200, PAGE_SIZE):
            writer.set_size(size)
            assert reader.read() == (77).to_bytes(8, "little").ljust(size, b"\0")
            assert reader.written
        version = reader.version
        with pytest.raises(InvalidArgument):
            writer.set_size(PAGE_SIZE - 1)
        writer.set_size(PAGE_SIZE)
        assert (reader.size, reader.version) == (PAGE_SIZE, version)

    @pytest.mark.parametrize("size", [0, -1, PAGE_SIZE + 1])
    def test_sizes_are_one_byte_to_one_page(self, writer: Any, size: int) -> None:
        """K15: InvalidArgument, and nothing is changed."""
        with pytest.raises(InvalidArgument):
            writer.set_size(size)
        assert (writer.size, writer.version) == (8, 0)

    def test_readers_change_no_size(self, reader: Any) -> None:
        """K23: NotPermitted."""
        with pytest.raises(NotPermitted):
            reader.set_size(16)
        assert reader.size == 8

    def test_a_change_of_size_conflicts_with_open_transactions(self, writer: Any) -> None:
        """K23: it is a commit."""
        txn = writer.transaction()
        txn.data[0] = 1
        writer.set_size(16)
        with pytest.raises(Conflict):
            txn.commit()
        with writer.transaction() as txn:
            assert len(txn.data) == 16

    # -- deletion ---------------------------------------------------------------------------------

    def test_a_deleted_state_is_gone_for_every_handle(
        self, namespace: Any, writer: Any, reader: Any
    ) -> None:
        """K30, K32: whatever is done, Deleted; closing is still harmless."""
        rival = namespace.subscribe("s", "rw")
        put(writer, 1)
        writer.delete()
        assert namespace.names() == []
        for state in (writer, rival):
            for use in USES:
                with pytest.raises(Deleted):
                    use(state)
        with pytest.raises(Deleted):
            reader.read()
        assert (reader.name, reader.permissions, reader.closed) == ("s", "r", False)
        for state in (writer, rival, reader):
            state.close()

    def test_open_transactions_of_a_deleted_state_fail(self, writer: Any) -> None:
        """K32: at the commit, if they have changed anything."""
        changed, unchanged = writer.transaction(), writer.transaction()
        changed.data[0] = 1
        writer.delete()
        with pytest.raises(Deleted):
            changed.commit()
        assert not changed.active
        assert unchanged.commit() == 0

    def test_a_subscription_after_deletion_makes_a_new_state(
        self, namespace: Any, writer: Any
    ) -> None:
        """K32: of version 0; the old handles stay deleted."""
        put(writer, 1)
        writer.delete()
        fresh = namespace.subscribe("s", "rw", size=16)
        assert (fresh.version, fresh.size, fresh.read()) == (0, 16, bytes(16))
        assert fresh.incarnation != writer.incarnation
        put(fresh, 2)
        with pytest.raises(Deleted):
            writer.read()
        writer.close()
        assert number(fresh.read()) == 2
        assert namespace.names() == ["s"]

    def test_another_process_forbids_deletion(self, make: Make, writer: Any) -> None:
        """K31: Busy, and nothing has changed; not after it has left or died."""
        for end in ("leave", "die"):
            stranger = make.stranger("s")
            with pytest.raises(Busy):
                writer.delete()
            put(writer, 1)
            assert number(writer.read()) == 1
            getattr(stranger, end)()
        writer.delete()

    def test_ones_own_handles_do_not_forbid_it(self, make: Make, writer: Any) -> None:
        """K31: through whatever namespace object they were made."""
        other = make().subscribe("s")
        writer.delete()
        with pytest.raises(Deleted):
            other.read()

    def test_readers_delete_nothing(self, reader: Any) -> None:
        """K30: NotPermitted."""
        with pytest.raises(NotPermitted):
            reader.delete()
        assert reader.version == 0

    # -- ending -----------------------------------------------------------------------------------

    def test_a_closed_handle_refuses_to_be_used(self, namespace: Any, writer: Any) -> None:
        """K54: Closed; closing twice is harmless."""
        other = namespace.subscribe("s", "rw")
        other.close()
        other.close()
        assert other.closed
        for use in USES:
            with pytest.raises(Closed):
                use(other)
        repr(other)
        assert not writer.closed

    def test_a_namespace_closes_its_handles(self, make: Make, writer: Any) -> None:
        """K26: those that were made through it, and no others."""
        with make() as other:
            state = other.subscribe("s")
        assert (state.closed, other.closed, writer.closed) == (True, True, False)
        other.close()
        for use in (lambda: other.subscribe("s"), other.names, lambda: other.transaction(writer)):
            with pytest.raises(Closed):
                use()

    def test_a_transaction_outlives_its_handle(self, namespace: Any, writer: Any) -> None:
        """K26, K44: and keeps its subscription until it ends."""
        txn = writer.transaction()
        incarnation = writer.incarnation
        txn.data[0] = 1
        writer.close()
        assert namespace.names() == ["s"]
        with namespace.subscribe("s") as reader:
            assert reader.incarnation == incarnation
            assert txn.commit() == 1
            assert reader.read()[0] == 1
        assert namespace.names() == []

    # -- vanishing and staying --------------------------------------------------------------------

    def test_a_state_vanishes_with_its_last_subscriber(self, namespace: Any, make: Make) -> None:
        """K26: not before; the next one gets a new state."""
        first = namespace.subscribe("s", "rw", size=8)
        second = make().subscribe("s")
        put(first, 1)
        incarnation = first.incarnation
        first.close()
        assert number(second.read()) == 1
        second.close()
        assert namespace.names() == []
        with namespace.subscribe("s") as fresh:
            assert (fresh.version, fresh.size) == (0, PAGE_SIZE)
            assert fresh.incarnation != incarnation

    def test_a_handle_that_disappears_has_unsubscribed(self, namespace: Any) -> None:
        """K26: nobody has to remember to close it."""
        state = namespace.subscribe("s")
        assert namespace.names() == ["s"]
        del state
        assert namespace.names() == []

    def test_another_process_keeps_a_state_until_it_leaves(
        self, namespace: Any, make: Make
    ) -> None:
        """K26: in good order."""
        with namespace.subscribe("s", "rw", size=8) as state:
            stranger = make.stranger("s", "rw")
        assert namespace.names() == ["s"]
        stranger.put(b"\5")
        with namespace.subscribe("s") as state:
            assert state.read()[0] == 5
            assert state.snapshot().pid > 0
        stranger.leave()
        assert namespace.names() == []

    def test_the_dead_keep_nothing(self, namespace: Any, make: Make) -> None:
        """K26: after a kill the next subscriber gets a new state, a living one keeps the old."""
        with namespace.subscribe("s", "rw", size=8) as state:
            stranger = make.stranger("s", "rw")
            stranger.put(b"\5")
            incarnation = state.incarnation
            stranger.die()
            assert not state.info().others
            assert state.read()[0] == 5
            stranger = make.stranger("s")
        stranger.die()
        with namespace.subscribe("s") as fresh:
            assert (fresh.version, fresh.written) == (0, False)
            assert fresh.incarnation != incarnation

    def test_what_is_not_there_is_not_found_among_the_dead(
        self, namespace: Any, make: Make
    ) -> None:
        """K17, K26: a state whose subscribers are all dead does not exist."""
        make.stranger("s").die()
        with pytest.raises(FileNotFoundError):
            namespace.subscribe("s", create=False)

    def test_a_retained_state_stays(self, make: Make) -> None:
        """K26: until it is deleted; whether it is, its maker decides."""
        namespace = make(retain=True)
        with namespace.subscribe("s", "rw", size=8) as state:
            put(state, 1)
            assert state.info().retained
            incarnation = state.incarnation
        assert make().names() == ["s"]
        with make().subscribe("s", "rw") as state:
            assert (number(state.read()), state.incarnation) == (1, incarnation)
            assert state.info().retained
        make.stranger("s").die()
        with make().subscribe("s", "rw", create=False) as state:
            assert number(state.read()) == 1
            state.delete()
        assert make().names() == []
        with make().subscribe("s") as state, namespace.subscribe("s") as other:
            assert not state.info().retained
            assert not other.info().retained

    def test_commits_on_one_state_do_not_show_on_another(self, namespace: Any) -> None:
        """K14: any number of them."""
        states = [namespace.subscribe(f"s.{i}", "rw", size=8) for i in range(100)]
        assert namespace.names() == sorted(state.name for state in states)
        for i, state in enumerate(states):
            txn = states[i - 1].transaction()
            txn.data[7] = 1
            put(state, i + 1)
            txn.abort()
        assert [number(state.read()) for state in states] == list(range(1, 101))
        assert {state.version for state in states} == {1}
