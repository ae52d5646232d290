"""``python -m benchmarks.markdown PAGE``: the tables of the last runs, into a page of the manual.

Those of each part stand between two comments, as ``<!-- run: state -->`` and
``<!-- end of run: state -->``.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.peers import OURS
from benchmarks.report import duration, times, write_atomically
from benchmarks.results import LATENCIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["fill", "main", "markdown"]

_OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "out")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _measured(results: Sequence[dict[str, Any]], *, tails: bool) -> str:
    names = [OURS]
    for result in results:
        names += [peer["name"] for peer in result["peers"] if peer["name"] not in names]
    rows = []
    for result in results:
        cells = {OURS: duration(result["median_ns"])}
        for peer in result["peers"]:
            cells[peer["name"]] = f"{duration(peer['median_ns'])} ({times(peer['ratio'])})"
        rows.append([f"`{result['name']}`", *(cells.get(name, "") for name in names)])
        for word, figure in (("p90", "p90_ns"), ("max", "maximum_ns")) if tails else ():
            tail = {peer["name"]: duration(peer[figure]) for peer in result["peers"]}
            tail[OURS] = duration(result[figure])
            rows.append([word, *(tail.get(name, "") for name in names)])
    return _table(["", *names], rows)


def _environment(run: dict[str, Any]) -> str:
    place = run["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    disturbance = place["disturbance"]
    told = (
        f"{place['python']}, Linux {place['kernel']} on {place['cpus']} CPUs ({place['cpu']}); "
        f"{versions}. Other work had {disturbance['others_share']:.0%} of the CPUs meanwhile"
    )
    if run["spread"] is None:
        return f"{told}."
    return (
        f"{told}; our 90th percentile was {run['spread']:.2f} times our median, in the middle of "
        "all questions."
    )


def _latency(result: dict[str, Any]) -> bool:
    return result["name"].partition(".")[0] in LATENCIES


def markdown(run: dict[str, Any], size: str) -> str:
    """Environment, bars, and what was measured; of questions that have a size, at that size."""
    waits = [result for result in run["results"] if _latency(result)]
    others = [result for result in run["results"] if not _latency(result)]
    shown = [result for result in others if _size(result) in {None, size}]
    words = {True: "reached", False: "**missed**", None: "not measured"}
    bars = [[str(b["number"]), b["text"], b["measured"], words[b["reached"]]] for b in run["bars"]]
    parts = [_environment(run), _table(["bar", "needed", "measured", ""], bars)]
    parts += [_measured(shown, tails=False)] if shown else []
    parts += [_measured(waits, tails=True)] if waits else []
    return "\n\n".join(parts)


def _size(result: dict[str, Any]) -> str | None:
    second = str(result["name"]).split(".")[1:2]
    return second[0] if second and second[0].isdigit() else None


def fill(page: str, runs: Mapping[str, dict[str, Any]], size: str) -> str:
    """The page, with the tables of these runs.

    Raises:
        ValueError: It has no room for one of them.
    """
    for name, run in runs.items():
        begin, end = f"<!-- run: {name} -->", f"<!-- end of run: {name} -->"
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"the page has no {begin} … {end}")
        page = f"{before}{begin}\n\n{markdown(run, size)}\n\n{end}{after}"
    return page


def main(words: Sequence[str] | None = None) -> int:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.markdown", description=__doc__)
    parser.add_argument("page")
    parser.add_argument("--out", default=_OUT, metavar="DIR", help="where the runs are")
    parser.add_argument("--size", default="256", help="of the questions shown (256)")
    arguments = parser.parse_args(words)
    runs = {}
    for path in sorted(glob.glob(os.path.join(arguments.out, "*.json"))):
        with open(path, encoding="utf-8") as file:
            run = json.load(file)
            runs[run["benchmark"]] = run
    with open(arguments.page, encoding="utf-8") as file:
        page = file.read()
    try:
        page = fill(page, runs, arguments.size)
    except ValueError as error:
        parser.error(f"{arguments.page}: {error}")
    write_atomically(arguments.page, page.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
