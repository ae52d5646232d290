"""When the tests beside a real logind may be skipped, and what is said then."""

from __future__ import annotations

import os

import pytest

from tests.logind import machine as machine_module
from tests.logind.machine import Machine, MachineMissing


def missing() -> str:
    with pytest.raises(MachineMissing) as caught:
        machine_module.needed.__wrapped__()  # not what was found out before
    return str(caught.value)


def test_without_the_programs_their_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "LOGIND_PLACES", ("/nowhere",))
    monkeypatch.setattr("shutil.which", lambda _: "/found")
    assert missing() == "there is no systemd-logind here: the package systemd has it"
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert missing() == "there is no dbus-daemon here: the package dbus has it"


def test_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "LOGIND_PLACES", ("/",))
    monkeypatch.setattr("shutil.which", lambda _: "/found")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert missing() == "only root may run a logind"


def test_where_mounts_are_not_permitted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    program = os.path.join(tmp_path, "unshare")
    with open(program, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\necho unshare failed: Operation not permitted >&2; exit 1\n")
    os.chmod(program, 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert missing().startswith("mounts are not permitted here: unshare failed")


def test_a_logind_that_ends_at_once_is_a_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Machine()
    monkeypatch.setattr(other, "_logind", "/bin/false")
    with pytest.raises(MachineMissing, match="logind does not run here"):
        other.__enter__()
    assert not os.path.exists(other.directory)
