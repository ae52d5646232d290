"""Many seeds, one line that replays the one that failed, and the same trace in every process."""

from __future__ import annotations

import functools
import gc
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from holdfast.errors import InvalidArgument
from holdfast.testing.world import SeedFailed, World, explore, first_failure, play
from tests.simulation import counter, heartbeat

PROJECT = Path(__file__).parents[3]


def shell(
    command: str, *, cwd: Path = PROJECT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """What is typed into a terminal, where `python` is ours."""
    command = re.sub(r"\bpython\b", sys.executable, command, count=1)
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def fails_from(world: World) -> None:
    """A scenario that fails under every seed from 8 on."""
    assert world.seed < 8


def fails_at(world: World, *, seed: int = 7) -> None:
    """A scenario that fails under one seed."""
    world.trace.say("begin")
    world.run(1_000)
    assert world.seed != seed, "it is that one"


@pytest.mark.parametrize("scenario", ["counter", "heartbeat"])
def test_two_processes_with_different_hash_seeds_do_the_same(scenario: str) -> None:
    command = f"python -m holdfast.testing.world tests.simulation.{scenario}:scenario --seed 11"
    here = play({"counter": counter, "heartbeat": heartbeat}[scenario].scenario, 11).world
    first = shell(command, PYTHONHASHSEED="1")
    second = shell(command, PYTHONHASHSEED="2")
    assert first.returncode == second.returncode == 0, first.stdout + first.stderr
    assert first.stdout == second.stdout
    assert first.stdout.split()[-1] == here.trace.hash()


def test_another_seed_does_something_else() -> None:
    hashes = {play(heartbeat.scenario, seed).world.trace.hash() for seed in range(5)}
    assert len(hashes) == 5


def test_the_trace_keeps_the_last_lines_and_hashes_all_of_them() -> None:
    seen: list[str] = []
    world, other = World(1, keep=10, sink=seen.append), World(1, keep=3)
    for number in range(5000):
        world.trace.say(number)
        other.trace.say(number)
        if number % 999 == 0:
            other.trace.hash()  # looking changes nothing
    assert world.trace.count == 5000
    assert world.trace.lines == tuple(f"0 - says {number}" for number in range(4990, 5000))
    assert world.trace.hash() == other.trace.hash()
    assert len(seen) == 5000
    other.trace.say("one more")
    assert world.trace.hash() != other.trace.hash()


def test_the_trace_does_not_pile_up_while_the_world_runs() -> None:
    seen: list[str] = []
    world = World(1, sink=seen.append)
    behind: list[int] = []
    for number in range(10_000):
        world.at(number, lambda: world.trace.say("tick"))
    world.at(9_999, lambda: behind.append(world.trace.count - len(seen)))
    world.run()
    assert behind[0] <= 1000


def test_the_garbage_collector_does_not_run_when_it_likes() -> None:
    world = World(1)
    enabled: list[bool] = []
    world.after(1, lambda: enabled.append(gc.isenabled()))
    assert gc.isenabled()
    world.run()
    assert enabled == [False]
    assert gc.isenabled()


def test_a_line_of_the_trace_is_one_line() -> None:
    world = World(1)
    world.trace.say("one\ntwo", who="me")
    assert world.trace.lines == ("0 me says one\\ntwo",)


def test_the_report_says_what_why_and_how_to_see_it_again() -> None:
    with pytest.raises(SeedFailed) as caught:
        explore(fails_at, range(5, 20))
    failed = caught.value
    assert (failed.seed, failed.ran) == (7, 2)
    assert isinstance(failed.__cause__, AssertionError)
    report = str(failed)
    assert report.startswith("seed 7 fails, after 2 that passed: AssertionError: it is that one")
    assert f"\nreplay: {failed.replay}\n" in report
    assert "    0 - says begin" in report
    replayed = shell(failed.replay)
    assert replayed.returncode == 1, replayed.stderr
    assert "AssertionError: it is that one" in replayed.stdout
    assert play(fails_at, 7).world.trace.hash() in replayed.stdout


def test_a_partial_is_replayed_with_its_settings() -> None:
    failed = first_failure(functools.partial(fails_at, seed=12))
    assert failed is not None
    assert failed.seed == 12
    assert failed.replay.endswith("--set seed=12 --seed 12")
    assert shell(failed.replay).returncode == 1
    assert shell(failed.replay.replace("--seed 12", "--seed 11")).returncode == 0


def test_no_failure_is_none() -> None:
    assert first_failure(fails_at, range(3)) is None


def test_a_scenario_without_a_name_is_replayed_through_its_test() -> None:
    """A test that explores a closure prints a line that runs that test with that seed alone."""
    if os.environ.get("HOLDFAST_SEED") is None:
        with pytest.raises(SeedFailed) as caught:
            explore(lambda world: fails_at(world), range(20))  # it has no name
        replay = caught.value.replay
        assert replay.startswith("HOLDFAST_SEED=7 python -m pytest ")
        replayed = shell(replay)
        assert replayed.returncode == 1
        assert "seed 7 fails, after 0 that passed" in replayed.stdout
    else:
        explore(lambda world: fails_at(world), range(20))


def test_a_seed_in_the_environment_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SEED", "6")
    assert explore(fails_at, range(1000)).seeds == 1


def test_a_file_that_is_no_module_is_replayed_by_its_path(tmp_path: Path) -> None:
    program = """
    from holdfast.testing import explore

    def scenario(world, unlucky=3):
        assert world.seed != unlucky

    if __name__ == "__main__":
        explore(scenario)
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(program))
    failed = shell("python mine.py", cwd=tmp_path)
    [replay] = re.findall(r"^replay: (.*)$", failed.stderr, flags=re.MULTILINE)
    assert replay == "python -m holdfast.testing.world mine.py:scenario --seed 3"
    again = shell(replay, cwd=tmp_path)
    assert (again.returncode, "AssertionError" in again.stdout) == (1, True)


def test_several_processes_find_the_lowest_of_the_failures_they_meet() -> None:
    with pytest.raises(SeedFailed) as caught:
        explore(fails_at, range(20), processes=2)
    assert caught.value.seed == 7
    assert isinstance(caught.value.error, AssertionError)
    with pytest.raises(SeedFailed) as caught:
        explore(fails_from, range(20), processes=2)
    assert caught.value.seed == 8


def test_several_processes_count_together() -> None:
    alone = explore(counter.scenario, range(6))
    together = explore(counter.scenario, range(6), processes=2)
    assert (alone.seeds, alone.events) == (together.seeds, together.events)
    assert alone.counts == together.counts
    assert alone.seeds == 6
    assert alone.counts["database.calls"] > 0
    assert str(alone).startswith(f"6 seeds, {alone.events} steps; injected: database.")


def test_other_processes_cannot_import_what_has_no_name() -> None:
    with pytest.raises(InvalidArgument, match="cannot import"):
        explore(lambda world: None, range(4), processes=2)  # noqa: ARG005


def test_no_seeds_are_no_proof() -> None:
    with pytest.raises(InvalidArgument, match="no seed"):
        explore(fails_at, [])


def test_a_scenario_that_is_not_deterministic_is_found() -> None:
    def scenario(world: World) -> None:
        world.trace.say("the same")
        world.trace.say(f"at {time.monotonic_ns()}")

    with pytest.raises(SeedFailed, match="not deterministic; they part at line 2 of the trace"):
        explore(scenario, range(5))
    assert explore(scenario, range(5), twice=0).seeds == 5


def test_what_is_not_an_exception_passes_through_with_its_seed() -> None:
    def scenario(world: World) -> None:
        if world.seed == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        explore(scenario, range(5))
    assert caught.value.__notes__ == ["at seed 3"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--seeds 0:5", 0, "passed: 5 seeds"),
        ("--seeds 0:20", 1, "seed 7 fails"),
        ("--seeds 1,7", 1, "after 1 that passed"),
        ("--seeds 0:20 --set seed=99", 0, "passed: 20 seeds"),
        ("--seed 8 --trace", 0, "0 - says begin\nseed 8: 0 steps, 1000 ns"),
    ],
)
def test_the_command(words: str, code: int, said: str) -> None:
    name = "tests.unit.testing.test_world_explore:fails_at"
    result = shell(f"python -m holdfast.testing.world {name} {words}")
    assert result.returncode == code, result.stderr
    assert said in result.stdout


def test_the_command_refuses_what_is_no_scenario() -> None:
    for wrong in ("nothing", "tests.simulation.counter:", "tests.simulation.counter:nothing"):
        result = shell(f"python -m holdfast.testing.world {wrong}")
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
