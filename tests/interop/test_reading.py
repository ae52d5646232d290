"""The crate reads what our engine reads in the benchmarks, and learns as much from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.membership import crate
from benchmarks.membership.packets import Reader, Stream
from tests.interop.building import PATIENCE_S

pytestmark = pytest.mark.timeout(PATIENCE_S)


@pytest.fixture(autouse=True)
def built(foca_node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node of the tests: to build the other one takes long, and it is of the same source."""
    monkeypatch.setattr(crate, "program", lambda: foca_node)


@pytest.mark.parametrize("new", [0.0, 0.05, 1.0])
def test_the_crate_reads_the_same_packets(new: float) -> None:
    reader = Reader(Stream(10, new), by_member=False)
    assert crate.Crate(reader).sample() > 0  # it checks itself whom the crate knows then


def test_a_packet_that_was_not_read_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(Stream(10, 1.0), by_member=False)
    reading = crate.Crate(reader)
    monkeypatch.setattr(reader, "updates", 10 * reader.updates)
    with pytest.raises(AssertionError, match="was not read"):
        reading.sample()


def test_the_version_is_the_one_that_is_locked() -> None:
    assert crate.version() == "1.0.0"
