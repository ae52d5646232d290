"""The rules and the clock together, in every order: no promise is broken.

Real time, the store's clock and the steps of the clients are moves of a small game. A client reads
first and applies its change later, so that anything can come between. What is promised is written
down in real time, from the start of each call; what a store must never do is to remove a lease
before that. Each safeguard is switched off in turn, and then a broken promise is found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from holdfast.errors import StaleRecord
from holdfast.lease import Reading, Record, rules
from holdfast.lease.rules import Change, Request

HOLDERS = ("a", "b")
DURATIONS = (1, 2)
STEP = 1
DEPTH = 9
TOO_EARLY = "removed too early"

Compare = Callable[[Record | None, Record | None], bool]


@dataclass(frozen=True)
class Pending:
    """A call between its look at the store and its swap."""

    change: Change
    began: int  # in real time
    duration: int  # promised if it succeeds, 0 for none


@dataclass(frozen=True)
class World:
    real: int = 0
    shown: int = 0
    ticked: int = 0  # the real instant up to which the clock has counted
    record: Record | None = None
    latest_epoch: int = 0
    promised: int = -1  # the last real instant at which the lease is promised to its holder
    pending: tuple[Pending | None, ...] = (None, None)
    broken: str = ""


def exactly(now: Record | None, before: Record | None) -> bool:
    return now == before


def by_epoch(now: Record | None, before: Record | None) -> bool:
    return (now and now.epoch) == (before and before.epoch)


def by_holder(now: Record | None, before: Record | None) -> bool:
    return (now and now.holder) == (before and before.holder)


def decisions(world: World, who: int, step: int) -> Iterator[Pending]:
    reading = Reading(world.shown, "e", min(step, STEP))
    holder = HOLDERS[who]
    for duration in DURATIONS:
        request = Request.of("n", holder, duration, None)
        try:
            change = rules.claim(
                world.record, request, reading, epoch=world.latest_epoch + 1, writer=holder
            )
            yield Pending(change, world.real, duration)
        except StaleRecord:
            pass
        if world.record is not None and world.record.holder == holder:
            change = rules.extend(world.record, world.record, duration, reading, writer=holder)
            yield Pending(change, world.real, duration)
    with contextlib.suppress(StaleRecord):
        yield Pending(rules.expire(world.record, "n", reading), world.real, 0)


def applied(world: World, who: int, same: Compare) -> World:
    pending = world.pending[who]
    assert pending is not None
    calls = tuple(None if i == who else call for i, call in enumerate(world.pending))
    world = replace(world, pending=calls)
    before, after = pending.change.before, pending.change.after
    if not same(world.record, before):
        return world
    if after is None:
        broken = TOO_EARLY if world.real <= world.promised else ""
        return replace(world, record=None, promised=-1, broken=broken)
    until = pending.began + pending.duration
    if before is None:
        if after.epoch <= world.latest_epoch:
            return world  # the epoch is given in the same step, and was given to another
        broken = "an epoch twice" if after.epoch <= world.latest_epoch else ""
        return replace(world, record=after, promised=until, latest_epoch=after.epoch, broken=broken)
    return replace(world, record=after, promised=max(world.promised, until))


def moves(world: World, same: Compare, *, fast: bool, step: int) -> Iterator[World]:
    yield replace(world, real=world.real + 1)
    if not step:  # a clock that runs by itself, and perhaps slowly
        yield replace(world, real=world.real + 1, shown=world.shown + 1)
    passed = world.real - world.ticked
    if fast:
        yield replace(world, shown=world.shown + 1)
    elif passed and step:
        yield replace(world, shown=world.shown + min(passed, step), ticked=world.real)
    for who in range(len(HOLDERS)):
        if world.pending[who] is not None:
            yield applied(world, who, same)
        else:
            for pending in decisions(world, who, step):
                calls = tuple(pending if i == who else c for i, c in enumerate(world.pending))
                yield replace(world, pending=calls)


def explore(
    same: Compare = exactly, *, fast: bool = False, step: int = STEP, depth: int = DEPTH
) -> set[str]:
    """Everything that is broken within so many moves, or until a lease was removed too early."""
    seen = {World()}
    frontier = [World()]
    broken: set[str] = set()
    for _ in range(depth):
        following = []
        for world in frontier:
            for after in moves(world, same, fast=fast, step=step):
                if after.broken:
                    broken.add(after.broken)
                    if after.broken == TOO_EARLY:
                        return broken
                elif after not in seen:
                    seen.add(after)
                    following.append(after)
        frontier = following
    return broken


@pytest.mark.parametrize("step", [0, STEP])
def test_no_promise_is_broken_in_any_order(step: int, full: bool) -> None:
    assert explore(step=step, depth=DEPTH + (1 if full else -1)) == set()


ABLATIONS = ["not strictly", "shortening", "fast clock", "start without step", "any step"]


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_without_a_safeguard_a_promise_is_broken(
    ablation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ablation == "not strictly":
        monkeypatch.setattr(rules, "expired", lambda r, now: now.now_ns >= r.end_in(now.era))
    elif ablation == "shortening":
        monkeypatch.setattr(Record, "end_in", end_that_never_covers)
    elif ablation == "start without step":
        monkeypatch.setattr(Reading, "latest_ns", property(lambda reading: reading.now_ns))
    step = {"any step": 99, "start without step": STEP}.get(ablation, 0)
    assert TOO_EARLY in explore(fast=ablation == "fast clock", step=step)


def end_that_never_covers(record: Record, era: str) -> int:
    import sys

    asked_by = sys._getframe(1).f_code.co_name
    return -1 if asked_by == "extend" else record.start_in(era) + record.duration_ns


@pytest.mark.parametrize("same", [by_epoch, by_holder])
def test_if_not_every_field_is_compared_a_promise_is_broken(same: Compare) -> None:
    assert TOO_EARLY in explore(same, step=0)
