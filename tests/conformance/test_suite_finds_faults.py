"""The conformance suite can fail: run over faulty implementations, it finds every fault."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peer import python_path

FAULTS = {
    "TestConflicts": "test_somebody_elses_commit_makes_it_fail",
    "TestRequiredMembers": "test_required_members_prevent_write_skew",
    "TestAllOrNothing": "test_if_one_has_moved_none_commits",
    "TestNews": "test_every_look_takes_the_news",
    "TestThrottle": "test_a_throttled_handle_shows_a_change_every_interval",
    "TestEvaporation": "test_a_state_vanishes_with_its_last_subscriber",
    "TestTheDead": "test_the_dead_keep_nothing",
    "TestDeletion": "test_a_subscription_after_deletion_makes_a_new_state",
    "TestViews": "test_a_view_that_checks_is_of_its_version",
    "TestUnchanged": "test_an_unchanged_copy_is_not_committed",
}


CONTROL = "TestNothing"
PYTEST = ["-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
FILE = "tests/conformance/faults.py"


@pytest.fixture(scope="module")
def failed(project: Path) -> set[tuple[str, str]]:
    """The classes and tests that have failed."""
    chosen = [f"{FILE}::{name}::{test}" for name, test in FAULTS.items()]
    done = subprocess.run(
        [sys.executable, *PYTEST, f"{FILE}::{CONTROL}", *chosen],
        cwd=project,
        env=os.environ | {"PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    failures = re.findall(r"^FAILED \S+?::(\w+)::(\w+)", done.stdout, flags=re.MULTILINE)
    return {(name, test) for name, test in failures}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_test_of_a_behaviour_fails_without_it(failed: set[tuple[str, str]], fault: str) -> None:
    """K8, K26, K31, K37, K41, K45, K54, K56, K68: an ablation for each."""
    assert (fault, FAULTS[fault]) in failed


def test_nothing_fails_without_a_fault(failed: set[tuple[str, str]]) -> None:
    """K41: the control, with all tests of the suite."""
    assert CONTROL not in {name for name, _ in failed}
