"""What must hold, stated in a record that no actor can see.

bytes      a read of version v gives exactly the bytes committed as v, and versions never go back
commits    each commit starts from the version right before it, and a conflict is a real one
condition  what a commit of several states requires is so at the instant of its decision
half       no snapshot has one part of a commit of several states and not the other
moment     the versions of a snapshot were current together
damage     no sound state is taken for a damaged one
recycled   a descriptor keeps its decision as long as a head names it
progress   whoever is alone comes to an end, and a newcomer commits
bell       nobody sleeps over a version whose committer has finished or died
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.explorer import Situation, Violation
from tests.model.words import COMMITTED, Pending, World


class Record(NamedTuple):
    """What has been committed so far.

    Attributes:
        logs: For each state, the bytes of each version.
        moments: All combinations of versions that were current together.
        joints: For each commit of several states, what it changed: (state, version).
        decided: The numbers of those commits.
    """

    logs: tuple[tuple[Any, ...], ...]
    moments: tuple[tuple[int, ...], ...]
    joints: tuple[tuple[tuple[int, int], ...], ...] = ()
    decided: tuple[Any, ...] = ()


def first_record(world: World) -> Record:
    return Record(((0,),) * world.states, ((0,) * world.states,))


class Judge:
    """Folds the notes of actors into the record.

    Attributes:
        moments: Whether a snapshot must be of one moment of the exploration's own order. In weak
            memory there is no order that all agree on, and it need not.
    """

    def __init__(self, world: World, *, moments: bool = True, snapshots: bool = True) -> None:
        self.world = world
        self.moments = moments
        self.snapshots = snapshots

    def observe(self, record: Record, actor: int, event: Any) -> Record:
        match event:
            case ("commit", changes, conditions, commit):
                return self.committed(record, changes, conditions, commit)
            case ("read", state, version, words, last):
                self.read(record, state, version, words, last)
            case ("read alone", state, version, words, *_):
                self.read(record, state, version, words, -1)
                if version != len(record.logs[state]) - 1:
                    raise Violation("commits", f"version {version} is read alone; it is not newest")
            case ("conflict", state, started, *_):
                if len(record.logs[state]) - 1 == started:
                    raise Violation("commits", f"conflict, but {started} is the newest version")
            case ("snapshot", versions):
                self.snapshot(record, versions)
            case ("damaged", state, *_):
                raise Violation("damage", f"state {state} is taken for a damaged one")
            case ("busy alone", state, living, memory):
                self.busy(state, living, memory)
            case ("failed alone", state, result, *_):
                raise Violation("progress", f"a newcomer, alone with state {state}: {result}")
            case _:
                raise AssertionError(event)
        return record

    def committed(self, record: Record, changes: Any, conditions: Any, commit: Any) -> Record:
        logs = list(record.logs)
        for state, started in conditions:
            if len(logs[state]) - 1 != started:
                newest = len(logs[state]) - 1
                raise Violation("condition", f"requires version {started}, but {newest} is newest")
        for state, started, token in changes:
            if len(logs[state]) - 1 != started:
                newest = len(logs[state]) - 1
                raise Violation("commits", f"follows version {started}, but {newest} is newest")
            logs[state] = (*logs[state], token)
        joints, decided = record.joints, record.decided
        if commit is not None:
            decided = tuple(sorted((*decided, commit)))
            joint = tuple((state, started + 1) for state, started, _ in changes)
            joints = tuple(sorted((*joints, joint))) if self.snapshots else ()
        moments = record.moments
        if self.snapshots:
            now = tuple(len(log) - 1 for log in logs)
            moments = tuple(sorted({*moments, now}))
        return Record(tuple(logs), moments, joints, decided)

    @staticmethod
    def read(record: Record, state: int, version: int, words: Any, last: int) -> None:
        log = record.logs[state]
        if not 0 <= version < len(log):
            raise Violation("bytes", f"read version {version}, which nobody has committed")
        if words != (log[version], log[version]):
            raise Violation("bytes", f"version {version} is {log[version]}, read as {words}")
        if version < last:
            raise Violation("bytes", f"read version {version} after {last}")

    def snapshot(self, record: Record, versions: tuple[int, ...]) -> None:
        for joint in record.joints:
            seen = {versions[state] >= version for state, version in joint}
            if len(seen) == 2:
                raise Violation("half", f"{versions} has half of the commit {joint}")
        if self.moments and versions not in record.moments:
            raise Violation("moment", f"{versions} were never current together")

    def busy(self, state: int, living: frozenset[int], memory: tuple[Any, ...]) -> None:
        """Busy is right only if somebody living fills each slot that head does not name."""
        cell = self.world.cell(state)
        head = memory[cell.head]
        for slot in range(self.world.slots):
            owner = memory[cell.owner(slot)]
            if slot != head.current and owner not in living:
                raise Violation("progress", f"busy, but nobody living fills slot {slot}")

    def inspect(self, situation: Situation) -> None:
        """A head that names a decided commit finds its decision in the table."""
        for state in range(self.world.states):
            head = situation.words[self.world.cell(state).head]
            if isinstance(head, Pending) and head.commit in situation.record.decided:
                status = situation.words[self.world.status(head.commit.descriptor)]
                if status != (head.commit.sequence, COMMITTED):
                    sentence = f"{head} was committed, but its status word is {status}"
                    raise Violation("recycled", sentence)
