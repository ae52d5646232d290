"""The suite for namespaces of states: transactions on one state."""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from typing import Any

import pytest

from holdfast.errors import Abort, Conflict, Deleted, InvalidArgument, NotPermitted
from holdfast.testing.conformance.making import NamespaceSuite, number, put

__all__ = ["Commits"]


class Commits(NamespaceSuite):
    """Transactions on one state."""

    def test_a_commit_makes_the_private_copy_the_newest_version(
        self, writer: Any, reader: Any
    ) -> None:
        """K39, K41: for nobody before, for everybody after; versions count by one."""
        for value in range(1, 4):
            txn = writer.transaction()
            assert (txn.version, txn.active, len(txn.data)) == (value - 1, True, 8)
            txn.data[:] = value.to_bytes(8, "little")
            assert number(reader.read()) == number(writer.read()) == value - 1
            assert txn.commit() == txn.version == value
            assert not txn.active
            assert number(reader.read()) == number(writer.read()) == value

    def test_an_aborted_transaction_leaves_no_trace(self, writer: Any, reader: Any) -> None:
        """K43: no version, no news."""
        txn = writer.transaction()
        txn.data[0] = 1
        txn.abort()
        assert (reader.version, reader.written, reader.changed()) == (0, False, False)

    def test_the_body_of_a_with_statement_commits_or_aborts(self, writer: Any, reader: Any) -> None:
        """K39: commits at its end, aborts if it raises."""
        with writer.transaction() as txn:
            txn.data[0] = 1
        with contextlib.suppress(ZeroDivisionError), writer.transaction() as txn:
            txn.data[0] = 2
            raise ZeroDivisionError
        assert not txn.active
        assert (reader.version, reader.read()[0]) == (1, 1)

    def test_a_body_may_end_its_transaction_itself(self, writer: Any) -> None:
        """K44: and then the end of the body does nothing."""
        with writer.transaction() as txn:
            txn.data[0] = 1
            assert txn.commit() == 1
        with writer.transaction() as txn:
            txn.data[0] = 2
            txn.abort()
        assert (writer.version, writer.read()[0]) == (1, 1)

    def test_somebody_elses_commit_makes_it_fail(self, namespace: Any, writer: Any) -> None:
        """K10, K41: at the commit, not before; nothing is written."""
        rival = namespace.subscribe("s", "rw")
        txn = writer.transaction()
        put(rival, 5)
        txn.data[:] = b"mine...."
        with pytest.raises(Conflict):
            txn.commit()
        assert not txn.active
        assert (number(writer.read()), writer.version) == (5, 1)

    def test_equal_bytes_of_another_version_conflict_too(self, writer: Any) -> None:
        """K41: A to B to A are two changes."""
        txn = writer.transaction()
        txn.data[0] = 1
        put(writer, 9)
        put(writer, 0)
        with pytest.raises(Conflict):
            txn.commit()

    def test_an_unchanged_copy_is_not_committed(self, writer: Any, reader: Any) -> None:
        """K45: so nothing can conflict, and nobody is told; unless it is forced."""
        txn = writer.transaction()
        put(writer, 5)
        txn.data[0] = 0
        assert txn.commit() == 0
        reader.read()
        forced = writer.transaction()
        assert forced.commit(force=True) == 2
        assert reader.changed()
        assert number(reader.read()) == 5
        late = writer.transaction()
        put(writer, 6)
        with pytest.raises(Conflict):
            late.commit(force=True)

    def test_an_ended_transaction_is_of_no_more_use(self, writer: Any) -> None:
        """K44: InvalidArgument for all but its version."""
        for end in ("commit", "abort"):
            txn = writer.transaction()
            getattr(txn, end)()
            assert not txn.active
            for use in (
                txn.commit,
                txn.abort,
                txn.__enter__,
                lambda txn=txn: txn.data,
                lambda txn=txn: txn.write(0, b"x"),
                lambda txn=txn: txn.add(writer),
                lambda txn=txn: txn[writer],
            ):
                with pytest.raises(InvalidArgument):
                    use()
            assert txn.version == 0

    def test_the_buffer_of_an_ended_transaction_is_released(self, writer: Any) -> None:
        """K42: whoever kept it finds out, instead of writing into nowhere."""
        for end in ("commit", "abort"):
            txn = writer.transaction()
            data = txn.data
            assert txn.data is data
            getattr(txn, end)()
            with pytest.raises(ValueError, match="released"):
                data[0] = 1

    def test_bytes_are_written_within_bounds_only(self, writer: Any) -> None:
        """K42: write() and the memoryview."""
        with writer.transaction() as txn:
            txn.write(0, b"ab")
            txn.write(6, memoryview(b"cd"))
            txn.write(8, b"")
            for offset, data in ((7, b"xx"), (9, b""), (-1, b"x"), (0, bytes(9))):
                with pytest.raises(InvalidArgument):
                    txn.write(offset, data)
        assert writer.read() == b"ab\0\0\0\0cd"

    def test_a_transaction_on_a_read_only_handle_is_a_frozen_view(
        self, writer: Any, reader: Any
    ) -> None:
        """K40: its buffer is read-only, its commit an abort, forced or not."""
        put(writer, 1)
        txn = reader.transaction()
        put(writer, 2)
        assert txn.data.readonly
        assert number(bytes(txn.data)) == 1
        with pytest.raises(NotPermitted):
            txn.write(0, b"x")
        with pytest.raises(TypeError):
            txn.data[0] = 1
        assert txn.commit() == 1
        assert reader.transaction().commit(force=True) == 2
        assert writer.version == 2

    @pytest.mark.parametrize(
        ("inner", "outer"), list(itertools.product(["commit", "abort"], repeat=2))
    )
    @pytest.mark.parametrize("nested", [True, False])
    def test_transactions_are_independent_nested_or_not(
        self, writer: Any, inner: str, outer: str, nested: bool
    ) -> None:
        """K11, K52: in each order of ends the first commit wins, and a read sees commits only."""
        first, second = writer.transaction(), writer.transaction()
        first.data[0], second.data[0] = 1, 2
        assert (first.data[0], second.data[0], writer.read()[0]) == (1, 2, 0)
        ends = [(second, inner, 2), (first, outer, 1)]
        winner = 0
        for txn, end, value in ends if nested else reversed(ends):
            if end == "commit" and winner:
                with pytest.raises(Conflict):
                    txn.commit()
            else:
                getattr(txn, end)()
                winner = value if end == "commit" else winner
            assert writer.read()[0] == winner

    # -- transact ---------------------------------------------------------------------------------

    def test_transact_commits_and_returns_what_the_function_did(self, writer: Any) -> None:
        """K49: once, if nobody interferes."""
        assert writer.transact(lambda txn: txn.write(0, b"done") or "result") == "result"
        assert (writer.read()[:4], writer.version) == (b"done", 1)

    @pytest.mark.parametrize("times", [1, 2, 7])
    def test_transact_begins_again_after_each_conflict(self, writer: Any, times: int) -> None:
        """K51: from the new contents."""
        runs = 0

        def fn(txn: Any) -> int:
            nonlocal runs
            runs += 1
            txn.data[7] += 1
            if runs <= times:
                writer.transact(lambda other: other.write(0, bytes([runs])))
            return runs

        assert writer.transact(fn) == times + 1
        assert (writer.read()[0], writer.read()[7], writer.version) == (times, 1, times + 1)

    def test_the_attempts_of_transact_can_be_limited(self, writer: Any) -> None:
        """K51: by number, or by a time that limits the beginning of new ones."""

        def overtaken(txn: Any) -> None:
            txn.data[7] = 1
            put(writer, 1)

        for limit, attempts in (
            ({"attempts": 1}, 1),
            ({"attempts": 5}, 5),
            ({"timeout": 0}, 1),
            ({"timeout": timedelta(0), "attempts": 3}, 1),
        ):
            with pytest.raises(Conflict) as caught:
                writer.transact(overtaken, **limit)
            assert caught.value.attempts == attempts
        for wrong in ({"attempts": 0}, {"timeout": -1}):
            with pytest.raises(InvalidArgument):
                writer.transact(overtaken, **wrong)

    @pytest.mark.parametrize("error", [Abort("enough"), KeyError("k"), KeyboardInterrupt()])
    def test_what_the_function_raises_ends_the_matter(
        self, writer: Any, error: BaseException
    ) -> None:
        """K50: nothing is written, nothing tried again."""
        kept = []

        def fn(txn: Any) -> None:
            kept.append(txn)
            txn.data[0] = 1
            raise error

        with pytest.raises(type(error)) as caught:
            writer.transact(fn)
        assert caught.value is error
        assert [txn.active for txn in kept] == [False]
        assert writer.version == 0

    def test_transact_needs_permission_to_write(self, reader: Any) -> None:
        """K40: it is asked before the function is called."""
        called: list[Any] = []
        with pytest.raises(NotPermitted):
            reader.transact(called.append)
        assert called == []

    def test_transact_ends_when_the_state_is_deleted(self, writer: Any) -> None:
        """K32, K51: Deleted is no reason to try again."""

        def fn(txn: Any) -> None:
            txn.data[0] = 1
            writer.delete()

        with pytest.raises(Deleted):
            writer.transact(fn)
