"""``python -m benchmarks.markdown PAGE``: put the tables of the last run into a page of the manual.

They stand between two comments, ``<!-- run -->`` and ``<!-- end of run -->``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.peers import OURS
from benchmarks.report import duration, times, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "markdown"]

_BEGIN, _END = "<!-- run -->", "<!-- end of run -->"
_JSON = os.path.join(os.path.dirname(os.path.abspath(__file__)), "out", "state.json")


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
    return (
        f"{place['python']}, Linux {place['kernel']} on {place['cpus']} CPUs ({place['cpu']}); "
        f"{versions}. Other work had {disturbance['others_share']:.0%} of the CPUs meanwhile; our "
        f"90th percentile was {run['spread']:.2f} times our median, in the middle of all questions."
    )


def markdown(run: dict[str, Any], size: str) -> str:
    """Environment, bars, and what was measured at one size."""
    wakes = [r for r in run["results"] if r["name"].startswith("wake.")]
    sized = [r for r in run["results"] if r["name"].split(".")[1] == size]
    words = {True: "reached", False: "**missed**", None: "not measured"}
    bars = [[str(b["number"]), b["text"], b["measured"], words[b["reached"]]] for b in run["bars"]]
    parts = [_environment(run), _table(["bar", "needed", "measured", ""], bars)]
    parts += [_measured(sized, tails=False)] if sized else []
    parts += [_measured(wakes, tails=True)] if wakes else []
    return "\n\n".join(parts)


def main(words: Sequence[str] | None = None) -> int:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.markdown", description=__doc__)
    parser.add_argument("page")
    parser.add_argument("--json", default=_JSON, metavar="FILE")
    parser.add_argument("--size", default="256", help="of the questions shown (256)")
    arguments = parser.parse_args(words)
    with open(arguments.json, encoding="utf-8") as file:
        text = markdown(json.load(file), arguments.size)
    with open(arguments.page, encoding="utf-8") as file:
        before, begin, rest = file.read().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        parser.error(f"{arguments.page} has no {_BEGIN} … {_END}")
    page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    write_atomically(arguments.page, page.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
