"""The tables that lead from a statement to its tests: every test that is named there exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from holdfast.membership import Repair
from tests.simulation.wake_host_safeguards import SAFEGUARDS

PROJECT = Path(__file__).parents[2]
ESSAYS = sorted((PROJECT / "docs" / "design").glob("*.md"))
SUITES = PROJECT / "src" / "holdfast" / "testing" / "conformance"
NAMED = re.compile(r"`(\w+\.py)::(test_\w+)`")
STATEMENTS = [f"K{n}" for n in range(1, 74)] + [f"U{n}" for n in range(1, 17)]
PENDING = {"K12", "K13", "K27", "K28", "K29", "K53", "K66"}  # files and messages of one's own


def missing(essay: str, *places: Path) -> list[str]:
    """What an essay names and nobody has written."""
    found: dict[str, set[str]] = {}
    for path in [path for place in places for path in place.rglob("*.py")]:
        functions = ast.walk(ast.parse(path.read_text()))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        names = {node.name for node in functions if isinstance(node, kinds)}
        found[path.name] = found.get(path.name, set()) | names
    return [
        f"{file}::{name}"
        for file, name in NAMED.findall(essay)
        if name not in found.get(file, set())
    ]


@pytest.mark.parametrize("essay", ESSAYS, ids=lambda path: path.name)
def test_every_test_that_an_essay_names_exists(essay: Path) -> None:
    assert missing(essay.read_text(), PROJECT / "tests", SUITES) == []


def test_a_test_that_does_not_exist_is_seen(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_one() -> None: ...\n")
    essay = "`test_a.py::test_one` `test_a.py::test_two` `test_b.py::test_one`"
    assert missing(essay, tmp_path) == ["test_a.py::test_two", "test_b.py::test_one"]


def test_the_essay_of_state_has_every_statement_once_and_in_order() -> None:
    text = (PROJECT / "docs" / "design" / "state.md").read_text()
    rows = re.findall(r"^\| ([KU]\d+) \|(.*)$", text, flags=re.MULTILINE)
    assert [number for number, _ in rows] == STATEMENTS
    pending = {number for number, what in rows if re.search(r"\bpending\b", what)}
    assert pending - {"K33"} == PENDING  # K33 is half of it


def rows_of_membership(pattern: str) -> list[tuple[str, str]]:
    """The rows of the essay's tables that begin like that, and what they say."""
    text = (PROJECT / "docs" / "design" / "membership.md").read_text()
    return re.findall(rf"^\| {pattern} \|(.*)$", text, flags=re.MULTILINE)


def test_the_essay_of_membership_has_every_test_of_the_crate_once_and_in_order() -> None:
    rows = rows_of_membership(r"(\d+)")
    assert [int(number) for number, _ in rows] == list(range(1, 83))
    assert [number for number, what in rows if not NAMED.search(what)] == []


def test_the_essay_of_membership_has_every_statement_of_the_seed() -> None:
    rows = rows_of_membership(r"(S\d+)")
    assert [number for number, _ in rows] == [f"S{n}" for n in range(1, 20)]
    assert [number for number, what in rows if not NAMED.search(what)] == []


def test_the_essay_of_membership_has_every_repair_and_the_scenario_that_misses_it() -> None:
    # test_membership.py has a scenario for each; here is only said which.
    source = (PROJECT / "tests" / "simulation" / "test_membership.py").read_text()
    missed = dict(re.findall(r"^    Repair\.(\w+): \(scenarios\.(\w+),", source, re.MULTILINE))
    rows = rows_of_membership("`([a-z-]+)`")
    assert [name for name, _ in rows] == 2 * [repair.value for repair in Repair]
    told = {name: what.split("|")[-2].strip(" `") for name, what in rows}  # of the second table
    assert told == {repair.value: missed[repair.name] for repair in Repair}


def numbers(told: str) -> list[str]:
    """The numbers that the first cell of a row stands for: "G11, G12", or from one to another."""
    first, _, last = told.partition("\N{EN DASH}")
    if last:
        return [f"{first[0]}{number}" for number in range(int(first[1:]), int(last[1:]) + 1)]
    return told.split(", ")


def test_the_essay_of_wake_has_every_test_of_the_source_once_and_in_order() -> None:
    text = (PROJECT / "docs" / "design" / "wake.md").read_text()
    rows = re.findall(r"^\| ([GULF]\d+[^|]*?) \|(.*)$", text, flags=re.MULTILINE)
    found = [number for told, _ in rows for number in numbers(told)]
    ranges = {"G": 55, "U": 14, "L": 7, "F": 3}
    assert found == [f"{each}{n}" for each, end in ranges.items() for n in range(1, end + 1)]
    excused = re.compile(r"not taken: |as G\d|the same \(|refused \(")
    assert [
        told for told, what in rows if not NAMED.search(what) and not excused.search(what)
    ] == []


def test_the_essay_of_wake_has_every_safeguard_of_the_simulation() -> None:
    text = (PROJECT / "docs" / "design" / "wake.md").read_text()
    section = text.split("## What the simulation watches")[1].split("\n## ")[0]
    told = re.findall(r"^\| (`.*?) \|", section, flags=re.MULTILINE)
    names = [name for each in told for name in re.findall(r"`([a-z-]+)`", each)]
    assert names == list(SAFEGUARDS)
