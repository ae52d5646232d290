"""What a command costs that runs under a wake lease, or under an inhibitor lock."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.peers import OURS, Missing
from benchmarks.wake.logind import NAME

__all__ = ["Run", "bare", "ours", "theirs"]

_PATIENCE_S = 60.0


class Run:
    """A command that is run to its end."""

    def __init__(self, name: str, words: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self.text = " ".join(os.path.basename(word) for word in words)
        self._words = words
        self._environment = os.environ | environment
        done = subprocess.run(
            words,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise Missing(f"`{self.text}` fails: {said[-1] if said else done.returncode}")

    def sample(self) -> float:
        before_ns = time.monotonic_ns()
        subprocess.run(
            self._words, env=self._environment, stdin=subprocess.DEVNULL, check=True, timeout=60
        )
        return time.monotonic_ns() - before_ns


def ours(path: str) -> Run:
    """`holdfast wake run true`; raises `Missing` where that fails."""
    program = os.path.join(os.path.dirname(sys.executable), "holdfast")
    return Run(OURS, [program, "wake", "run", "true"], {"HOLDFAST_WAKE_SOCKET": path})


def theirs(address: str) -> Run:
    """`systemd-inhibit true`; raises `Missing` where that fails."""
    return Run(NAME, ["systemd-inhibit", "true"], {"DBUS_SYSTEM_BUS_ADDRESS": address})


def bare() -> Run:
    """What starting an interpreter costs that does nothing: a program in Python is not quicker."""
    return Run("python -c pass", [sys.executable, "-c", "pass"], {})
