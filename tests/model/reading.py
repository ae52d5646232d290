"""Programs after look.c: finding the current version and copying it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tests.model.safeguards import Safeguard
from tests.model.steps import ACQUIRE, RELAXED, Program, Step, fence, load, note
from tests.model.words import COMMITTED, Cell, Commit, Pending, World, tag_of, version_of


def commit_of(world: World, head: Pending, flags: Any) -> tuple[Commit, bool]:
    """The commit that a pending head names, and whether the member is but a condition."""
    if world.has(Safeguard.UNIQUE_PENDING):
        return head.commit, flags
    identity, commit = flags or (False, Commit(0, 0))  # then the slot says which commit it is of
    return commit, identity


def is_committed(world: World, commit: Commit, status: tuple[int, str]) -> bool:
    if not world.has(Safeguard.STATUS_SEQUENCE):
        return status[1] == COMMITTED
    return status == (commit.sequence, COMMITTED)


def resolve_pending(
    world: World, cell: Cell, head: Pending
) -> Generator[Step, Any, tuple[int, int] | None]:
    """Version and slot of a pending head; None: look again."""
    early = None
    if not world.has(Safeguard.UNIQUE_PENDING):
        early = yield load(cell.flags(head.new), ACQUIRE)
    commit, _ = commit_of(world, head, early)
    status = yield load(
        world.status(commit.descriptor), world.order(ACQUIRE, Safeguard.STATUS_ACQUIRE)
    )
    tag = yield load(cell.tag(head.current), world.order(ACQUIRE, Safeguard.PENDING_ACQUIRE))
    flags = yield load(cell.flags(head.new), ACQUIRE)
    if world.has(Safeguard.PENDING_SECOND_LOOK):
        again = yield load(cell.head, RELAXED)
        if again != head:
            return None
    commit, identity = commit_of(world, head, flags)
    if is_committed(world, commit, status) and not identity:
        return version_of(tag) + 1, head.new
    return version_of(tag), head.current


def look_once(world: World, cell: Cell) -> Generator[Step, Any, tuple[int, int] | None]:
    head = yield load(cell.head, world.order(ACQUIRE, Safeguard.HEAD_ACQUIRE))
    if isinstance(head, Pending):
        found = yield from resolve_pending(world, cell, head)
        if found is None:
            return None
        version, slot = found
    else:
        version, slot = head
    if world.has(Safeguard.TAG_BEFORE):
        tag = yield load(cell.tag(slot), ACQUIRE)
        if tag != tag_of(version):
            now = yield load(cell.head, RELAXED)
            if now == head:
                yield note("damaged", cell.index)
            return None
    return version, slot


def look(world: World, cell: Cell) -> Generator[Step, Any, tuple[int, int]]:
    """hf_look: which version is current, and its slot."""
    while True:
        found = yield from look_once(world, cell)
        if found is not None:
            return found


def copy(
    world: World, cell: Cell, version: int, slot: int
) -> Generator[Step, Any, tuple[Any, Any] | None]:
    """hf_copy and hf_still: the two words of that version; None: overwritten meanwhile."""
    first = yield load(cell.first(slot), RELAXED)
    second = yield load(cell.second(slot), RELAXED)
    if world.has(Safeguard.TAG_AFTER):
        if world.has(Safeguard.COPY_FENCE):
            yield fence(ACQUIRE)
        tag = yield load(cell.tag(slot), RELAXED)
        if tag != tag_of(version):
            return None
    return first, second


def read_once(world: World, cell: Cell) -> Generator[Step, Any, tuple[int, Any] | None]:
    version, slot = yield from look(world, cell)
    words = yield from copy(world, cell, version, slot)
    return None if words is None else (version, words)


def read(world: World, cell: Cell) -> Generator[Step, Any, tuple[int, Any]]:
    """hf_newest_sample: a version and its words."""
    while True:
        found = yield from read_once(world, cell)
        if found is not None:
            return found


def reader(world: World, times: int = 1, state: int = 0) -> Program:
    """Reads one state some times."""
    last = -1
    for _nth in range(times):
        version, words = yield from read(world, world.cell(state))
        yield note("read", state, version, words, last)
        last = version


def sample(world: World) -> Generator[Step, Any, tuple[int, ...]]:
    versions: tuple[int, ...] = ()
    for state in range(world.states):
        version, words = yield from read(world, world.cell(state))
        yield note("read", state, version, words, -1)
        versions += (version,)
    return versions


def still(world: World, versions: tuple[int, ...]) -> Generator[Step, Any, bool]:
    for state in range(world.states):
        version, _slot = yield from look(world, world.cell(state))
        if version != versions[state]:
            return False
    return True


def snapshotter(world: World) -> Program:
    """hf_joint_snapshot: copies all states, then sees that none has moved on."""
    while True:
        versions = yield from sample(world)
        same = True
        if world.has(Safeguard.SNAPSHOT_TWICE):
            same = yield from still(world, versions)
        if same:
            yield note("snapshot", versions)
            return
