"""Transactions and snapshots of several states, and the patience of `State.transact`.

A transaction itself is ``core/transaction.c``; one of several states ``core/joint.c``.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from holdfast.errors import Busy, Conflict, InvalidArgument
from holdfast.state.core import native
from holdfast.state.core.native import Transaction
from holdfast.state.values import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.state.handle import State

__all__ = ["Transaction", "snapshot", "transact", "transaction"]

_R = TypeVar("_R")

_PAUSE_FIRST_S = 20e-6  # a commit takes a few hundred nanoseconds, a time slice some milliseconds
_PAUSE_MAX_S = 5e-3


def transaction(*states: State) -> Transaction:
    """Start a transaction on several states: all of them commit at one instant, or none does (K68).

    ``txn[state]`` is a state's part, with its own ``data``; what the parts show is of one moment. A
    state that is not changed is a condition: the commit fails if it has moved. At most 64 states of
    one namespace directory. A state on a read-only handle is seen to be unmoved just before the
    commit, but cannot be held to it: of two transactions that each change what the other only reads
    so, both can succeed (write skew).

    Args:
        states: The first leads: ``txn.data`` is its part's.

    Raises:
        InvalidArgument: None, too many, one twice, or not of one directory.
        Closed, Deleted, Damaged: As for a read of any of them.
    """
    if not states:
        raise InvalidArgument("transaction() takes at least one state")
    attempt = 0
    while True:
        try:
            return native.begin(states)
        except Conflict:
            # They were copied at different moments, because somebody has committed: begin again.
            attempt += 1
            if attempt > 1:
                time.sleep(random.uniform(0, _pause_limit(attempt)))


def snapshot(*states: State) -> tuple[Snapshot, ...]:
    """The newest versions of several states, all of one moment.

    Reads them until none has moved on between the first copy and the last look; waits for nobody.
    Read-only handles will do, of any namespace directories.

    Raises:
        InvalidArgument: More than 64.
        Closed, Deleted, Damaged: As for a read of any of them.
    """
    if len(states) > 64:
        raise InvalidArgument(f"snapshot() takes at most 64 states, not {len(states)}")
    samples = native.snapshot(states)
    return tuple(
        Snapshot(data, version, state.incarnation, time_ns, pid)
        for state, (data, version, time_ns, pid, _) in zip(states, samples, strict=True)
    )


def transact(
    start: Callable[[], Transaction],
    fn: Callable[[Transaction], _R],
    *,
    attempts: int | None,
    timeout_s: float | None,
    sleep: Callable[[float], None] = time.sleep,
    chance: random.Random | None = None,
) -> _R:
    """Start, call, commit; on a conflict wait a little and start again (K49 to K51).

    Only a failed commit is tried again: what `fn` raises is the caller's answer, be it `Abort` or
    an accident. The first new attempt is made at once, the later ones after a random pause that
    grows to 5 ms, so that equals do not meet again and again (K64).
    """
    if attempts is not None and attempts < 1:
        raise InvalidArgument(f"attempts={attempts}: at least one is needed, or None for no limit")
    uniform = (chance or random).uniform
    deadline = None if timeout_s is None else _now_s() + timeout_s
    attempt = 0
    while True:
        attempt += 1
        txn = start()
        try:
            result = fn(txn)
        except BaseException:
            if txn.active:
                txn.abort()
            raise
        try:
            if txn.active:  # else `fn` has committed or aborted it: its own affair
                txn.commit()
        except (Conflict, Busy) as error:
            if isinstance(error, Conflict):
                error.attempts = attempt
            if attempt == attempts or (deadline is not None and _now_s() >= deadline):
                raise
        else:
            return result
        if attempt > 1:
            pause = uniform(0, _pause_limit(attempt))
            sleep(pause if deadline is None else max(0.0, min(pause, deadline - _now_s())))


def _pause_limit(attempt: int) -> float:
    return min(_PAUSE_MAX_S, _PAUSE_FIRST_S * 2.0 ** min(attempt, 16))


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
