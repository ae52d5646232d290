"""The pieces of the demo: what they count, and when they call a promise kept."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest

from holdfast.demo.acts.pacing import INTERVAL_S, SHOWN, TOO_SOON, Screen
from holdfast.demo.promise import Promise
from holdfast.demo.sample import SIZE, Host, Sample, Torn
from holdfast.demo.tally import Tally, note_delay, typical_delay
from holdfast.state import Namespace


def sample_now(sequence: int = 1) -> Sample:
    return Host().sample(sequence, 0, os.getpid(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))


def test_a_sample_is_of_this_host() -> None:
    first, second = sample_now(1), sample_now(2)
    assert (first.sequence, second.sequence) == (1, 2)
    assert sum(first.cpu) > 0
    # Idle time and that spent waiting for disks, the fourth and fifth, may go back (proc(5)).
    assert sum(second.cpu[:3]) >= sum(first.cpu[:3])
    assert first.memory[0] >= first.memory[1] > 0
    assert first.tasks[3] >= 1  # we are running
    assert all(load >= 0 for load in first.load)


def test_a_sample_survives_as_bytes() -> None:
    sample = sample_now()
    assert len(sample.pack()) == SIZE
    assert Sample.unpack(sample.pack()) == sample


@pytest.mark.parametrize("cut", [8, SIZE // 2, SIZE - 8])
def test_a_mixture_of_two_samples_is_noticed(cut: int) -> None:
    older, newer = sample_now(1).pack(), sample_now(2).pack()
    with pytest.raises(Torn):
        Sample.unpack(newer[:cut] + older[cut:])


def test_zeros_and_a_piece_are_no_sample() -> None:
    for data in (b"", bytes(SIZE - 1), sample_now().pack()[:-1]):
        with pytest.raises(Torn):
            Sample.unpack(data)


def test_a_promise_is_kept_if_it_could_have_been_broken_and_was_not() -> None:
    kept = Promise("torn reads", 0, 10, "reads", "")
    assert kept.kept
    assert not dataclasses.replace(kept, seen=1).kept
    assert not dataclasses.replace(kept, of=0).kept, "a check that saw nothing has shown nothing"


def test_what_one_process_notes_another_reads(tmp_path: Path) -> None:
    path = str(tmp_path / "tally")
    Tally(path).row(3)[5] = 2**63
    assert Tally(path).row(3)[5] == 2**63
    assert sum(Tally(path).row(2)) == sum(Tally(path).row(4)) == 0


def test_half_of_the_delays_lie_within_the_typical_one(tmp_path: Path) -> None:
    row = Tally(str(tmp_path / "tally")).row(0)
    assert typical_delay(row) == "no time"
    for delay_ns in (900, 30_000, 31_000, 40_000_000, 10**18):
        note_delay(row, delay_ns)
    assert typical_delay(row) == "33 µs"


def test_a_version_that_is_shown_too_soon_is_counted(namespace: Namespace, tmp_path: Path) -> None:
    row = Tally(str(tmp_path / "tally")).row(0)
    screen = Screen(namespace.subscribe("gauge", "rw", size=8), row)  # which nobody throttles

    def show() -> tuple[int, int]:
        with screen.state.transaction() as txn:
            txn.commit(force=True)
        screen.look()
        return row[SHOWN], row[TOO_SOON]

    assert show() == (1, 0)
    time.sleep(INTERVAL_S)
    assert show() == (2, 0)
    screen.look()
    assert (row[SHOWN], row[TOO_SOON]) == (2, 0), "the same version again"
    time.sleep(INTERVAL_S)
    counts = [show() for _ in range(5)]  # unless each of them takes 50 ms
    assert counts[0] == (3, 0)
    assert counts[-1][1] > 0
