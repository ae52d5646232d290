"""Each example of a strategy runs as it stands, and says what it should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "wake"


def run(name: str) -> list[str]:
    """Its lines. Warnings are errors: nothing may be left open."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_baton_keeps_the_machine_up_for_y() -> None:
    lines = run("baton.py")
    assert lines[0] == "X holds a wake lease, and acknowledges the interrupt"
    assert set(lines[1:-1]) == {
        "X has let go",
        "Y works on 'pressed' while button is held",
        "Y has let go",
    }
    assert lines[-1] == "the machine was down, after Y was done: True"


def test_an_interlock_has_nine_steps() -> None:
    lines = run("interlock.py")
    steps = [int(line[0]) for line in lines[:-1]]
    assert sorted(steps) == list(range(1, 10))
    assert steps[:6] == [1, 2, 3, 4, 5, 6]
    assert steps.index(8) < steps.index(9)
    assert lines[-1] == "the machine was down"


def test_a_time_out_holds_one_lease_for_many_events() -> None:
    assert run("timeout.py") == [
        "5 events, 1 wake lease",
        "the machine stays up for button",
        "the machine was down, and still holds: False",
    ]


def test_optimistic_management_takes_one_lease_for_a_hundred_messages() -> None:
    lines = run("optimistic.py")
    assert lines[0] == "the machine was down; 1 wake lease was taken,"
    assert re.fullmatch(r"for \d+ messages that would have been stranded", lines[1])
    assert lines[2:] == ["processed: 100", "wake leases left: 0"]


def test_the_example_of_the_seed_strands_nothing() -> None:
    lines = run("sequence.py")
    counts = [int(number) for line in lines[-2:] for number in re.findall(r"\d+", line)]
    sent, processed, entries, stranded = counts
    assert sent == processed > 0
    assert entries > 0
    assert stranded == 0
    attempts = lines.count("SAG->>server: SuspendStarted")
    assert lines.count("server->>SAG: AcquireWakeLease") <= attempts
    assert_in_order(lines)


def assert_in_order(lines: list[str]) -> None:
    """Every call is answered before the next; the lease comes before its answer; counts count."""
    calls = [line for line in lines if line.startswith("SAG->>server: ") or "<ACK>" in line]
    calls = [line for line in calls if "wake lease" not in line]
    for call, answer in zip(calls[::2], calls[1::2], strict=False):
        assert answer == f"server->>SAG: <ACK>{{{call.removeprefix('SAG->>server: ')}}}"
    for who, what in (("server->>client", "SendMsg"), ("client->>client", "processMsg")):
        said = [line for line in lines if line.startswith(f"{who}: {what}")]
        assert said == [f"{who}: {what}{{{number}}}" for number in range(1, len(said) + 1)]
    for number, line in enumerate(lines):
        if line == "server->>SAG: AcquireWakeLease":
            following = [line for line in lines[number:] if line.startswith(("SAG", "server->>S"))]
            assert following[1] == "SAG->>server: wake lease"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_run_here(path: Path) -> None:
    assert f'run("{path.name}")' in Path(__file__).read_text()
