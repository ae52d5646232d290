"""Each example is shown whole in a guide, where `test_guide` runs it; and it finds what it says."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from holdfast.testing import explore, first_failure
from tests.e2e.test_guide import GUIDES
from tests.e2e.test_guide import examples as shown_in

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def loaded(name: str) -> ModuleType:
    [path] = [path for path in EXAMPLES if path.name == name]
    spec = importlib.util.spec_from_file_location(f"examples_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_what_its_guide_shows(path: Path) -> None:
    shown = [
        example.files[path.name]
        for guide in GUIDES
        for example in shown_in(guide.read_text())
        if path.name in example.files
    ]
    assert shown == [path.read_text()]


def test_orders_are_done_in_a_storm_and_not_without_the_safeguard() -> None:
    storm = loaded("orders.py").storm
    explored = explore(storm, range(10))
    for fault in ("lost", "cut_off", "doubled", "reordered", "missed"):
        assert explored.counts[f"network.{fault}"], fault
    failed = first_failure(functools.partial(storm, buries=False), range(10))
    assert failed is not None
    assert "it is not yet so" in str(failed.error)
