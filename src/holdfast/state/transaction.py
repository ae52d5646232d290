"""The patience of `State.transact`; a transaction itself is `core/transaction.c`."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from holdfast.errors import Busy, Conflict, InvalidArgument
from holdfast.state.core.native import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Transaction", "transact"]

_R = TypeVar("_R")

_PAUSE_FIRST_S = 20e-6  # a commit takes a few hundred nanoseconds, a time slice some milliseconds
_PAUSE_MAX_S = 5e-3


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
            pause = uniform(0, min(_PAUSE_MAX_S, _PAUSE_FIRST_S * 2 ** min(attempt, 16)))
            sleep(pause if deadline is None else max(0.0, min(pause, deadline - _now_s())))


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
