"""What every part's ``__main__`` runs: arguments, the way through the questions, the end."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from benchmarks import environment, report
from benchmarks.directories import Directories
from benchmarks.peers import Missing
from benchmarks.progress import Progress
from benchmarks.questions import Present, selected
from benchmarks.results import Answer, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.questions import Group
    from benchmarks.results import Needed

__all__ = ["Benchmark", "main"]

_OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "out")

C = TypeVar("C", bound=Present)


@dataclass(frozen=True, slots=True)
class Benchmark(Generic[C]):
    """What one part has measured.

    Attributes:
        name: Of the package, and of the JSON.
        about: The first lines of ``--help``.
        quick: What ``--quick`` leaves out.
        groups: The questions; the first argument says whether to be quick.
        bars: What must be reached.
        versions: Whose version is told, and what finds it or raises `Missing`.
        pictures: What draws more than everybody's picture, into a directory; returns a line.
    """

    name: str
    about: str
    quick: str
    groups: Callable[[bool, Directories], list[Group[C]]]
    bars: Sequence[Needed]
    versions: Mapping[str, Callable[[], str]]
    pictures: Sequence[Callable[[Run, str], str]] = ()


def _arguments(benchmark: Benchmark[C], words: Sequence[str] | None) -> argparse.Namespace:
    program = f"python -m benchmarks.{benchmark.name}"
    parser = argparse.ArgumentParser(prog=program, description=benchmark.about)
    parser.add_argument("--quick", action="store_true", help=benchmark.quick)
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="a question, a pattern (read.*), a family (wake); may be repeated",
    )
    parser.add_argument("--out", default=_OUT, metavar="DIR", help="default: benchmarks/out")
    parser.add_argument("--list", action="store_true", help="print the names of the questions")
    return parser.parse_args(words)


def _versions(benchmark: Benchmark[C], run: Run) -> dict[str, str]:
    found = {}
    for name, version in benchmark.versions.items():
        try:
            found[name] = version()
        except Missing as error:
            run.missing[name] = str(error)
    return found


def _measure(run: Run, groups: Sequence[Group[C]], names: set[str], progress: Progress) -> None:
    for group in groups:
        progress.say(f"{group.name}: opening")
        try:
            with group.company(names - run.missing.keys()) as company:
                run.missing |= company.missing
                for question in group.questions:
                    progress.step(question.name)
                    found = question.ask(company)
                    answer = Answer(question.name, question.family, question.what, found)
                    run.answers.append(answer)
        except Missing as error:
            run.missing[group.name] = str(error)
    progress.done()


def main(benchmark: Benchmark[C], words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status does not depend on how quick anything was."""
    arguments = _arguments(benchmark, words)
    # An end by signal is an end in good order: the peers' servers end with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with Directories() as directories:
        groups = selected(benchmark.groups(arguments.quick, directories), arguments.only)
        names = [question.name for group in groups for question in group.questions]
        if not names:
            sys.stderr.write("no question is called so; --list names them\n")
            return 2
        if arguments.list:
            sys.stdout.write("".join(f"{name}\n" for name in names))
            return 0
        run = Run(benchmark.name, arguments.quick, {}, bars=benchmark.bars)
        run.environment = environment.describe(_versions(benchmark, run))
        run.environment["file_systems"] = directories.describe()
        disturbance = environment.Disturbance()
        _measure(run, groups, set(benchmark.versions), Progress(len(names)))
        run.environment["disturbance"] = disturbance.report()
    report.publish(run, arguments.out)
    for draw in benchmark.pictures:
        sys.stderr.write(f"{draw(run, arguments.out)}\n")
    return 0
