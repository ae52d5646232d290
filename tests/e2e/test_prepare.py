"""``tools/prepare`` on machines where something is missing: one line, naming the package."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


class Machine:
    """A PATH with stand-ins for the programs that a fresh machine may or may not have."""

    def __init__(self, root: Path, tool: Path) -> None:
        self.root, self.tool = root, tool
        self.programs = root / "bin"
        self.programs.mkdir()
        for name in ("sh", "uname", "rm", "env", "mkdir", "touch"):
            (self.programs / name).symlink_to(f"/bin/{name}")

    def has(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def has_python(self, *, modules: tuple[str, ...], version_ok: bool = True) -> None:
        """A Python that has these modules, and makes environments in name only."""
        cases = "\n".join(f'*"import {name}"*) exit 0;;' for name in modules)
        pip = "exit 0" if "pip" in modules else "exit 1"
        self.has(
            "python3",
            f"""echo "$@" >>{self.root}/calls
            case "$*" in
            *version_info*) exit {0 if version_ok else 1};;
            *get_path*) echo {self.root}/include;;
            --version) echo "Python 3.9.2";;
            "-m pip"*) {pip};;
            "-m venv"*) exit 0;;
            {cases}
            *) exit 1;;
            esac""",
        )

    def has_headers(self) -> None:
        (self.root / "include").mkdir()
        (self.root / "include" / "Python.h").touch()

    def prepare(self) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.programs), "HOME": os.environ.get("HOME", "/")}
        return subprocess.run(
            ["/bin/sh", str(self.tool), str(self.root / "venv")],
            capture_output=True,
            text=True,
            env=environment,
        )


@pytest.fixture
def machine(tmp_path: Path, project: Path) -> Machine:
    return Machine(tmp_path, project / "tools" / "prepare")


def assert_one_line(result: subprocess.CompletedProcess[str], package: str) -> None:
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("holdfast: ")
    assert line.endswith(package)


ALL = ("venv", "ensurepip", "pip")


def test_no_python(machine: Machine) -> None:
    assert_one_line(machine.prepare(), "no Python was found: apt-get install python3")


def test_an_old_python(machine: Machine) -> None:
    machine.has_python(modules=ALL, version_ok=False)
    result = machine.prepare()
    assert_one_line(result, "apt-get install python3")
    assert "Python 3.9.2" in result.stderr


def test_no_compiler(machine: Machine) -> None:
    machine.has_python(modules=ALL)
    assert_one_line(machine.prepare(), "apt-get install gcc")


def test_a_compiler_without_a_c_library(machine: Machine) -> None:
    machine.has_python(modules=ALL)
    machine.has("gcc", "exit 1")
    assert_one_line(machine.prepare(), "apt-get install libc6-dev")


def test_no_python_headers(machine: Machine) -> None:
    machine.has_python(modules=ALL)
    machine.has("gcc", "exit 0")
    assert_one_line(machine.prepare(), "apt-get install python3-dev")


def test_no_venv_module(machine: Machine) -> None:
    machine.has_python(modules=("pip",))
    machine.has("gcc", "exit 0")
    machine.has_headers()
    assert_one_line(machine.prepare(), "apt-get install python3-venv")


def test_neither_ensurepip_nor_pip(machine: Machine) -> None:
    machine.has_python(modules=("venv",))
    machine.has("gcc", "exit 0")
    machine.has_headers()
    assert_one_line(machine.prepare(), "apt-get install python3-venv (or python3-pip)")


@pytest.mark.parametrize("modules", [("venv", "pip"), ("venv", "ensurepip")])
def test_either_ensurepip_or_pip_is_enough(machine: Machine, modules: tuple[str, ...]) -> None:
    machine.has_python(modules=modules)
    machine.has("gcc", "exit 0")
    machine.has_headers()
    result = machine.prepare()
    assert (result.returncode, result.stderr) == (0, "")
    calls = (machine.root / "calls").read_text()
    assert ("--without-pip" in calls) == ("ensurepip" not in modules)
