"""``python -m holdfast.testing.world SCENARIO --seed N``: run one seed again, or many.

SCENARIO is ``module:function`` or ``path.py:function``. It ends with 0 if nothing failed, with 1 if
something did, and with 2 if it was called wrongly.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import importlib.util
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from holdfast.testing.world import SeedFailed, World, explore, play

if TYPE_CHECKING:
    from collections.abc import Callable


class NoScenario(Exception):
    """There is nothing of that name that could be run."""


def find(name: str) -> Callable[[World], object]:
    """The scenario of that name."""
    place, _, function = name.rpartition(":")
    if not place or not function:
        raise NoScenario(f"SCENARIO is module:function or path.py:function, not {name!r}")
    try:
        found = _import(place)
        for part in function.split("."):
            found = getattr(found, part)
    except (FileNotFoundError, ModuleNotFoundError, AttributeError) as error:
        raise NoScenario(f"no scenario: {name}: {error}") from error
    if not callable(found):
        raise NoScenario(f"no function: {name}")
    return found  # type: ignore[no-any-return]  # callable(), which is all that is known


def _import(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location("scenario", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scenario"] = module
    spec.loader.exec_module(module)
    return module


def setting(text: str) -> tuple[str, Any]:
    """``key=value``, where the value is a literal of Python, or else a string."""
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def seeds_of(text: str) -> list[int]:
    """``7``, ``0:100``, ``3,5,8``, or ``-`` for numbers on the standard input."""
    if text == "-":
        return [int(word) for word in sys.stdin.read().split()]
    if ":" in text:
        return list(range(*(int(part) for part in text.split(":"))))
    return [int(part) for part in text.split(",")]


def replay(scenario: Callable[[World], object], seed: int, *, show: bool) -> int:
    """Run one seed with all of its trace, if that is asked for, and the whole traceback."""
    played = play(scenario, seed, sink=print if show else None)
    world = played.world
    digits = world.trace.hash()
    print(f"seed {seed}: {world.events} steps, {world.now_ns} ns, trace {digits}")
    if played.error is None:
        return 0
    if not show:
        print(*world.trace.lines[-30:], sep="\n")
    traceback.print_exception(played.error, file=sys.stdout)
    return 1


def many(
    scenario: Callable[[World], object], seeds: list[int], *, twice: int, as_json: bool
) -> int:
    """Run many seeds, up to the first that fails."""
    try:
        explored = explore(scenario, seeds, twice=twice)
    except SeedFailed as failed:
        if as_json:
            result = {"seeds": failed.ran, "events": 0, "counts": {}, "failed": failed.seed}
            print(json.dumps(result))
        else:
            print(failed)
        return 1
    if as_json:
        result = {"seeds": explored.seeds, "events": explored.events, "counts": explored.counts}
        print(json.dumps(result | {"failed": None}))
    else:
        print(f"passed: {explored}")
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m holdfast.testing.world", description=__doc__)
    parser.add_argument("scenario", metavar="SCENARIO")
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--trace", action="store_true", help="with --seed: show all of the trace")
    parser.add_argument("--seeds", default="0:100", help="run these: 0:100 or 3,5,8 or -")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    parser.add_argument("--twice", type=int, default=1, help="run so many a second time")
    parser.add_argument("--json", action="store_true", help="with --seeds: the result for programs")
    wanted = parser.parse_args()
    try:
        scenario = find(wanted.scenario)
    except NoScenario as error:
        parser.error(str(error))
    settings = dict(map(setting, wanted.settings))
    if settings:
        scenario = functools.partial(scenario, **settings)
    if wanted.seed is not None:
        return replay(scenario, wanted.seed, show=wanted.trace)
    return many(scenario, seeds_of(wanted.seeds), twice=wanted.twice, as_json=wanted.json)


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
