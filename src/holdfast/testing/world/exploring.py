"""Running a scenario under many seeds, and saying how to see a failure again."""

from __future__ import annotations

import functools
import itertools
import json
import keyword
import os
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import InvalidArgument
from holdfast.testing.world.failures import SeedFailed
from holdfast.testing.world.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Explored", "Played", "explore", "first_failure", "play", "scenario_name"]

# In the environment, it stands for all seeds of `explore`: so a failing test is run again.
SEED_VARIABLE = "HOLDFAST_SEED"
_SHOWN = 30


@dataclass(slots=True)
class Explored:
    """What was run without a failure.

    Attributes:
        seeds: How many.
        events: How many steps all of them took together.
        counts: The faults that were injected, by name.
    """

    seeds: int = 0
    events: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, events: int, counts: dict[str, int], *, seeds: int = 1) -> None:
        """Count one more run, or several."""
        self.seeds += seeds
        self.events += events
        self.counts.update(counts)

    def __str__(self) -> str:
        return f"{self.seeds} seeds, {self.events} steps; injected: {_listed(self.counts)}"


@dataclass(frozen=True, slots=True)
class Played:
    """One run of a scenario: the world as it was left, and what was raised, if anything was."""

    world: World
    error: Exception | None


def play(
    scenario: Callable[[World], object],
    seed: int,
    *,
    sink: Callable[[str], None] | None = None,
) -> Played:
    """Run a scenario once."""
    world = World(seed, sink=sink)
    try:
        scenario(world)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what was looked for
        return Played(world, error)
    except BaseException as stop:  # the user's, or a test runner's: not a finding
        stop.add_note(f"at seed {seed}")
        raise
    return Played(world, None)


def explore(
    scenario: Callable[[World], object],
    seeds: Iterable[int] = range(100),
    *,
    processes: int = 1,
    twice: int = 1,
) -> Explored:
    """Run ``scenario(World(seed))`` for each seed, up to the first that fails.

    Args:
        scenario: Sets nodes up, runs the world, and raises if something was not as promised.
        seeds: Which. HOLDFAST_SEED in the environment stands for all of them.
        processes: How many interpreters run them. With more than one, they must be able to import
            the scenario, and it is the lowest failing seed of those found that is reported.
        twice: The first so many seeds are run a second time: a scenario of which the two traces
            differ asks a clock, an address or chance that is not of the world.

    Raises:
        SeedFailed: With the report: the seed, one line that replays it, and the end of the trace.
        InvalidArgument: There is no seed, or other processes could not import the scenario.
    """
    chosen = list(seeds)
    if SEED_VARIABLE in os.environ:
        chosen, processes = [int(os.environ[SEED_VARIABLE])], 1
    if not chosen:
        raise InvalidArgument("no seed: nothing would be explored")
    if processes > 1:
        return _explore_beside(scenario, chosen, processes, twice=twice)
    explored = Explored()
    for number, seed in enumerate(chosen):
        played = play(scenario, seed)
        if played.error is not None:
            raise _failed(scenario, seed, played, explored.seeds) from played.error
        if number < twice:
            _check_again(scenario, seed, played, explored.seeds)
        explored.add(played.world.events, played.world.counts())
    return explored


def first_failure(
    scenario: Callable[[World], object], seeds: Iterable[int] = range(100)
) -> SeedFailed | None:
    """What `explore` would raise, or None: to show that a broken variant is found."""
    for ran, seed in enumerate(seeds):
        played = play(scenario, seed)
        if played.error is not None:
            failed = _failed(scenario, seed, played, ran)
            failed.__cause__ = played.error
            return failed
    return None


# -- several processes ----------------------------------------------------------------------------


def _explore_beside(
    scenario: Callable[[World], object], seeds: Sequence[int], processes: int, *, twice: int
) -> Explored:
    words = _scenario_words(scenario)
    if words is None:
        raise InvalidArgument(
            "other processes cannot import this scenario",
            hint="make it a function of a module, or a partial of one, or use processes=1",
        )
    command = [sys.executable, "-m", "holdfast.testing.world", *words]
    command += ["--seeds", "-", "--json", "--twice", str(twice)]
    places = [place or os.curdir for place in sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    shares = [seeds[first::processes] for first in range(min(processes, len(seeds)))]
    workers = [
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in shares
    ]
    explored, failed = Explored(), []
    try:
        for worker, share in zip(workers, shares, strict=True):
            assert worker.stdin is not None
            with worker.stdin:
                worker.stdin.write(" ".join(map(str, share)))
        for worker in workers:
            assert worker.stdout is not None
            with worker.stdout:
                said = worker.stdout.read()
            if worker.wait() not in {0, 1} or not said:
                raise RuntimeError(f"a worker failed: {shlex.join(command)}")
            result = json.loads(said)
            explored.add(result["events"], result["counts"], seeds=result["seeds"])
            failed += [] if result["failed"] is None else [result["failed"]]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    if failed:
        seed = min(failed)
        played = play(scenario, seed)
        if played.error is not None:
            raise _failed(scenario, seed, played, explored.seeds) from played.error
        _check_again(scenario, seed, played, explored.seeds)
        raise _failed(scenario, seed, played, explored.seeds, why="only in a process of its own")
    return explored


# -- reports --------------------------------------------------------------------------------------


def _check_again(scenario: Callable[[World], object], seed: int, first: Played, ran: int) -> None:
    """The same seed must do the same; else say where the two runs part."""
    again = play(scenario, seed)
    if again.world.trace.hash() == first.world.trace.hash() and again.error is None:
        return
    runs: tuple[list[str], list[str]] = ([], [])
    for lines in runs:
        play(scenario, seed, sink=lines.append).world.trace.hash()
    why = "two runs of it differ: it is not deterministic"
    for number, (one, other) in enumerate(itertools.zip_longest(*runs), 1):
        if one != other:
            why += f"; they part at line {number} of the trace: {one!r}, {other!r}"
            break
    raise _failed(scenario, seed, again, ran, why=why) from again.error


def _failed(
    scenario: Callable[[World], object], seed: int, played: Played, ran: int, why: str | None = None
) -> SeedFailed:
    world = played.world
    if why is None:
        why = f"{type(played.error).__name__}: {played.error}"
    replay = _replay(scenario, seed)
    lines = world.trace.lines[-_SHOWN:]
    report = "\n".join(
        (
            f"seed {seed} fails, after {ran} that passed: {why}",
            f"replay: {replay}",
            f"injected: {_listed(world.counts())}",
            f"trace: {world.trace.count} lines up to {world.now_ns} ns, "
            f"hash {world.trace.hash()}; the last are",
            *(f"    {line}" for line in lines),
        )
    )
    return SeedFailed(report, seed=seed, replay=replay, ran=ran, trace=lines, error=played.error)


def _replay(scenario: Callable[[World], object], seed: int) -> str:
    words = _scenario_words(scenario)
    if words is not None:
        return f"python -m holdfast.testing.world {shlex.join(words)} --seed {seed}"
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if test:
        return f"{SEED_VARIABLE}={seed} python -m pytest {shlex.quote(test)}"
    return f"{SEED_VARIABLE}={seed}, in the environment of the program that explored"


def scenario_name(scenario: Callable[..., object]) -> str | None:
    """``module:function`` or ``path.py:function``, by which `python -m` finds it from here."""
    name = getattr(scenario, "__qualname__", "")
    module = sys.modules.get(getattr(scenario, "__module__", None) or "")
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if module is None or found is not scenario:
        return None  # a lambda, or a function inside another
    file = Path(getattr(module, "__file__", None) or "").resolve()
    here = Path.cwd()
    plain = here.joinpath(*module.__name__.split("."))
    if file in {plain.with_suffix(".py"), plain / "__init__.py"}:
        return f"{module.__name__}:{name}"
    if file.is_relative_to(here) and file.suffix == ".py" and "site-packages" not in file.parts:
        return f"{file.relative_to(here)}:{name}"
    if module.__name__ == "__main__":
        return f"{file}:{name}" if file.suffix == ".py" else None
    return f"{module.__name__}:{name}"


def _scenario_words(scenario: Callable[..., object]) -> list[str] | None:
    """The words of a command line that name a scenario, or None if none do."""
    settings: dict[str, Any] = {}
    if isinstance(scenario, functools.partial):
        if scenario.args:
            return None
        settings, scenario = scenario.keywords, scenario.func
    name = scenario_name(scenario)
    if name is None:
        return None
    words = [name]
    for key, value in settings.items():
        if not isinstance(value, str | int | float | None):
            return None
        plain = isinstance(value, str) and value.isidentifier() and not keyword.iskeyword(value)
        words += ["--set", f"{key}={value if plain else repr(value)}"]
    return words


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "nothing"
