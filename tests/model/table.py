"""The tables of docs/design/state-model.md: `python -m tests.model.table` makes them anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.model.cases import ABLATIONS, WHOLE, Ablation, Whole
from tests.model.explorer import Report

PAGE = Path(__file__).parents[2] / "docs/design/state-model.md"


def ablation_row(case: Ablation, report: Report) -> str:
    if report.violation is None:
        found = "nothing: another safeguard does the same | |"
    else:
        sentence = report.violation.sentence.replace("|", "\\|")
        found = f"**{report.violation.invariant}**: {sentence} | {len(report.trace)} |"
    return f"| {case.title} | {report.memory} | {found}"


def whole_row(case: Whole, report: Report) -> str:
    form = "long" if case.long else "short"
    return f"| {case.title} | {case.memory.name} | {form} | {report.states:,} |"


def block(name: str) -> list[str]:
    """The rows of one table on the page, without its head."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", PAGE.read_text(), flags=re.DOTALL)
    assert found is not None, f"{PAGE.name} has no table {name}"
    return found[1].splitlines()[2:]


def recorded(title: str, memory: str) -> int:
    """How many states the page says that a scenario has."""
    [row] = [row for row in block("whole") if row.startswith(f"| {title} | {memory} |")]
    return int(row.split("|")[4].replace(",", ""))


def main() -> None:
    tables = {
        "ablations": [
            "| without: | memory | the explorer finds | steps |",
            "|---|---|---|---|",
        ],
        "whole": ["| scenario | memory | form | states |", "|---|---|---|---|"],
    }
    for case in ABLATIONS:
        tables["ablations"].append(ablation_row(case, case.run()))
    for whole in WHOLE:
        report = whole.run()
        assert report.exhausted, str(report)
        assert report.violation is None, str(report)
        tables["whole"].append(whole_row(whole, report))
        print(whole_row(whole, report), file=sys.stderr, flush=True)
    text = PAGE.read_text()
    for name, rows in tables.items():
        made = f"<!-- {name} -->\n" + "\n".join(rows) + "\n<!-- end -->"
        text = re.sub(
            rf"<!-- {name} -->\n.*?<!-- end -->",
            lambda _, made=made: made,  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
