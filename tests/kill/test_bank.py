"""Fifty accounts in separate files, moved between by processes that are killed at random."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.kill.bank import Bank


@pytest.mark.serial
@pytest.mark.timeout(900)
def test_money_is_neither_lost_nor_made_by_deaths(directory: Path, full: bool) -> None:
    """K68, K55: every snapshot has the same sum, and no death holds up those who go on."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    bank = Bank(directory)
    try:
        bank.run(seconds=300 if full else 8, tellers=3, chance=random.Random(seed))
        bank.close()
    finally:
        bank.dismiss_all()
    print(
        f"{bank.kills} kills, {bank.transfers} transfers, {bank.snapshots} snapshots "
        f"of {len(bank.moments)} different moments; one by one: {bank.blurred} wrong sums"
    )
    assert bank.kills >= 50
    assert bank.transfers >= 1000
    assert len(bank.moments) >= 100
    assert bank.blurred > 0, "nobody moved money meanwhile: the snapshots have shown nothing"
