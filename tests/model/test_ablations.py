"""Each safeguard taken out: the explorer finds what it was for, by the shortest way to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model import table
from tests.model.cases import ABLATIONS, Ablation
from tests.model.safeguards import Safeguard

pytestmark = pytest.mark.timeout(600)  # much to reckon, for machines that have much else to do


def label(case: Ablation) -> str:
    names = "+".join(sorted(safeguard.name for safeguard in case.missing))
    return f"{names}, {case.memory.name}"


@pytest.mark.parametrize("case", [case for case in ABLATIONS if case.breaks], ids=label)
def test_without_the_safeguard_the_explorer_finds_a_violation(case: Ablation) -> None:
    report = case.run()
    assert report.violation is not None, str(report)
    assert report.violation.invariant == case.breaks, str(report)
    assert table.ablation_row(case, report) in table.block("ablations")


@pytest.mark.parametrize("case", [case for case in ABLATIONS if not case.breaks], ids=label)
def test_another_safeguard_does_the_same(case: Ablation) -> None:
    """Not each one stands alone: these the explorer can do without, in all states."""
    report = case.run()
    assert report.violation is None, str(report)
    assert report.exhausted
    assert table.ablation_row(case, report) in table.block("ablations")


def test_every_safeguard_is_taken_out_once() -> None:
    assert {safeguard for case in ABLATIONS for safeguard in case.missing} == set(Safeguard)


@pytest.mark.parametrize("safeguard", Safeguard, ids=lambda safeguard: safeguard.name)
def test_the_code_still_has_the_safeguard(project: Path, safeguard: Safeguard) -> None:
    code = " ".join((project / safeguard.file).read_text().split())
    wanted = " ".join(safeguard.text.split())
    assert wanted in code, (
        f"{safeguard.file} no longer says what the model calls {safeguard.name}: see that the "
        "programs in tests/model still do what the code does, then change the text here"
    )


def test_the_manual_shows_what_was_found() -> None:
    """One row for each case, in the same order; the rows themselves are compared case by case."""
    assert len(table.block("ablations")) == len(ABLATIONS)
    assert [row.split(" | ")[0] for row in table.block("ablations")] == [
        f"| {case.title}" for case in ABLATIONS
    ]
