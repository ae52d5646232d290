"""Pauses at random in the threads and event loops under test: races show that are rare elsewhere.

``make shake`` runs the tests so. A thread that is not the main one pauses at some of its calls and
returns, an event loop before some of its callbacks, for up to so many milliseconds. A test that
fails then, and not otherwise, has waited for the beginning of something and not for its effect, or
has relied on a thread's or its own speed; or the library has.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    import pytest

# Of the calls and returns of a thread, and of the callbacks of a loop.
PROBABILITY = 0.02
OURS = tuple(str(Path(__file__).parents[1] / part) for part in ("src", "tests"))


def begin(longest_ms: float) -> None:
    """Pause from now on, in every thread that starts and every loop that runs."""
    rng = random.Random()
    own = threading.local()

    def perhaps() -> None:
        if rng.random() >= PROBABILITY or time.monotonic() < getattr(own, "not_before", 0.0):
            return
        pause_s = rng.random() * longest_ms / 1000
        time.sleep(pause_s)
        own.not_before = time.monotonic() + pause_s  # for half of its time at most

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "return") and frame.f_code.co_filename.startswith(OURS):
            perhaps()

    run = asyncio.Handle._run

    def run_late(handle: asyncio.Handle) -> None:
        perhaps()
        run(handle)

    threading.setprofile(profile)
    asyncio.Handle._run = run_late  # type: ignore[method-assign,assignment]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--jitter", type=float, metavar="MS", help="pause at random for up to MS")


def pytest_configure(config: pytest.Config) -> None:
    longest_ms = config.getoption("--jitter")
    if longest_ms is not None:
        begin(longest_ms)
