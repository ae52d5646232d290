"""Looking over a namespace without disturbing it: what lies there, for whom, what the dead left.

To subscribe to a state that nobody has any more replaces it by a new one; a survey only looks.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from holdfast.errors import Damaged, LayoutMismatch, NotPermitted
from holdfast.state import files
from holdfast.state.core import native

if TYPE_CHECKING:
    from holdfast.state.namespace import Namespace

__all__ = ["Entry", "survey", "sweep"]

Condition = Literal["subscribed", "retained", "left over", "damaged"]

_SWEPT = 8  # files that a subscriber looks at in passing: clearing up must not slow it down
_LISTED = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """What a survey found under one name.

    Attributes:
        name: Of the state.
        condition: "subscribed": somebody has it now. "retained": nobody has, and it stays. "left
            over": its last subscriber was killed, and it goes with the next who subscribes here.
            "damaged": no state, or one that breaks its own rules.
        size: Bytes of the newest version; 0 of a damaged one.
        version: Its number.
        time_ns: When it was committed, CLOCK_BOOTTIME.
        memory_bytes: Shared memory that its files take.
    """

    name: str
    condition: Condition
    size: int
    version: int
    time_ns: int
    memory_bytes: int


def survey(namespace: Namespace) -> list[Entry]:
    """Every name of the namespace, sorted. Nothing is changed by it.

    Raises:
        Closed: The namespace was closed.
    """
    found = (_look_at(namespace, name) for name in namespace.names())
    return [entry for entry in found if entry is not None]


def _look_at(namespace: Namespace, name: str) -> Entry | None:
    try:
        opened = namespace.open_state(name, writable=False)
    except (LayoutMismatch, Damaged, NotPermitted):
        return Entry(name, "damaged", 0, 0, 0, namespace.memory(name))
    if opened is None:
        return None  # it went while we looked
    fd, facts = opened
    try:
        looked = _newest(namespace, fd, facts)
        condition = _condition(fd, facts) if looked is not None else "damaged"
    finally:
        os.close(fd)
    size, version, time_ns = looked or (0, 0, 0)
    return Entry(name, condition, size, version, time_ns, namespace.memory(name))


def _condition(fd: int, facts: files.Facts) -> Condition:
    if files.anybody_else(fd):
        return "subscribed"
    return "retained" if facts.retained and not facts.deleted else "left over"


def _newest(namespace: Namespace, fd: int, facts: files.Facts) -> tuple[int, int, int] | None:
    """Size, version and time, by a handle that subscribes to nothing; None if it is damaged."""
    if facts.deleted:
        return 0, 0, 0
    peek = native.Handle()
    mapping = native.Mapping(fd, facts.mapping_length, writable=False)
    peek._attach(fd, mapping, None, None, False, namespace.identity)  # noqa: FBT003
    problem = peek._audit()
    if problem == "need_table":
        peek._use_table(namespace.table(create=False))
        problem = peek._audit()
    if problem is not None:
        return None
    size, version, time_ns, _, _ = peek._look()
    return size, version, time_ns


def sweep(namespace: Namespace, *, everything: bool = False) -> list[str]:
    """Remove what the dead have left: states that are not retained and that nobody has.

    Args:
        namespace: Where; its lock is held by the caller.
        everything: Look at every name, and not only at a few.

    Returns:
        The names that were removed.

    Raises:
        NotPermitted: The directory is somebody else's.
    """
    names = namespace.names() if everything else _some_names(namespace)
    removed = []
    for name in names:
        try:
            opened = namespace.open_state(name, writable=False)
        except (LayoutMismatch, Damaged, NotPermitted):
            continue  # not ours to judge
        if opened is None:
            continue
        fd, facts = opened
        try:
            if _condition(fd, facts) == "left over":
                namespace.remove(name, facts.identity)
                removed.append(name)
        finally:
            os.close(fd)
    return removed


def _some_names(namespace: Namespace) -> list[str]:
    names = []
    with os.scandir(namespace.path) as entries:
        for entry in entries:
            if entry.name.endswith(files.STATE_SUFFIX):
                names.append(entry.name.removesuffix(files.STATE_SUFFIX))
                if len(names) == _LISTED:
                    break
    return random.sample(names, min(_SWEPT, len(names)))
