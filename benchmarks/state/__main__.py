"""``python -m benchmarks.state``: measure, write JSON and a picture, print a table."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from benchmarks import environment, peers, report
from benchmarks.progress import Progress
from benchmarks.results import Answer, Run
from benchmarks.state import questions
from benchmarks.state.bars import BARS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.state.questions import Group, Question

_OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "out")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="256 bytes only, fewer samples")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="a question (read.256), a pattern (read.*), a family (wake); may be repeated",
    )
    parser.add_argument("--out", default=_OUT, metavar="DIR", help="default: benchmarks/out")
    parser.add_argument("--list", action="store_true", help="print the names of the questions")
    return parser.parse_args(words)


def _wanted(question: Question, only: Sequence[str]) -> bool:
    return any(question.family == word or fnmatchcase(question.name, word) for word in only)


def _selected(groups: list[Group], only: Sequence[str] | None) -> list[Group]:
    if not only:
        return groups
    found = []
    for group in groups:
        wanted = tuple(question for question in group.questions if _wanted(question, only))
        if wanted:
            found.append(replace(group, questions=wanted))
    return found


def _versions(run: Run) -> dict[str, str]:
    found = {}
    for name in peers.NAMES:
        try:
            found[name] = peers.peer(name).version()
        except peers.Missing as error:
            run.missing[name] = str(error)
    return found


def _measure(run: Run, groups: list[Group], directory: str, progress: Progress) -> None:
    for group in groups:
        progress.say(f"{group.name}: opening")
        names = {name for name in peers.NAMES if name not in run.missing}
        with group.company(directory, names) as company:
            run.missing |= company.missing
            for question in group.questions:
                progress.step(question.name)
                measurements = question.ask(company)
                answer = Answer(question.name, question.family, question.what, measurements)
                run.answers.append(answer)
    progress.done()


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit status does not depend on how quick anything was."""
    arguments = _arguments(words)
    scale = questions.QUICK if arguments.quick else questions.FULL
    # An end by signal is an end in good order: the peers' servers end with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    directory = tempfile.mkdtemp(prefix="holdfast-bench-", dir=memory)
    try:
        groups = _selected(questions.groups(scale, directory), arguments.only)
        names = [question.name for group in groups for question in group.questions]
        if not names:
            sys.stderr.write("no question is called so; --list names them\n")
            return 2
        if arguments.list:
            sys.stdout.write("".join(f"{name}\n" for name in names))
            return 0
        run = Run("state", arguments.quick, {}, bars=BARS)
        run.environment = environment.describe(_versions(run))
        disturbance = environment.Disturbance()
        _measure(run, groups, directory, Progress(len(names)))
        run.environment["disturbance"] = disturbance.report()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    report.publish(run, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
