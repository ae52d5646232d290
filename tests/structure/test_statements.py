"""The tables that lead from a statement to its tests: every test that is named there exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ESSAYS = sorted((PROJECT / "docs" / "design").glob("*.md"))
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
FIRST_SLICE = {
    *(f"K{n}" for n in [*range(1, 7), *range(9, 12), *range(14, 23), *range(34, 53)]),
    *(f"K{n}" for n in [54, 55, *range(59, 66), 67, 70, 71, 73]),
    *(f"U{n}" for n in range(1, 17)),
}


def missing(essay: str, tests: Path) -> list[str]:
    """What an essay names and nobody has written."""
    found: dict[str, set[str]] = {}
    for path in tests.rglob("test_*.py"):
        functions = ast.walk(ast.parse(path.read_text()))
        found[path.name] = {node.name for node in functions if isinstance(node, ast.FunctionDef)}
    return [
        f"{file}::{name}"
        for file, name in NAMED.findall(essay)
        if name not in found.get(file, set())
    ]


@pytest.mark.parametrize("essay", ESSAYS, ids=lambda path: path.name)
def test_every_test_that_an_essay_names_exists(essay: Path) -> None:
    assert missing(essay.read_text(), PROJECT / "tests") == []


def test_a_test_that_does_not_exist_is_seen(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_one() -> None: ...\n")
    essay = "`test_a.py::test_one` `test_a.py::test_two` `test_b.py::test_one`"
    assert missing(essay, tmp_path) == ["test_a.py::test_two", "test_b.py::test_one"]


def test_the_essay_of_state_has_every_statement_of_its_first_slice_once() -> None:
    text = (PROJECT / "docs" / "design" / "state.md").read_text()
    rows = re.findall(r"^\| ([KU]\d+) \|", text, flags=re.MULTILINE)
    assert len(set(rows)) == len(rows)
    assert set(rows) >= FIRST_SLICE
