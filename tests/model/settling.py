"""The program after hf_settle: what becomes of a pending head."""

from __future__ import annotations

from tests.model.reading import commit_of, is_committed
from tests.model.safeguards import Safeguard
from tests.model.steps import ACQ_REL, ACQUIRE, SEQ_CST, Program, cas, load
from tests.model.words import (
    ABORTED,
    UNDECIDED,
    Cell,
    Head,
    Pending,
    World,
    version_of,
)


def settle(world: World, cell: Cell, head: Pending, *, helps: bool = True) -> Program:
    """hf_settle: abort the commit if it is undecided, then swap the head.

    The looks of a patient helper are one look here: that it may come at any time stands for them.
    """
    early = None
    if not world.has(Safeguard.UNIQUE_PENDING):
        early = yield load(cell.flags(head.new), ACQUIRE)
    commit, _ = commit_of(world, head, early)
    word = world.status(commit.descriptor)
    undecided, aborted = (commit.sequence, UNDECIDED), (commit.sequence, ABORTED)
    status = yield load(word, ACQUIRE)
    if status == undecided and (world.has(Safeguard.ABORT_FIRST) or not helps):
        done, status = yield cas(word, undecided, aborted, ACQ_REL, ACQUIRE)
        status = aborted if done else status
    tag = yield load(cell.tag(head.current), ACQUIRE)
    flags = yield load(cell.flags(head.new), ACQUIRE)
    _, identity = commit_of(world, head, flags)
    forward = is_committed(world, commit, status) and not identity
    if helps and not world.has(Safeguard.ROLL_FORWARD):
        forward = False
    version = version_of(tag)
    settled = Head(version + 1, head.new) if forward else Head(version, head.current)
    yield cas(cell.head, head, settled, SEQ_CST)
