"""Broken packets, for as long as one likes, from a random seed on."""

from __future__ import annotations

import random

from tests.fuzz.decoders import fuzz
from tests.fuzz.targets import TARGETS


def test_whatever_comes_is_read_or_refused(soak_seconds: float) -> None:
    """A sixth of the time; a failing input is reported with the line that replays it."""
    seed = random.randrange(2**32)
    report = fuzz(TARGETS, seed=seed, seconds=soak_seconds / 6)
    print(f"seed {seed}\n{report}")
    assert report.failure is None, report.failure
