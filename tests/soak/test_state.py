"""Shared state for as long as one likes: random kills and stops at random points."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kill.bank import Bank
from tests.kill.scenarios import SCENARIOS
from tests.kill.tracer import supported

ROUND_S = 30.0  # a bank is opened anew after so long


def test_the_bank_keeps_its_sum(directory: Path, soak_seconds: float) -> None:
    """K68: half of the time; each round has a seed of its own, which is printed."""
    deadline = time.monotonic() + soak_seconds / 2
    kills = transfers = snapshots = 0
    while (left := deadline - time.monotonic()) > 1:
        seed = random.randrange(2**32)
        print(f"seed {seed}", flush=True)
        bank = Bank(directory)
        try:
            bank.run(seconds=min(ROUND_S, left), tellers=3, chance=random.Random(seed))
            bank.close()
        finally:
            bank.dismiss_all()
        kills += bank.kills
        transfers += bank.transfers
        snapshots += bank.snapshots
    print(f"{kills} kills, {transfers} transfers, {snapshots} snapshots with the right sum")
    assert kills
    assert snapshots


@pytest.mark.skipif(not supported(), reason="the registers of this machine are not known here")
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_acts_are_cut_off_at_random_points(
    project: Path, soak_seconds: float, scenario: str
) -> None:
    """K48, K55, K68: the other half of the time, each scenario its share."""
    seed = random.randrange(2**32)
    seconds = soak_seconds / 2 / len(SCENARIOS)
    words = ("--scenario", scenario, "--seconds", str(seconds), "--seed", str(seed), "--json")
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill.sweep", *words],
        cwd=project,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr}"
    counts = json.loads(done.stdout)[scenario]
    print(scenario, counts)
    assert counts
