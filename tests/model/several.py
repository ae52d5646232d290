"""Programs after several.c: committing several states at once, and clearing up after the dead."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from tests.model.reading import look
from tests.model.safeguards import Safeguard
from tests.model.settling import settle
from tests.model.single import fill_slot, release_slot, take_slot
from tests.model.steps import (
    ACQ_REL,
    ACQUIRE,
    RELAXED,
    RELEASE,
    SEQ_CST,
    Program,
    Step,
    cas,
    load,
    note,
    store,
)
from tests.model.words import (
    ABORTED,
    AGAIN,
    BUSY,
    COMMITTED,
    CONFLICT,
    FREE,
    OK,
    TABLE_FULL,
    UNDECIDED,
    Commit,
    Pending,
    World,
)


class Member(NamedTuple):
    """One state in a commit of several."""

    state: int
    started: int
    condition: bool


class Installed(NamedTuple):
    """What a committer holds of a member."""

    slot: int
    head: Pending


Held = tuple[Installed | None, ...]


def take_descriptor(world: World) -> Generator[Step, Any, Commit | None]:
    for index in range(world.descriptors):
        status = yield load(world.status(index), RELAXED)
        sequence, decision = status
        if decision == FREE:
            fresh = (sequence + 1, UNDECIDED)
            done, _ = yield cas(world.status(index), status, fresh, ACQ_REL)
            if done:
                return Commit(sequence + 1, index)
    return None


def free_descriptor(world: World, commit: Commit) -> Program:
    word = world.status(commit.descriptor)
    status = yield load(word, RELAXED)
    if status[0] == commit.sequence or not world.has(Safeguard.FREE_OWN_USE):
        yield cas(word, status, (status[0], FREE), RELEASE)


def install_once(
    world: World, me: int, member: Member, commit: Commit, token: str
) -> Generator[Step, Any, tuple[str, Installed | None]]:
    cell = world.cell(member.state)
    head = yield load(cell.head, ACQUIRE)
    if isinstance(head, Pending):
        yield from settle(world, cell, head)
        return AGAIN, None
    if head.version != member.started:
        yield note("conflict", member.state, member.started)
        return CONFLICT, None
    result, slot = yield from take_slot(world, cell, me, head)
    if result != OK:
        return result, None
    unique = world.has(Safeguard.UNIQUE_PENDING)
    flags = member.condition if unique else (member.condition, commit)
    yield from fill_slot(world, cell, slot, token, member.started + 1, flags)
    pending = Pending(commit if unique else "a commit", slot, head.current)
    done, _ = yield cas(cell.head, head, pending, world.order(ACQ_REL, Safeguard.INSTALL_RELEASE))
    if done:
        return OK, Installed(slot, pending)
    yield from release_slot(world, cell, slot)
    return AGAIN, None


def install(
    world: World, me: int, member: Member, commit: Commit, token: str
) -> Generator[Step, Any, tuple[str, Installed | None]]:
    if member.condition and not world.has(Safeguard.CONDITIONS_INSTALLED):
        version, _slot = yield from look(world, world.cell(member.state))
        return (OK if version == member.started else CONFLICT), None
    while True:
        result, installed = yield from install_once(world, me, member, commit, token)
        if result != AGAIN:
            return result, installed


def decide(
    world: World, members: tuple[Member, ...], commit: Commit, token: str, decision: str
) -> Generator[Step, Any, bool]:
    word = world.status(commit.descriptor)
    if world.has(Safeguard.DECISION_VALIDATES):
        undecided = (commit.sequence, UNDECIDED)
        order = world.order(SEQ_CST, Safeguard.DECISION_RELEASE)
        done, _ = yield cas(word, undecided, (commit.sequence, decision), order)
    else:
        yield store(word, (commit.sequence, decision), SEQ_CST)
        done = True
    if done and decision == COMMITTED:
        changes = tuple((m.state, m.started, token) for m in members if not m.condition)
        conditions = tuple((m.state, m.started) for m in members if m.condition)
        yield note("commit", changes, conditions, commit)
    return bool(done)


def finish(world: World, members: tuple[Member, ...], held: Held, commit: Commit) -> Program:
    if not world.has(Safeguard.SETTLE_BEFORE_FREE):
        yield from free_descriptor(world, commit)
    for i, installed in enumerate(held):
        cell = world.cell(members[i].state)
        if installed is not None:
            yield from settle(world, cell, installed.head, helps=False)
            yield from release_slot(world, cell, installed.slot)
    if world.has(Safeguard.SETTLE_BEFORE_FREE):
        yield from free_descriptor(world, commit)


def publish_several_once(
    world: World, me: int, members: tuple[Member, ...], token: str
) -> Generator[Step, Any, str]:
    commit = yield from take_descriptor(world)
    if commit is None:
        return TABLE_FULL
    held: Held = ()
    result = OK
    decided = early = False
    for i, member in enumerate(members):
        if i == len(members) - 1 and not world.has(Safeguard.DECIDE_LAST):
            decided = yield from decide(world, members, commit, token, COMMITTED)
            early = True
        result, installed = yield from install(world, me, member, commit, token)
        held += (installed,)
        if result != OK:
            break
    if not early:
        decision = COMMITTED if result == OK else ABORTED
        decided = yield from decide(world, members, commit, token, decision)
    yield from finish(world, members, held, commit)
    return result if decided or result != OK else AGAIN


def publish_several(
    world: World, me: int, members: tuple[Member, ...], token: str, attempts: int
) -> Generator[Step, Any, str]:
    """hf_publish_several, with a bound on attempts that is smaller than the core's."""
    for _attempt in range(attempts):
        result = yield from publish_several_once(world, me, members, token)
        if result != AGAIN:
            return result
    return BUSY


def committer(
    world: World,
    me: int,
    plan: tuple[tuple[int, bool], ...],
    attempts: int = 2,
) -> Program:
    """One transaction of several states: (state, whether it is but a condition)."""
    members: tuple[Member, ...] = ()
    for state, condition in plan:
        version, _slot = yield from look(world, world.cell(state))
        members += (Member(state, version, condition),)
    return (yield from publish_several(world, me, members, f"{me}.0", attempts))


# -- clearing up --------------------------------------------------------------------------------


def note_statuses(world: World) -> Generator[Step, Any, tuple[Any, ...]]:
    noted: tuple[Any, ...] = ()
    for index in range(world.descriptors):
        status = yield load(world.status(index), world.order(ACQUIRE, Safeguard.NOTE_ACQUIRE))
        noted += (status,)
    return noted


def collect_commits(world: World) -> Generator[Step, Any, frozenset[Commit]]:
    named: frozenset[Commit] = frozenset()
    for state in range(world.states):
        head = yield load(world.cell(state).head, ACQUIRE)
        if isinstance(head, Pending):
            named |= {head.commit}
    return named


def collector(world: World) -> Program:
    """hf_note_descriptors, hf_named_commit of every state, hf_free_descriptors."""
    if world.has(Safeguard.NOTE_BEFORE_HEADS):
        noted = yield from note_statuses(world)
        named = yield from collect_commits(world)
    else:
        named = yield from collect_commits(world)
        noted = yield from note_statuses(world)
    for index in range(world.descriptors):
        word = world.status(index)
        sequence, decision = status = noted[index]
        if decision == FREE or Commit(sequence, index) in named:
            continue
        if not world.has(Safeguard.CLEARING_VALIDATES):
            yield store(word, (sequence, FREE), RELEASE)
            continue
        if decision == UNDECIDED:
            done, _ = yield cas(word, status, (sequence, ABORTED), ACQ_REL)
            if not done:
                continue
            status = (sequence, ABORTED)
        yield cas(word, status, (sequence, FREE), RELEASE)
