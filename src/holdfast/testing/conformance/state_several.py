"""The suite for namespaces of states: several states in one transaction, and in one snapshot."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from holdfast.errors import Closed, Conflict, Deleted, InvalidArgument, NotPermitted
from holdfast.testing.conformance.making import Make, NamespaceSuite, number, put

__all__ = ["SeveralStates"]


def five(namespace: Any) -> list[Any]:
    return [namespace.subscribe(f"m.{i}", "rw", size=8) for i in range(5)]


class SeveralStates(NamespaceSuite):
    """Several states in one transaction, and in one snapshot."""

    @pytest.fixture
    def members(self, namespace: Any) -> list[Any]:
        """Writable handles on five states of eight bytes."""
        return five(namespace)

    def test_all_members_commit_together(
        self, namespace: Any, make: Make, members: list[Any]
    ) -> None:
        """K68: to nobody before; the number is that of the first."""
        put(members[0], 50)
        with namespace.transaction(*members) as txn:
            for i, state in enumerate(members):
                txn[state].data[0] = 10 + i
            assert txn.data[0] == txn[members[0]].data[0] == 10
            before = make.snapshot(*members)
        assert [number(snapshot.data) for snapshot in before] == [50, 0, 0, 0, 0]
        after = make.snapshot(*members)
        assert [number(snapshot.data) for snapshot in after] == [10, 11, 12, 13, 14]
        assert [snapshot.version for snapshot in after] == [2, 1, 1, 1, 1]
        assert txn.version == 2
        assert {snapshot.time_ns for snapshot in after[1:]} == {after[0].time_ns}

    def test_a_commit_gives_each_part_its_version(self, namespace: Any, members: list[Any]) -> None:
        """K68: a part that was not changed keeps the one it started from."""
        put(members[1], 1)
        txn = namespace.transaction(*members[:3])
        parts = [txn[state] for state in members[:3]]
        parts[1].data[0] = 2
        assert txn.commit() == 0
        assert [part.version for part in parts] == [0, 2, 0]
        assert not any(part.active for part in parts)
        assert [state.version for state in members] == [0, 2, 0, 0, 0]

    @pytest.mark.parametrize("moved", range(5))
    @pytest.mark.parametrize("changed", [0, 4])
    def test_if_one_has_moved_none_commits(
        self, namespace: Any, members: list[Any], moved: int, changed: int
    ) -> None:
        """K68: also one that was only required: the conflict is of the one that has moved."""
        txn = namespace.transaction(*members)
        txn[members[changed]].data[0] = 1
        txn[members[2]].data[0] = 1
        put(members[moved], 99)
        with pytest.raises(Conflict) as caught:
            txn.commit()
        assert not txn.active
        error = caught.value
        assert (error.on, error.started, error.current) == (f"m.{moved}", 0, 1)
        expected = [99 if i == moved else 0 for i in range(5)]
        assert [number(state.read()) for state in members] == expected
        assert [state.info().conflicts for state in members] == [int(i == moved) for i in range(5)]

    def test_if_nothing_was_changed_nothing_is_required(
        self, namespace: Any, members: list[Any]
    ) -> None:
        """K45, K68: and forced, all of them are written."""
        txn = namespace.transaction(*members[:2])
        put(members[1], 1)
        assert txn.commit() == 0
        txn = namespace.transaction(*members[:2])
        assert txn.commit(force=True) == 1
        assert [state.version for state in members[:2]] == [1, 2]
        late = namespace.transaction(*members[:2])
        put(members[1], 2)
        with pytest.raises(Conflict):
            late.commit(force=True)

    @pytest.mark.parametrize("order", ["a then b", "b then a"])
    def test_required_members_prevent_write_skew(
        self, namespace: Any, members: list[Any], order: str
    ) -> None:
        """K68: of two transactions that each change what the other requires, one succeeds."""
        a, b = members[:2]
        first, second = namespace.transaction(a, b), namespace.transaction(b, a)
        first[a].data[0] = second[b].data[0] = 1
        winner, loser = (first, second) if order == "a then b" else (second, first)
        winner.commit()
        with pytest.raises(Conflict):
            loser.commit()
        assert sorted([a.read()[0], b.read()[0]]) == [0, 1]

    def test_a_required_member_is_not_written(self, namespace: Any, members: list[Any]) -> None:
        """K68: no version, no news, and its own transactions do not conflict."""
        a, b = members[:2]
        watcher = namespace.subscribe(b.name)
        own = b.transaction()
        own.data[0] = 1
        with namespace.transaction(a, b) as txn:
            txn[a].data[0] = 1
        assert (b.version, b.written, watcher.changed()) == (0, False, False)
        assert own.commit() == 1

    def test_a_read_only_member_is_a_condition(self, namespace: Any, members: list[Any]) -> None:
        """K40, K68: its part cannot be written; if it has moved the commit fails."""
        a, b = members[:2]
        reader = namespace.subscribe(b.name)
        for order in ((a, reader), (reader, a)):
            txn = namespace.transaction(*order)
            assert txn[reader].data.readonly
            with pytest.raises(NotPermitted):
                txn[reader].write(0, b"x")
            txn[a].data[0] += 1
            txn.commit()
        assert (a.version, b.version) == (2, 0)
        txn = namespace.transaction(a, reader)
        txn[a].data[0] = 9
        put(b, 1)
        with pytest.raises(Conflict):
            txn.commit()
        assert a.read()[0] == 2

    def test_only_readers_commit_nothing(self, namespace: Any, members: list[Any]) -> None:
        """K40: a frozen picture of several states, forced or not."""
        readers = [namespace.subscribe(state.name) for state in members]
        txn = namespace.transaction(*readers)
        put(members[3], 1)
        assert number(bytes(txn[readers[3]].data)) == 0
        assert txn.commit(force=True) == 0
        assert members[3].version == 1

    # -- adding -----------------------------------------------------------------------------------

    def test_a_state_can_be_added_on_the_way(self, members: list[Any]) -> None:
        """K57: add() gives its part."""
        a, b = members[:2]
        with a.transaction() as txn:
            txn.data[0] = 1
            part = txn.add(b)
            part.data[0] = 2
            assert bytes(txn[b].data) == bytes(part.data)
        assert (a.read()[0], b.read()[0]) == (1, 2)

    def test_a_part_ends_with_the_whole_only(self, members: list[Any]) -> None:
        """K57: it cannot be committed, aborted or grown by itself."""
        a, b, c = members[:3]
        txn = a.transaction()
        part = txn.add(b)
        for use in (part.commit, part.abort, part.__enter__, lambda: part.add(c)):
            with pytest.raises(InvalidArgument):
                use()
        part.write(0, b"\2")
        txn.commit()
        assert (part.active, b.read()[0]) == (False, 2)
        with pytest.raises(InvalidArgument):
            _ = part.data

    def test_adding_fails_at_once_if_an_earlier_member_has_moved(self, members: list[Any]) -> None:
        """K69: Conflict, and the transaction has ended."""
        a, b, c = members[:3]
        txn = a.transaction()
        part = txn.add(b)
        put(b, 1)
        with pytest.raises(Conflict) as caught:
            txn.add(c)
        assert (caught.value.on, caught.value.started, caught.value.current) == (b.name, 0, 1)
        assert (txn.active, part.active) == (False, False)

    def test_what_was_added_last_may_have_moved_before(self, members: list[Any]) -> None:
        """K69: it is copied when it is added."""
        a, b = members[:2]
        txn = a.transaction()
        put(b, 7)
        part = txn.add(b)
        assert number(bytes(part.data)) == 7
        txn.data[0] = 1
        txn.commit()

    def test_adding_what_is_gone_is_refused(self, namespace: Any, members: list[Any]) -> None:
        """K69: Deleted and Closed at once; nothing is committed."""
        a, b, c, d = members[:4]
        b.delete()
        c.close()
        for state, error in ((b, Deleted), (c, Closed)):
            with pytest.raises(error):
                namespace.transaction(a, state)
            txn = a.transaction()
            txn.data[0] = 1
            with pytest.raises(error):
                txn.add(state)
            del txn
        assert a.version == 0
        txn = d.transaction()
        d.delete()
        with pytest.raises(Deleted):
            txn.add(a)
        assert not txn.active

    def test_a_deleted_member_ends_the_commit(self, namespace: Any, members: list[Any]) -> None:
        """K32, K68: with Deleted; nothing is written."""
        a, b = members[:2]
        txn = namespace.transaction(a, b)
        txn[a].data[0] = 1
        b.delete()
        with pytest.raises(Deleted):
            txn.commit()
        assert (txn.active, a.version) == (False, 0)

    def test_a_member_twice_is_refused(self, namespace: Any, members: list[Any]) -> None:
        """K57: InvalidArgument; the transaction goes on."""
        a, b = members[:2]
        with pytest.raises(InvalidArgument):
            namespace.transaction(a, a)
        with namespace.transaction(a, b) as txn:
            for state in (a, b):
                with pytest.raises(InvalidArgument):
                    txn.add(state)
            txn.data[0] = 1
        assert a.version == 1

    def test_two_handles_on_one_state_are_no_two_members(
        self, namespace: Any, members: list[Any]
    ) -> None:
        """K57: InvalidArgument, since one state cannot have two newest versions."""
        again = namespace.subscribe(members[0].name, "rw")
        with pytest.raises(InvalidArgument):
            namespace.transaction(members[0], members[1], again)

    def test_a_stranger_to_the_transaction_has_no_part(self, members: list[Any]) -> None:
        """K57: InvalidArgument; the transaction goes on."""
        a, b = members[:2]
        with a.transaction() as txn:
            with pytest.raises(InvalidArgument):
                _ = txn[b]
            txn.data[0] = 1
        assert a.version == 1

    def test_members_lie_in_one_directory(self, make: Make, members: list[Any]) -> None:
        """K57: else InvalidArgument; another namespace object of the same will do."""
        foreign = make.elsewhere().subscribe("m.0", "rw", size=8)
        with pytest.raises(InvalidArgument):
            make().transaction(members[0], foreign)
        beside = make().subscribe("other", "rw", size=8)
        with make().transaction(members[0], beside) as txn:
            txn[beside].data[0] = txn[members[0]].data[0] = 1
        assert (members[0].version, beside.version, foreign.version) == (1, 1, 0)

    def test_retained_and_transient_states_share_a_transaction(
        self, make: Make, members: list[Any]
    ) -> None:
        """K26, K57: retention is a flag of the state, not of the commit."""
        kept = make(retain=True).subscribe("kept", "rw", size=8)
        with make().transaction(members[0], kept) as txn:
            txn[members[0]].data[0] = txn[kept].data[0] = 1
        assert (members[0].version, kept.version) == (1, 1)
        assert (members[0].info().retained, kept.info().retained) == (False, True)
        kept.delete()

    def test_sixty_four_members_are_the_limit(self, namespace: Any, make: Make) -> None:
        """K68: for transactions and snapshots."""
        states = [namespace.subscribe(f"n.{i}", "rw", size=8) for i in range(65)]
        with pytest.raises(InvalidArgument):
            namespace.transaction(*states)
        with pytest.raises(InvalidArgument):
            make.snapshot(*states)
        with namespace.transaction(*states[:64]) as txn:
            for i, state in enumerate(states[:64]):
                txn[state].data[0] = i + 1
            with pytest.raises(InvalidArgument):
                txn.add(states[64])
        found = make.snapshot(*states[:64])
        assert [snapshot.data[0] for snapshot in found] == list(range(1, 65))

    def test_no_states_at_all(self, namespace: Any, make: Make) -> None:
        """K68: are no transaction; their snapshot is empty."""
        with pytest.raises(InvalidArgument):
            namespace.transaction()
        assert make.snapshot() == ()

    def test_one_state_is_a_transaction_like_any_other(
        self, namespace: Any, members: list[Any]
    ) -> None:
        """K68: the sum of one."""
        with namespace.transaction(members[0]) as txn:
            txn[members[0]].data[0] = 1
        assert members[0].version == 1

    def test_parts_can_be_of_different_sizes(self, namespace: Any, members: list[Any]) -> None:
        """K23, K68: and a growth of one is a conflict for all."""
        large = namespace.subscribe("large", "rw")
        with namespace.transaction(members[0], large) as txn:
            txn[large].data[-1] = txn[members[0]].data[-1] = 1
        assert (large.read()[-1], members[0].read()[-1]) == (1, 1)
        txn = namespace.transaction(members[0], large)
        txn[large].data[0] = 1
        members[0].set_size(16)
        with pytest.raises(Conflict):
            txn.commit()

    def test_aborting_ends_all_parts(self, namespace: Any, members: list[Any]) -> None:
        """K43: by abort, by an exception in the body, by disappearing."""
        txn = namespace.transaction(*members)
        txn[members[1]].data[0] = 1
        txn.abort()
        with contextlib.suppress(ZeroDivisionError), namespace.transaction(*members) as txn:
            txn[members[1]].data[0] = 1
            raise ZeroDivisionError
        assert not txn.active
        txn = namespace.transaction(*members)
        del txn
        assert {state.version for state in members} == {0}
        for state in members:
            state.close()
        assert namespace.names() == []

    def test_transact_takes_several_states(self, namespace: Any, members: list[Any]) -> None:
        """K49, K68: it begins again with all of them."""
        a, b = members[:2]
        runs = 0

        def move(txn: Any) -> str:
            nonlocal runs
            runs += 1
            txn[a].data[0] += 1
            txn[b].data[0] += 1
            if runs == 1:
                put(b, 10)
            return "moved"

        assert a.transact(move, b) == "moved"
        assert (runs, a.read()[0], b.read()[0]) == (2, 1, 11)
        reader = namespace.subscribe(a.name)
        reader.transact(lambda txn: txn[b].write(0, b"\5"), b)
        assert b.read()[0] == 5
        with pytest.raises(NotPermitted):
            reader.transact(str, namespace.subscribe(b.name))

    # -- snapshots --------------------------------------------------------------------------------

    def test_a_snapshot_shows_each_state_as_it_is(
        self, namespace: Any, make: Make, members: list[Any]
    ) -> None:
        """K68: readers will do, in the order asked for, one twice if asked for."""
        readers = [namespace.subscribe(state.name) for state in members]
        for i, state in enumerate(members):
            put(state, i)
        order = [readers[3], readers[0], readers[3]]
        found = make.snapshot(*order)
        assert [number(snapshot.data) for snapshot in found] == [3, 0, 3]
        assert [snapshot.incarnation for snapshot in found] == [s.incarnation for s in order]
        assert not readers[0].changed()
        assert readers[1].changed()

    def test_a_snapshot_of_what_is_gone_is_refused(self, make: Make, members: list[Any]) -> None:
        """K32: Deleted, Closed."""
        members[1].delete()
        members[2].close()
        for state, error in ((members[1], Deleted), (members[2], Closed)):
            with pytest.raises(error):
                make.snapshot(members[0], state)
