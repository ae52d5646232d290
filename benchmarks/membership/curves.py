"""What was found in virtual time, as curves over the number of members."""

from __future__ import annotations

import importlib
import io
import os
from typing import TYPE_CHECKING, Any

from benchmarks.membership.trials import BYTES, MESSAGES, PERIODS, PLAIN, WRONGED
from benchmarks.peers import OURS
from benchmarks.report import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Answer, Run

__all__ = ["publish"]

_COLOURS = {OURS: "#c1272d", PLAIN: "#1f4e79"}
# Family, title, what is drawn, and where the bar is.
_CURVES: tuple[tuple[str, str, str, float | None], ...] = (
    ("ping", "first failed ping after a death: periods", PERIODS, 1.1),
    ("suspicion", "first suspicion after a death: periods", PERIODS, 2.1),
    ("load", "idle: messages a member and period", MESSAGES, 2.2),
    ("load", "idle: bytes a member and period", BYTES, None),
    ("dissemination", "news reaches all: periods", PERIODS, None),
)
_NS = 1e9


def publish(run: Run, directory: str) -> str:
    """Draw it beside the JSON; what became of it, in one line."""
    if not any(answer.is_virtual for answer in run.answers):
        return "no curves: nothing was measured in virtual time"
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ImportError:
        return "no curves: matplotlib is not installed (the extra [bench] has it)"
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "holdfast"  # the same run gives the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, grid = pyplot.subplots(2, 4, figsize=(17, 7.5), layout="constrained")
    axes = list(grid.flat)
    for axis, (family, title, count, bar) in zip(axes, _CURVES, strict=False):
        _curve(axis, title, [a for a in run.answers if a.family == family], count, bar)
    _wronged(axes[5], [a for a in run.answers if a.family == "slow"])
    _waits(axes[6], "a fifth is slow: a death is declared, s", run, "slow")
    _waits(axes[7], "after a partition: all know all, s (at most 300)", run, "healing")
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False
    )
    content = io.BytesIO()
    figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    path = os.path.join(directory, f"{run.benchmark}-virtual.svg")
    write_atomically(path, content.getvalue())
    return f"written: {path}"


def _curve(axis: Any, title: str, answers: Sequence[Answer], count: str, bar: float | None) -> None:
    for name in (OURS, PLAIN):
        points = []
        for answer in answers:
            found = next((m for m in answer.measurements if m.name == name), None)
            if found is not None:
                points.append((found.counts["members"], found.counts[count]))
        points.sort()
        if points:
            axis.plot(*zip(*points, strict=True), "o-", color=_COLOURS[name], label=name)
    if bar is not None:
        axis.axhline(bar, color="#222222", lw=1.2, ls=(0, (4, 2)), label="bar: ours below this")
    members = sorted({answer.ours.counts["members"] for answer in answers})
    axis.set_xscale("log", base=2)
    axis.set_xticks(members, [f"{n:g}" for n in members])
    axis.margins(y=0.15)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("members", fontsize=9)
    _plain(axis, title)


def _wronged(axis: Any, answers: Sequence[Answer]) -> None:
    for row, answer in enumerate(answers):
        for place, found in enumerate(answer.measurements):
            figure = found.counts[WRONGED]
            where = row + 0.4 * place
            axis.barh(where, figure, 0.36, color=_COLOURS[found.name], label=found.name)
            axis.text(figure, where, f" {figure:g}", va="center", fontsize=9)
    axis.set_yticks([])
    _plain(axis, "a fifth is slow: live identities wronged")


def _waits(axis: Any, title: str, run: Run, family: str) -> None:
    """Every sample as a dot."""
    answers = [answer for answer in run.answers if answer.family == family]
    for row, answer in enumerate(answers):
        for place, found in enumerate(answer.measurements):
            samples = [sample / _NS for sample in found.samples]
            rows = [row + 0.3 * place] * len(samples)
            axis.plot(samples, rows, "o", ms=4, alpha=0.6, color=_COLOURS[found.name])
    ticks = [answer.name.rpartition(".n")[2] + " members" for answer in answers]
    axis.set_yticks([row + 0.15 for row in range(len(answers))], ticks)
    axis.set_xlim(left=0)
    _plain(axis, title)


def _plain(axis: Any, title: str) -> None:
    axis.set_title(title, loc="left", fontsize=10)
    axis.grid(color="#dddddd", lw=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
