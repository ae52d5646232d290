"""What a run has found, as JSON for programs and as tables for people."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from benchmarks.measure import compare
from benchmarks.peers import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Measurement
    from benchmarks.results import Answer, Run, Verdict

__all__ = ["FORMAT", "as_json", "duration", "publish", "tables", "times", "write_atomically"]

FORMAT = 2

# Told of each figure of which it is so: it may be compared between machines, and digit by digit.
_VIRTUAL: dict[str, object] = {
    "exact": "in virtual time: the same seeds give the same figures, on any machine, at any load",
    "first_seed": 0,
}


# -- JSON -----------------------------------------------------------------------------------------


def _measured(measurement: Measurement) -> dict[str, object]:
    cpu_ns = measurement.cpu_median_ns
    return {
        "statement": measurement.statement,
        "median_ns": round(measurement.median_ns, 1),
        "minimum_ns": round(measurement.minimum_ns, 1),
        "p90_ns": round(measurement.p90_ns, 1),
        "maximum_ns": round(measurement.maximum_ns, 1),
        "cpu_median_ns": None if cpu_ns is None else round(cpu_ns, 1),
        "samples": len(measurement.samples),
        "passes_a_sample": measurement.passes,
        **({"counts": measurement.counts} if measurement.counts else {}),
        **({"virtual": _VIRTUAL | {"seeds": measurement.seeds}} if measurement.seeds else {}),
    }


def _peer(answer: Answer, peer: Measurement, versions: dict[str, str]) -> dict[str, object]:
    ratio = compare(answer.ours, peer)
    return {
        "name": peer.name,
        "version": versions.get(peer.name),
        **_measured(peer),
        "ratio": round(ratio.median, 3),
        "ratio_quartiles": [round(ratio.low, 3), round(ratio.high, 3)],
    }


def _verdict(verdict: Verdict) -> dict[str, object]:
    bar = verdict.bar
    return {
        "number": bar.number,
        "text": bar.text,
        "question": bar.question,
        **bar.needs(),
        "figure": None if verdict.figure is None else round(verdict.figure, 3),
        "measured": verdict.measured,
        "reached": verdict.reached,
    }


def as_json(run: Run) -> dict[str, object]:
    """The whole run. A ratio says how many times as long as we the peer takes."""
    versions: dict[str, str] = run.environment["versions"]  # type: ignore[assignment]
    verdicts = run.verdicts
    return {
        "format": FORMAT,
        "benchmark": run.benchmark,
        "quick": run.quick,
        "environment": run.environment,
        "spread": None if run.spread is None else round(run.spread, 3),
        "missing": run.missing,
        "bars": [_verdict(verdict) for verdict in verdicts],
        "results": [
            {
                "name": answer.name,
                "family": answer.family,
                "what": answer.what,
                "unit": "ns",
                "version": versions.get(answer.ours.name),
                **_measured(answer.ours),
                "peers": [_peer(answer, peer, versions) for peer in answer.peers],
                "bars": [_verdict(v) for v in verdicts if v.bar.question == answer.name],
            }
            for answer in run.answers
        ],
    }


def write_atomically(path: str, content: bytes) -> None:
    """Replace a file by another as a whole."""
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# -- tables ---------------------------------------------------------------------------------------


def duration(ns: float) -> str:
    """Three digits and a unit."""
    for unit, factor in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        value = ns / factor
        if value < 999.5 or unit == "s":
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    raise AssertionError("seconds take everything")


def times(ratio: float) -> str:
    """A ratio, as far as it is worth telling."""
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def _columns(answers: Sequence[Answer]) -> list[str]:
    names = [OURS]
    for answer in answers:
        names += [m.name for m in answer.measurements if m.name not in names]
    return names


def _row(answer: Answer, columns: Sequence[str]) -> list[str]:
    cells = {OURS: duration(answer.ours.median_ns)}
    for peer in answer.peers:
        ratio = compare(answer.ours, peer).median
        cells[peer.name] = f"{duration(peer.median_ns)} ({times(ratio)})"
    return [answer.name, *(cells.get(column, "-") for column in columns)]


def _tail_rows(answer: Answer, columns: Sequence[str]) -> list[list[str]]:
    """What a median does not tell of a wake-up."""
    rows = []
    for word, figure in (("p90", "p90_ns"), ("max", "maximum_ns")):
        cells = {m.name: duration(getattr(m, figure)) for m in answer.measurements}
        rows.append([f"  {word}", *(cells.get(column, "-") for column in columns)])
    return rows


def tables(run: Run) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, head and rows of each table."""
    found = []
    for title, latency in (
        ("Medians; in brackets how many times as long as ours", False),
        ("How long somebody waits: medians in the same way, 90th percentile, maximum", True),
    ):
        answers = [answer for answer in run.answers if answer.is_latency is latency]
        if answers:
            columns = _columns(answers)
            rows = []
            for answer in answers:
                rows += [_row(answer, columns), *(_tail_rows(answer, columns) if latency else [])]
            found.append((title, ["", *columns], rows))
    rows = [[str(v.bar.number), v.bar.text, v.measured, v.word] for v in run.verdicts]
    found.append(("Bars", ["", "needed", "measured", ""], rows))
    return found


def _plain(title: str, head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join([title, *lines, "", ""])


def _print_rich(run: Run) -> None:
    rich: Any = importlib.import_module("rich.console")
    table: Any = importlib.import_module("rich.table")
    console = rich.Console()
    for title, head, rows in tables(run):
        drawn = table.Table(title=title, title_justify="left")
        for name in head:
            drawn.add_column(name)
        for row in rows:
            drawn.add_row(*row, style="bold red" if row[-1] == "MISSED" else None)
        console.print(drawn)


def _facts(run: Run) -> str:
    disturbance: Any = run.environment.get("disturbance", {})
    lines = [f"missing: {name}: {reason}" for name, reason in run.missing.items()]
    lines.append(
        "noise: our 90th percentile is {:.2f}x our median (the middle of all questions); "
        "others had {:.0%} of the processors".format(
            run.spread or 0, disturbance.get("others_share", 0)
        )
    )
    return "\n".join(lines)


def publish(run: Run, directory: str) -> None:
    """Write the JSON and the picture, print the tables."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, f"{run.benchmark}.json")
    text = json.dumps(as_json(run), indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())
    if sys.stdout.isatty():
        _print_rich(run)
    else:
        sys.stdout.write("".join(_plain(*table) for table in tables(run)))
    sys.stdout.write(f"{_facts(run)}\n")
    sys.stdout.flush()
    sys.stderr.write(f"written: {path}\n")
    picture = importlib.import_module("benchmarks.picture")
    sys.stderr.write(f"{picture.publish(run, directory)}\n")
