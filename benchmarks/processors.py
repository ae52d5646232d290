"""Which processors the measured process and the others run on."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["measured", "others", "pinned"]

_ALLOWED = sorted(os.sched_getaffinity(0))


def measured() -> int:
    """The processor of the process that is measured: the last, as the first has the interrupts."""
    return _ALLOWED[-1]


def others() -> list[int]:
    """The remaining processors; the same one where there is no other."""
    return _ALLOWED[:-1] or _ALLOWED


@contextlib.contextmanager
def pinned(processor: int) -> Iterator[None]:
    """Keep this process on one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
