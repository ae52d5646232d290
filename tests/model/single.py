"""Programs after slots.c and commit.c: committing one state."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tests.model.reading import look, read
from tests.model.safeguards import Safeguard
from tests.model.settling import settle
from tests.model.steps import (
    ACQ_REL,
    ACQUIRE,
    RELAXED,
    RELEASE,
    SEQ_CST,
    Program,
    Step,
    alive,
    cas,
    fence,
    load,
    note,
    store,
)
from tests.model.words import (
    AGAIN,
    BUSY,
    CONFLICT,
    FILLING,
    OK,
    Cell,
    Head,
    Pending,
    World,
    tag_of,
)

Result = Generator[Step, Any, str]


def release_slot(world: World, cell: Cell, slot: int) -> Program:
    yield store(cell.owner(slot), 0, world.order(RELEASE, Safeguard.OWNER_RELEASE))


def claim_slot(world: World, cell: Cell, me: int, head: Head, slot: int, expected: int) -> Result:
    order = world.order(ACQ_REL, Safeguard.OWNER_RELEASE)
    done, _ = yield cas(cell.owner(slot), expected, me, order)
    if not done:
        return BUSY
    if world.has(Safeguard.CLAIM_SECOND_LOOK):
        again = yield load(cell.head, ACQUIRE)
        if again != head:
            yield from release_slot(world, cell, slot)
            return AGAIN
    return OK


def take_slot(
    world: World, cell: Cell, me: int, head: Head
) -> Generator[Step, Any, tuple[str, int]]:
    """hf_take_slot: a slot that `head` does not name."""
    for reclaim in (False, True):
        for step in range(1, world.slots):
            slot = (head.current + step) % world.slots
            owner = yield load(cell.owner(slot), RELAXED)
            if owner != 0:
                if not reclaim:
                    continue
                if owner == me:
                    continue
                if world.has(Safeguard.OWNER_CHECK):
                    lives = yield alive(owner)
                    if lives:
                        continue
            result = yield from claim_slot(world, cell, me, head, slot, owner)
            if result != BUSY:
                return result, slot
    return BUSY, 0


def fill_slot(
    world: World, cell: Cell, slot: int, token: Any, version: int, flags: Any = False
) -> Program:
    """hf_fill_slot."""
    if world.has(Safeguard.FILLING_MARK):
        yield store(cell.tag(slot), FILLING, world.order(RELEASE, Safeguard.FILLING_RELEASE))
        if world.has(Safeguard.FILLING_FENCE):
            yield fence(RELEASE)
    yield store(cell.first(slot), token, RELAXED)
    yield store(cell.second(slot), token, RELAXED)
    if world.descriptors:
        yield store(cell.flags(slot), flags, RELAXED)
    yield store(cell.tag(slot), tag_of(version), world.order(RELEASE, Safeguard.TAG_RELEASE))


def swap_head(world: World, cell: Cell, head: Head, slot: int) -> Generator[Step, Any, bool]:
    fresh = Head(head.version + 1, slot)
    if not world.has(Safeguard.PUBLISH_VALIDATES):
        yield store(cell.head, fresh, SEQ_CST)
        return True
    done, _ = yield cas(cell.head, head, fresh, world.order(SEQ_CST, Safeguard.HEAD_RELEASE))
    return bool(done)


def publish_once(world: World, cell: Cell, me: int, started: int, token: Any) -> Result:
    head = yield load(cell.head, ACQUIRE)
    if isinstance(head, Pending):
        yield from settle(world, cell, head)
        return AGAIN
    if head.version != started:
        yield note("conflict", cell.index, started)
        return CONFLICT
    result, slot = yield from take_slot(world, cell, me, head)
    if result != OK:
        return result
    yield from fill_slot(world, cell, slot, token, started + 1)
    if not world.has(Safeguard.RELEASE_LAST):
        yield from release_slot(world, cell, slot)
    done = yield from swap_head(world, cell, head, slot)
    if done:
        yield note("commit", ((cell.index, started, token),), (), None)
    if world.has(Safeguard.RELEASE_LAST):
        yield from release_slot(world, cell, slot)
    return OK if done else AGAIN


def publish(world: World, cell: Cell, me: int, started: int, token: Any) -> Result:
    """hf_publish; BUSY at the first time that no slot can be had."""
    while True:
        result = yield from publish_once(world, cell, me, started, token)
        if result != AGAIN:
            return result


def writer(world: World, me: int, commits: int = 1, state: int = 0) -> Program:
    """Transactions, one after the other; how the last of them ended."""
    result = ""
    for nth in range(commits):
        version, _slot = yield from look(world, world.cell(state))
        result = yield from publish(world, world.cell(state), me, version, f"{me}.{nth}")
    return result


def newcomer(world: World) -> Program:
    """Alone: reads what is newest, and commits to each state."""
    for state in range(world.states):
        cell = world.cell(state)
        version, words = yield from read(world, cell)
        yield note("read alone", state, version, words)
        result = yield from publish(world, cell, 99, version, "newcomer")
        if result == BUSY:
            yield note("busy alone", state)
        elif result != OK:
            yield note("failed alone", state, result)
