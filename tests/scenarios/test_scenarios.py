"""Every script of this directory has exactly the effects that are written in it.

To write them anew, and then to look at the difference::

    HOLDFAST_REWRITE_SCENARIOS=1 python -m pytest tests/scenarios
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.scenarios import driver, wake_driver

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.glob("*.txt"))


def run(path: Path, script: str) -> str:
    """By the driver of what it is about: a governor, or a cluster."""
    of_wake = path.name.startswith("wake_")
    return wake_driver.run(script) if of_wake else driver.run(script)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_has_the_effects_that_are_written_in_it(path: Path) -> None:
    script = path.read_text()
    effects = run(path, script)
    if os.environ.get("HOLDFAST_REWRITE_SCENARIOS"):
        path.write_text(effects)
    assert effects.splitlines() == path.read_text().splitlines()


def test_there_are_scripts_and_they_have_effects() -> None:
    assert len(SCRIPTS) >= 21
    for path in SCRIPTS:
        assert "\n  " in path.read_text(), path


@pytest.mark.parametrize("path", [SCRIPTS[0], SCRIPTS[-1]], ids=lambda path: path.stem)
def test_an_effect_that_is_not_as_written_is_seen(path: Path) -> None:
    script = path.read_text()
    lines = script.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("  "))
    changed = [*lines[:at], lines[at] + "!", *lines[at + 1 :]]
    assert run(path, "\n".join(changed)).splitlines() != changed
