"""Each safeguard of the commit, taken out of the source: the sweep must find what breaks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.kill.tracer import supported

pytestmark = [
    pytest.mark.skipif(not supported(), reason="the registers of this machine are not known here"),
    pytest.mark.timeout(600),
]

# Where what is replaced, by what, and what the sweep must say.
ABLATIONS = {
    "the second look after a slot was taken": (
        "slots.c",
        "if (atomic_load_explicit(&header->head, memory_order_acquire) != head) {",
        "if (0) {",
        "one that came too late",
    ),
    "publication validates": (
        "commit.c",
        "    if (result == HF_OK &&\n        !atomic_compare_exchange_strong_explicit(",
        "    atomic_store(&header->head, hf_head(*version + 1, slot));\n"
        "    if (0 && !atomic_compare_exchange_strong_explicit(",
        "yet it ended with",
    ),
    "ring first, note it afterwards": (
        "commit.c",
        """    ssize_t written = pwrite(region->fd, "", 1, HF_RING_OFFSET);""",
        """    atomic_store_explicit(&bell->rung, wanted, memory_order_relaxed);
    ssize_t written = pwrite(region->fd, "", 1, HF_RING_OFFSET);""",
        "did not wake the waiter",
    ),
}


def build(project: Path, target: Path, name: str, old: str, new: str) -> None:
    """A copy of the package whose core was compiled with one passage replaced."""
    shutil.copytree(project / "src", target, ignore=shutil.ignore_patterns("__pycache__"))
    core = target / "holdfast" / "state" / "core"
    text = (core / name).read_text()
    assert text.count(old) == 1, "the safeguard is no longer where this test looks for it"
    (core / name).write_text(text.replace(old, new))
    subprocess.run(
        [
            *(os.environ.get("CC", "cc"), "-std=c11", "-O2", "-shared", "-fPIC"),
            "-DPy_LIMITED_API=0x030B0000",
            f"-I{sysconfig.get_path('include')}",
            *("-o", str(core / "native.abi3.so")),
            *sorted(str(source) for source in core.glob("*.c")),
        ],
        check=True,
    )


@pytest.mark.serial
@pytest.mark.parametrize("safeguard", sorted(ABLATIONS))
def test_the_sweep_notices_when_a_safeguard_is_missing(
    project: Path, tmp_path: Path, safeguard: str
) -> None:
    """K46, K48, K55, K63: a safeguard without such a test is decoration."""
    name, old, new, complaint = ABLATIONS[safeguard]
    build(project, tmp_path / "src", name, old, new)
    found = subprocess.run(
        [sys.executable, "-m", "tests.kill.sweep", "--scenario", "commit", "--cause", "stopped"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src"), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 1, found.stdout
    assert "BROKEN" in found.stderr
    assert complaint in found.stderr
