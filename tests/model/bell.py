"""Programs after hf_want and hf_ring in commit.c and `quiet` in handle.c: who waits, and who rings.

Head is a number here, the newest version. What inotify has queued for the one who waits is a word
too: 1 if there is an event, for equal events merge. The kernel sets it when a committer writes its
byte, and when a committer dies.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.model.explorer import DEAD, Actor, Scenario, Situation, Violation
from tests.model.safeguards import NOTHING, Missing, Safeguard
from tests.model.steps import (
    ACQ_REL,
    ACQUIRE,
    RELAXED,
    SEQ_CST,
    Order,
    Program,
    add,
    cas,
    fence,
    load,
    note,
    sleep,
    store,
    swap,
)

HEAD, WANTED, RUNG, EVENT = range(4)
WAITER = 0


def waiter(without: Missing, versions: int, *, fenced: bool = True) -> Program:
    """Looks, and sleeps until it is woken; for ever, or until it has seen that many versions."""
    order = SEQ_CST if Safeguard.STRICT_WANT not in without else RELAXED
    flag = Safeguard.TWO_COUNTERS in without
    seen = 0
    while seen < versions:
        if Safeguard.DRAIN_BEFORE_WANT not in without:
            yield swap(EVENT, 0, ACQ_REL)
        if Safeguard.WANT_BEFORE_LOOK not in without:
            yield swap(WANTED, 1, order) if flag else add(WANTED, 1, order)
        if Safeguard.DRAIN_BEFORE_WANT in without:
            yield swap(EVENT, 0, ACQ_REL)
        if fenced:
            yield fence(SEQ_CST)
        version = yield load(HEAD, ACQUIRE)
        if Safeguard.WANT_BEFORE_LOOK in without:
            yield add(WANTED, 1, order)
        if version > seen:
            seen = version
            yield note("seen", version)
        del version
        if seen < versions:
            yield sleep(EVENT)


def ring(without: Missing) -> Program:
    """hf_ring."""
    order = SEQ_CST if Safeguard.STRICT_PUBLISH not in without else ACQUIRE
    if Safeguard.TWO_COUNTERS in without:
        armed = yield swap(WANTED, 0, SEQ_CST)
        if armed:
            yield swap(EVENT, 1, ACQ_REL)
        return
    wanted = yield load(WANTED, order)
    rung = yield load(RUNG, RELAXED)
    if wanted == rung:
        return
    if Safeguard.RING_FIRST in without:
        yield store(RUNG, wanted, RELAXED)
    yield swap(EVENT, 1, ACQ_REL)
    if Safeguard.RING_FIRST not in without:
        yield store(RUNG, wanted, RELAXED)


def publish(me: int, order: Order) -> Program:
    while True:
        version = yield load(HEAD, ACQUIRE)
        done, _ = yield cas(HEAD, version, version + 1, order)
        if done:
            yield note("published", me, version + 1)
            return


def committer(me: int, without: Missing, commits: int) -> Program:
    order = SEQ_CST if Safeguard.STRICT_PUBLISH not in without else ACQ_REL
    for _nth in range(commits):
        yield from publish(me, order)
        yield from ring(without)
        yield note("finished", me)


# -- a commit of several states, seen from one of them ---------------------------------------------
#
# Head is 0, "pending" or 1, and the status word 0 or, once the commit is decided, 1.

STATUS = 4


def joint_waiter(*, fenced: bool) -> Program:
    """As `waiter`, of a head that may be pending."""
    seen = 0
    while seen == 0:
        yield swap(EVENT, 0, ACQ_REL)
        yield add(WANTED, 1, SEQ_CST)
        if fenced:
            yield fence(SEQ_CST)
        head = yield load(HEAD, ACQUIRE)
        status = 0
        if head == "pending":
            status = yield load(STATUS, ACQUIRE)
        if head == 1 or status == 1:
            seen = 1
            yield note("seen", 1)
        else:
            del head, status
            yield sleep(EVENT)


def joint_committer(me: int, without: Missing) -> Program:
    """Installs, decides, settles, rings."""
    yield cas(HEAD, 0, "pending", ACQ_REL)
    yield cas(STATUS, 0, 1, SEQ_CST)
    yield note("published", me, 1)
    yield cas(HEAD, "pending", 1, SEQ_CST)
    yield from ring(without)
    yield note("finished", me)


def settler() -> Program:
    """A writer that meets the pending head after the decision, and settles it."""
    head = yield load(HEAD, ACQUIRE)
    if head == "pending":
        status = yield load(STATUS, ACQUIRE)
        if status == 1:
            yield cas(HEAD, "pending", 1, SEQ_CST)


def joint_scenario(name: str, *, fenced: bool = True, without: Missing = NOTHING) -> Scenario:
    actors = [
        Actor("waiter", partial(joint_waiter, fenced=fenced)),
        Actor("committer", partial(joint_committer, 1, without), 1, mortal=True),
        Actor("settler", settler),
    ]
    words = {"head": 0, "wanted": 0, "rung": 0, "event": 0, "status": 0}
    woken = () if Safeguard.DEATH_NOTICE in without else (EVENT,)
    return Scenario(name, actors, words, (0, 0, 0), observe, inspect, woken=woken)


# -- what must hold --------------------------------------------------------------------------------


def observe(record: Any, actor: int, event: Any) -> Any:
    seen, newest, ringing = record
    match event:
        case ("seen", version):
            return (version, newest, ringing)
        case ("published", me, version):
            return (seen, version, me)
        case ("finished", me):
            return (seen, newest, 0 if ringing == me else ringing)
    raise AssertionError(event)


def inspect(situation: Situation) -> None:
    """Nobody sleeps over a newest version whose committer has finished or died."""
    seen, newest, ringing = situation.record
    asleep = situation.steps[WAITER].kind == "sleep" and not situation.words[EVENT]
    ringing_yet = ringing and situation.standing[ringing] != DEAD
    if asleep and newest > seen and not ringing_yet:
        raise Violation("bell", f"the waiter sleeps at version {seen}, and {newest} is published")


def scenario(
    name: str,
    committers: int,
    commits: int = 1,
    *,
    mortal: bool = True,
    fenced: bool = True,
    without: Missing = NOTHING,
) -> Scenario:
    versions = committers * commits
    actors = [Actor("waiter", partial(waiter, without, versions, fenced=fenced))]
    actors += [
        Actor(f"committer {me}", partial(committer, me, without, commits), me, mortal=mortal)
        for me in range(1, committers + 1)
    ]
    return Scenario(
        name,
        actors,
        {"head": 0, "wanted": 0, "rung": 0, "event": 0},
        (0, 0, 0),
        observe,
        inspect,
        woken=() if Safeguard.DEATH_NOTICE in without else (EVENT,),
    )
