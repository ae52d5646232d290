"""When the tests with real nodes may be skipped, and when not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interop import building


def test_without_cargo_the_reason_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(building.CannotBuild, match="no cargo"):
        building.build(tmp_path)


def answering(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(
        subprocess, "run", lambda args, **_: subprocess.CompletedProcess(args, 101, "", said)
    )


@pytest.mark.parametrize(
    "said",
    [
        "error: failed to download from `https://crates.example/api/v1/crates/foca/1.0.0`",
        "warning: spurious network error (3 tries remaining)",
        "[6] Could not resolve hostname",
        "error: attempting to make an HTTP request, but --offline was specified",
    ],
)
def test_crates_out_of_reach_are_a_reason_to_skip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    answering(monkeypatch, said)
    with pytest.raises(building.CannotBuild, match="cannot be fetched"):
        building.build(tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        "error: cannot update the lock file Cargo.lock because --locked was passed to prevent this",
        "error: failed to parse manifest at `Cargo.toml`",
    ],
)
def test_a_fault_of_ours_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    answering(monkeypatch, said)
    with pytest.raises(RuntimeError, match="cargo fetch failed"):
        building.build(tmp_path)


def test_crates_that_do_not_come_in_time_are_a_reason_to_skip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def hang(args: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(args, building.FETCH_PATIENCE_S)

    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(building.CannotBuild, match="did not come"):
        building.build(tmp_path)
