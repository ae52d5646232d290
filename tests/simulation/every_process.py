"""That a seed is one run, whoever runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from holdfast.testing.world import play


def assert_the_same_in_every_process(
    scenario: Callable[..., None], seed: int, project: Path
) -> None:
    """Run it here, and in interpreters that hash otherwise; compare the traces."""
    digits = play(scenario, seed).world.trace.hash()
    name = f"{scenario.__module__}:{scenario.__name__}"
    for hash_seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-m", "holdfast.testing.world", name, "--seed", str(seed)],
            cwd=project,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert f"trace {digits}" in done.stdout, done.stderr
