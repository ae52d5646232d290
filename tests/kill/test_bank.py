"""Fifty accounts in separate files, moved between by processes that are killed at random."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.kill.bank import Bank


@pytest.mark.serial
@pytest.mark.timeout(3600)
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
    assert bank.has_seen_enough, "too little has happened for the snapshots to have shown anything"
