"""The protocol in C alone, with threads: under the race detector, and with a safeguard taken out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CC = os.environ.get("CC", "cc")


def compile_stress(project: Path, target: Path, protocol: Path, *flags: str) -> Path:
    program = target / "stress"
    subprocess.run(
        [
            *(CC, "-std=c11", "-O1", "-g", "-pthread", *flags),
            f"-I{project / 'src/holdfast/state/core'}",
            *("-o", str(program)),
            *(str(project / "tests/native/stress.c"), str(protocol)),
        ],
        check=True,
        capture_output=True,
    )
    return program


def run(program: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    return subprocess.run([program], capture_output=True, text=True, timeout=300, env=environment)


@pytest.mark.serial
@pytest.mark.timeout(400)
def test_the_race_detector_finds_nothing(project: Path, tmp_path: Path) -> None:
    """K46, K48: threads that read and commit; every commit counted, no read torn, no race."""
    protocol = project / "src/holdfast/state/core/protocol.c"
    try:
        program = compile_stress(project, tmp_path, protocol, "-fsanitize=thread")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this compiler has no race detector: {error.stderr.decode()[-200:]}")
    done = run(program)
    assert done.returncode == 0, done.stderr
    assert "commits 16000 of 16000" in done.stdout


@pytest.mark.serial
@pytest.mark.timeout(400)
def test_a_slot_that_is_not_marked_while_it_is_filled_gives_torn_reads(
    project: Path, tmp_path: Path
) -> None:
    """K37: the tag is what tells a reader that its copy was spoilt."""
    text = (project / "src/holdfast/state/core/protocol.c").read_text()
    mark = "atomic_store_explicit(&slot->tag, HF_TAG_FILLING, memory_order_release);"
    assert text.count(mark) == 1, "the safeguard is no longer where this test looks for it"
    protocol = tmp_path / "protocol.c"
    protocol.write_text(text.replace(mark, ""))
    # Slow byte copies, as the race detector wants them, make the window wide.
    program = compile_stress(project, tmp_path, protocol, "-D__SANITIZE_THREAD__=1")
    done = run(program)
    assert done.returncode != 0, done.stdout
    assert "torn read" in done.stderr or "another's number" in done.stderr
