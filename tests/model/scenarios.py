"""Who runs with whom: the scenarios that are explored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tests.model.explorer import Actor, Scenario
from tests.model.invariants import Judge, first_record
from tests.model.reading import reader, snapshotter
from tests.model.safeguards import NOTHING, Missing
from tests.model.several import collector, committer
from tests.model.single import newcomer, writer
from tests.model.words import World

BOTH = ((0, False), (1, False))
ONLY_B = ((1, False),)
A_IF_B = ((0, False), (1, True))
B_IF_A = ((0, True), (1, False))


def build(
    name: str,
    world: World,
    actors: Sequence[Actor],
    *,
    moments: bool = True,
    alone: bool = True,
) -> Scenario:
    snapshots = any(actor.name == "snapshotter" for actor in actors)
    judge = Judge(world, moments=moments, snapshots=snapshots)
    return Scenario(
        name,
        actors,
        world.words(),
        first_record(world),
        judge.observe,
        judge.inspect if world.descriptors else None,
        newcomer=partial(newcomer, world) if alone else None,
    )


def commits(
    name: str,
    counts: Sequence[int],
    *,
    reads: int = 1,
    slots: int = 3,
    mortal: bool = True,
    without: Missing = NOTHING,
) -> Scenario:
    """Writers of one state with so many transactions each, and a reader."""
    world = World(slots=slots, without=without)
    actors = [
        Actor(f"writer {me}", partial(writer, world, me, count), me, mortal=mortal)
        for me, count in enumerate(counts, 1)
    ]
    if reads:
        actors.append(Actor("reader", partial(reader, world, reads)))
    return build(name, world, actors)


def numbers(name: str, *, unique: bool, without: Missing = NOTHING) -> Scenario:
    """A slot of a dead owner, two writers that may take it, and a subscriber that comes later."""
    world = World(slots=2, without=without, owners=((1, 4),))
    late = 3 if unique else 4
    actors = [
        Actor("writer 1", partial(writer, world, 1, 2), 1),
        Actor("writer 2", partial(writer, world, 2, 2), 2),
        Actor("late writer", partial(writer, world, late, 1), late, late=True),
    ]
    return build(name, world, actors)


def joint(
    name: str,
    plans: Sequence[tuple[tuple[int, bool], ...]],
    *,
    singles: Sequence[int] = (),
    snapshot: bool = True,
    reads: int = 0,
    collects: bool = False,
    slots: int = 3,
    descriptors: int = 1,
    attempts: int = 2,
    mortal: bool = True,
    moments: bool = True,
    without: Missing = NOTHING,
) -> Scenario:
    """Committers of two states, writers of one each, perhaps a snapshotter and a collector."""
    world = World(2, slots, descriptors, without)
    actors = [
        Actor(f"committer {me}", partial(committer, world, me, plan, attempts), me, mortal=mortal)
        for me, plan in enumerate(plans, 1)
    ]
    for me, state in enumerate(singles, len(plans) + 1):
        actors.append(Actor(f"writer {me}", partial(writer, world, me, 1, state), me))
    if snapshot:
        actors.append(Actor("snapshotter", partial(snapshotter, world)))
    if reads:
        actors.append(Actor("reader", partial(reader, world, reads)))
    if collects:
        actors.append(Actor("collector", partial(collector, world)))
    return build(name, world, actors, moments=moments)
