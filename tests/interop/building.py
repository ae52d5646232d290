"""Builds the node of the crate foca, once for each machine, and says why where it cannot."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "foca-node"
FETCH_PATIENCE_S = 120
BUILD_PATIENCE_S = 600
# A test that comes first waits for all this, or for somebody else who does it.
PATIENCE_S = FETCH_PATIENCE_S + BUILD_PATIENCE_S + 60
# How cargo speaks of a registry that is out of reach, and not of a fault in what we wrote.
_UNREACHABLE = re.compile(
    r"download|could ?n[o']t (?:resolve|connect)|curl|network|timed out|offline|spurious",
    re.IGNORECASE,
)


class CannotBuild(Exception):
    """This machine lacks what the build needs; the message says what."""


def build(project: Path, profile: str = "release") -> Path:
    """The program, built below ``build/`` where it is not there already.

    Args:
        project: The root of the tree.
        profile: "release": the crate's own assertions are on; "bare": it is as its users have it.

    Raises:
        CannotBuild: There is no cargo here, or the crates cannot be fetched.
        RuntimeError: The build fails.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        raise CannotBuild("there is no cargo to build a foca node with")
    target = project / "build" / "foca-node"
    target.mkdir(parents=True, exist_ok=True)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        _fetch(cargo)
        where = ("--profile", profile, "--target-dir", str(target))
        _run(cargo, "build", *where, patience_s=BUILD_PATIENCE_S)
    return target / profile / "foca-node"


def _fetch(cargo: str) -> None:
    try:
        _run(cargo, "fetch", patience_s=FETCH_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"the crates did not come in {FETCH_PATIENCE_S} seconds") from error
    except RuntimeError as error:
        if unreachable(str(error)):
            raise CannotBuild(f"the crates cannot be fetched: {error}") from error
        raise


def unreachable(said: str) -> bool:
    """Whether cargo complains about the way to the crates."""
    return _UNREACHABLE.search(said) is not None


def _run(cargo: str, verb: str, *arguments: str, patience_s: float) -> None:
    manifest = str(SOURCE / "Cargo.toml")
    done = subprocess.run(
        [cargo, verb, "--quiet", "--locked", "--manifest-path", manifest, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience_s,
    )
    if done.returncode != 0:
        raise RuntimeError(f"cargo {verb} failed:\n{done.stderr.strip()}")
