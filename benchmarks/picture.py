"""A run as a picture: a panel for each family of questions, on a logarithmic scale."""

from __future__ import annotations

import importlib
import io
import os
from typing import TYPE_CHECKING, Any

from benchmarks.peers import OURS
from benchmarks.report import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Answer, Needed, Run

__all__ = ["publish"]

_COLOURS = {
    OURS: "#c1272d",
    "lmdb": "#1f4e79",
    "iceoryx2": "#4a90c2",
    "redis": "#8a5a9e",
    "shared_memory": "#3f8f5f",
    "sqlite": "#a0b84a",
    "bytearray": "#9a9a9a",
    "eventfd": "#1f4e79",
    "eventfd+poll": "#4a90c2",
    "pipe": "#3f8f5f",
    "filelock": "#3f8f5f",
    "flock": "#9a9a9a",
    "bare transaction": "#a0b84a",
    "logind": "#1f4e79",
    "logind, ready-made bytes": "#4a90c2",
    "python -c pass": "#9a9a9a",
    "the design": "#222222",
}
_OTHER_COLOUR = "#555555"
_BAR_INCHES = 0.085
_GAP_INCHES = 0.11  # between two questions
_TITLE_INCHES = 0.75  # of a panel, with its axis


def publish(run: Run, directory: str) -> str:
    """Draw the run beside its JSON; what became of it, in one line."""
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ImportError:
        return "no picture: matplotlib is not installed (the extra [bench] has it)"
    if not _families(run):
        return "no picture: nothing was measured by this machine's clock"
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "holdfast"  # the same run gives the same file
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text
    figure = _draw(run, importlib.import_module("matplotlib.pyplot"))
    content = io.BytesIO()
    figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
    path = os.path.join(directory, f"{run.benchmark}.svg")
    write_atomically(path, content.getvalue())
    return f"written: {path}"


def _families(run: Run) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for answer in run.answers:
        if not answer.is_virtual:  # what has no noise is drawn by its own part, as curves
            found.setdefault(answer.family, []).append(answer)
    return found


def _weight(answers: Sequence[Answer]) -> float:
    """Inches of height that a family needs."""
    widest = max(len(answer.measurements) for answer in answers)
    return len(answers) * (_BAR_INCHES * widest + _GAP_INCHES)


def _columns(families: dict[str, list[Answer]]) -> list[list[str]]:
    """The families in two columns of about the same height."""
    columns: list[list[str]] = [[], []]
    heights = [0.0, 0.0]
    for family in sorted(families, key=lambda name: -_weight(families[name])):
        shorter = heights.index(min(heights))
        columns[shorter].append(family)
        heights[shorter] += _weight(families[family]) + _TITLE_INCHES
    return [column for column in columns if column]


def _draw(run: Run, pyplot: Any) -> Any:
    families = _families(run)
    columns = _columns(families)
    height = max(sum(_weight(families[f]) + _TITLE_INCHES for f in column) for column in columns)
    figure = pyplot.figure(figsize=(8.5 * len(columns), height + 1), layout="constrained")
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    named: dict[str, Any] = {}
    for part, column in zip(parts, columns, strict=True):
        heights = [_weight(families[family]) for family in column]
        axes = part.subplots(len(column), 1, height_ratios=heights, squeeze=False)[:, 0]
        for family, axis in zip(column, axes, strict=True):
            _panel(axis, family, families[family], run.bars)
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=5, frameon=False)
    return figure


def _panel(axis: Any, family: str, answers: Sequence[Answer], bars: Sequence[Needed]) -> None:
    names: list[str] = []
    for answer in answers:
        names += [m.name for m in answer.measurements if m.name not in names]
    height = 0.84 / len(names)
    for row, answer in enumerate(answers):
        for measurement in answer.measurements:
            place = row - 0.42 + height * (names.index(measurement.name) + 0.5)
            median_ns = measurement.median_ns
            axis.barh(
                place,
                median_ns,
                height * 0.9,
                color=_COLOURS.get(measurement.name, _OTHER_COLOUR),
                label=measurement.name,
            )
            axis.plot([median_ns, measurement.p90_ns], [place, place], color="black", lw=0.7)
        for bar in bars:
            mark = bar.mark(answer) if bar.question == answer.name else None
            if mark is not None:
                _mark(axis, mark[0], row, height, mark[1])
    axis.set_xscale("log")
    lowest = min(answer.ours.minimum_ns for answer in answers)
    axis.set_xlim(left=10 ** (len(str(int(lowest))) - 1) / 2)
    axis.set_yticks(range(len(answers)), [answer.name for answer in answers], fontsize=8)
    axis.set_ylim(len(answers) - 0.5, -0.5)
    axis.set_title(f"{family} (ns, median; black: to the 90th percentile)", loc="left", fontsize=10)
    axis.grid(axis="x", which="major", color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _mark(axis: Any, limit_ns: float, row: int, height: float, by: str) -> None:
    """Where our bar must end at the latest."""
    axis.plot(
        [limit_ns, limit_ns],
        [row - 0.5, row - 0.42 + height * 1.5],
        color=_COLOURS.get(by, _OTHER_COLOUR),
        lw=2.4,
        ls=(0, (2, 1)),
        label=f"bar: ours left of this, by {by}",
    )
