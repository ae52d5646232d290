"""What the C core's reasons mean, in words: what failed, on which state, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import (
    Busy,
    Closed,
    Conflict,
    Damaged,
    Deleted,
    HoldfastError,
    InvalidArgument,
    NotPermitted,
    OutOfSpace,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["failure"]


def failure(reason: str, name: str, first: int, second: int) -> HoldfastError:
    """The exception for a reason; the two numbers are what the row of that reason calls them."""
    return _FAILURES[reason](name, first, second)


_FAILURES: dict[str, Callable[[str, int, int], HoldfastError]] = {
    "conflict": lambda name, started, current: Conflict(
        f"somebody committed version {current} after this transaction had started from {started}",
        started=started,
        current=current,
        on=name,
        hint="start again from the new contents, or use transact()",
    ),
    "busy": lambda name, *_: Busy(
        "every slot is being filled by another living process",
        on=name,
        hint="try again; if it lasts, writers are stopped in the middle of a commit",
    ),
    "out_of_space": lambda name, *_: OutOfSpace(
        "no room for a larger version",
        on=name,
        hint="free some memory in the namespace's file system",
    ),
    "deleted": lambda name, *_: Deleted(
        "the state was deleted", on=name, hint="subscribe again: that makes a new one"
    ),
    "damaged": lambda name, *_: Damaged(
        "the file breaks its own rules", on=name, hint="something else has written there; delete it"
    ),
    "closed": lambda name, *_: Closed("the handle is closed", on=name, hint="subscribe again"),
    "ended": lambda name, *_: InvalidArgument(
        "the transaction has ended", on=name, hint="start a new one"
    ),
    "read_only": lambda name, *_: NotPermitted(
        "this handle is read-only", on=name, hint='subscribe with "rw"'
    ),
    "bad_size": lambda name, size, page: InvalidArgument(
        f"a state holds 1 to {page} bytes, not {size}", on=name, hint="use several states"
    ),
    "shrinks": lambda name, size, now: InvalidArgument(
        f"the state was written with {now} bytes and cannot shrink to {size}",
        on=name,
        hint="delete it and make it anew",
    ),
    "short_buffer": lambda name, given, needed: InvalidArgument(
        f"the buffer has {given} bytes, the state {needed}", on=name
    ),
    "out_of_bounds": lambda name, offset, length: InvalidArgument(
        f"{length} bytes at {offset} lie outside the state", on=name
    ),
    "table_full": lambda name, *_: Busy(
        "64 commits of several states are under way at once", on=name, hint="try again"
    ),
    "not_a_member": lambda name, *_: InvalidArgument(
        "the state is no member of this transaction", on=name, hint="add() it first"
    ),
    "member_already": lambda name, *_: InvalidArgument(
        "the state is a member of this transaction already", on=name, hint="use txn[state]"
    ),
    "elsewhere": lambda name, *_: InvalidArgument(
        "the state lies in another directory than the transaction's first",
        on=name,
        hint="states that commit together must be of one namespace directory",
    ),
    "throttled": lambda name, *_: InvalidArgument(
        "a throttled handle shows what was, and cannot be seen together with others",
        on=name,
        hint="subscribe another handle for it",
    ),
    "too_many": lambda name, limit, _: InvalidArgument(
        f"a transaction has at most {limit} states", on=name
    ),
}
