"""A back-end that cannot do its part just now: who asks the governor is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.cli.main import run as holdfast
from holdfast.wake import Simulated, connect
from tests.unit.wake.governors import GovernorThread, Rig


def test_what_keeps_the_back_end_from_its_part_is_told_while_it_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = Rig()
    with GovernorThread(place, rig) as thread, connect(thread.path) as governor:

        def told() -> tuple[str | None, list[str]]:
            capsys.readouterr()
            assert holdfast(["wake", "why", "--json", "--socket", thread.path]) == 0
            why = json.loads(capsys.readouterr().out)
            assert why["status"]["trouble"] == governor.status().trouble
            lines = [each for each in why["lines"] if "trouble" in each]
            return governor.status().trouble, lines

        assert told() == (None, [])
        rig.trouble = "the bus is gone"
        assert told() == (
            "the bus is gone",
            ["The back-end rig is in trouble: the bus is gone."],
        )
        rig.trouble = None
        assert told() == (None, [])


def test_a_back_end_that_knows_no_trouble_has_none(place: Path) -> None:
    assert not hasattr(Simulated(), "trouble")
    with GovernorThread(place, Simulated()) as thread, connect(thread.path) as governor:
        assert governor.status().trouble is None
