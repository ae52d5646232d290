"""The kill sweep: an act is cut off after each of its instructions, and the world must go on.

    python -m tests.kill.sweep [--every N | --seconds S --seed N] [--scenario NAME] [--json]

For each scenario a child process is forked, single-stepped (ptrace) through one act, say a commit,
and after instruction 1, 2, 3, … of it

* killed with SIGKILL: what readers see is the old or the new version, whole; whoever waits wakes
  if it is the new one; the next writer succeeds at once, and nobody has cleaned anything up;
* stopped with SIGSTOP: the same, while it stands there; and when it may go on, it finds out that it
  came too late, or had been in time.

Prints what was done and what was seen; exits with 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

from holdfast._native import kernel
from holdfast.state import watch
from holdfast.state.core import native
from tests.kill.tracer import Exited, Tracee

CAUSES = ["killed", "stopped"]
WAKE_LIMIT_MS = 1000  # K55: a watcher wakes within a second of a death


class Scenario(Protocol):
    """One act, and what must hold when it was cut off."""

    name: str
    system_calls: bool  # cut before and after each system call, instead of at each instruction

    def victim(self, pause: Callable[[], None]) -> int | None:
        """In the child: get ready, pause(), act, pause(); an exit code."""
        ...

    def check(self, cause: str) -> str:
        """After a cut: raise AssertionError if a promise is broken; in one word what was seen."""
        ...

    def settle(self, seen: str, exit_code: int) -> None:
        """A victim that was stopped has ended: does its exit code agree with what was seen?"""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


def entry_of(scenario: Scenario) -> int:
    """Where an act begins: the first instruction of the core."""
    tracee = Tracee(scenario.victim)
    text = tracee.text_of(native.__file__)
    while tracee.step():
        address = tracee.program_counter()
        if address in text:
            tracee.kill()
            scenario.check("killed")
            return address
    raise AssertionError("the act never entered the core")


def cut_at_instruction(scenario: Scenario, entry: int, step: int) -> Tracee | None:
    """A child that has executed `step` instructions of the act; None if it was through before."""
    tracee = Tracee(scenario.victim)
    try:
        tracee.run_to(entry)
        top = tracee.stack_pointer()
        for _ in range(step):
            tracee.step()
        if tracee.stack_pointer() <= top:
            return tracee
        tracee.kill()
    except Exited:
        pass
    return None


def cut_at_system_call(scenario: Scenario, step: int) -> Tracee | None:
    """A child that has come to the begin or end of a system call `step` times; or None."""
    tracee = Tracee(scenario.victim)
    try:
        for _ in range(step):
            if not tracee.step_system_call():
                tracee.kill()
                return None
    except Exited:
        return None
    return tracee


def cutter(scenario: Scenario) -> Callable[[int], Tracee | None]:
    """What cuts the scenario's act off at its n-th point."""
    if scenario.system_calls:
        return partial(cut_at_system_call, scenario)
    return partial(cut_at_instruction, scenario, entry_of(scenario))


def cut(scenario: Scenario, tracee: Tracee, cause: str) -> str:
    """Kill or stop the child where it is, and see that the promises hold; what was seen."""
    if cause == "killed":
        tracee.kill()
        return f"killed, {scenario.check(cause)}"
    tracee.leave_stopped()
    what = scenario.check(cause)
    scenario.settle(what, tracee.resume())
    return f"stopped, {what}"


def sweep(
    scenario: Scenario, every: int, causes: list[str], progress: Callable[[str], None]
) -> Counter[str]:
    """Kill, then stop, at every `every`-th point, until the act is through.

    How many points it has depends on what the earlier victims have left behind.
    """
    cut_at = cutter(scenario)
    seen: Counter[str] = Counter()
    for cause in causes:
        # A coarse sweep stops at other points than it kills at.
        step = 0 if cause == "killed" else every // 2
        while (tracee := cut_at(step)) is not None:
            seen[cut(scenario, tracee, cause)] += 1
            if step % 50 < every:
                progress(f"{scenario.name}: {cause} at point {step}")
            step += every
        scenario.check("killed")
    return seen


def wander(
    scenario: Scenario, seconds: float, causes: list[str], chance: random.Random
) -> Counter[str]:
    """Kill or stop at random points, for so many seconds."""
    cut_at = cutter(scenario)
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    farthest = 1
    while time.monotonic() < deadline:
        step = chance.randrange(farthest)
        tracee = cut_at(step)
        if tracee is None:
            farthest = max(1, step)  # the act was through before
            scenario.check("killed")
            continue
        seen[cut(scenario, tracee, chance.choice(causes))] += 1
        farthest = max(farthest, step * 2 + 2)
    return seen


def main(arguments: list[str] | None = None) -> int:
    """Run the scenarios that were asked for."""
    from tests.kill.scenarios import SCENARIOS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th point only")
    parser.add_argument("--seconds", type=float, metavar="S", help="random points, for so long")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random points")
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS))
    parser.add_argument("--cause", action="append", choices=CAUSES)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--without",
        choices=["death-notice"],
        help="take a safeguard out: the sweep must then find a broken promise",
    )
    options = parser.parse_args(arguments)

    if options.without == "death-notice":
        watch.EVENTS = kernel.IN_MODIFY

    def progress(line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{line:<70}", end="", file=sys.stderr, flush=True)

    results: dict[str, dict[str, int]] = {}
    for name in options.scenario or sorted(SCENARIOS):
        directory = tempfile.mkdtemp(prefix="holdfast-sweep-", dir="/dev/shm")
        scenario = SCENARIOS[name](directory)
        try:
            causes = options.cause or CAUSES
            if options.seconds is None:
                seen = sweep(scenario, options.every, causes, progress)
            else:
                chance = random.Random(options.seed)
                seen = wander(scenario, options.seconds, causes, chance)
            results[name] = dict(sorted(seen.items()))
        except AssertionError as broken:
            progress("")
            print(f"{name}: BROKEN: {broken}", file=sys.stderr)
            return 1
        finally:
            scenario.close()
            shutil.rmtree(directory, ignore_errors=True)
    progress("")
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        for name, counts in results.items():
            print(name + ": " + "; ".join(f"{what} {n}" for what, n in counts.items()))
    return 0


if __name__ == "__main__":
    # A promise broken in the way of a hang shall end, too, and say where it hung.
    faulthandler.dump_traceback_later(7200, exit=True)
    sys.exit(main())
