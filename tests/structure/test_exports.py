"""What each part offers, and what importing it costs.

That `__all__` is sorted is the linter's business (RUF022); here it must be complete.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "holdfast"
PARTS = ("state", "lease", "membership", "wake", "seams", "testing")
GROUND = ("errors", "clock", "durations", "timers", "rundir", "process")
EXISTING = [name for name in PARTS if (PACKAGE / name / "__init__.py").exists()]


@pytest.mark.parametrize("name", EXISTING)
def test_the_face_of_a_part_names_all_that_it_offers(name: str) -> None:
    face = importlib.import_module(f"holdfast.{name}")
    offered = {
        key
        for key, value in vars(face).items()
        if not key.startswith("_")
        and not isinstance(value, types.ModuleType)
        and key not in {"annotations", "TYPE_CHECKING"}
    }
    assert len(set(face.__all__)) == len(face.__all__)
    assert offered <= set(face.__all__), "imported into the face, but not in __all__"
    for key in face.__all__:
        assert getattr(face, key) is not None  # a face may load lazily


@pytest.mark.parametrize("name", GROUND)
def test_a_ground_module_names_all_that_it_defines(name: str) -> None:
    module = importlib.import_module(f"holdfast.{name}")
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    }
    assert defined <= set(module.__all__)
    assert all(hasattr(module, key) for key in module.__all__)


def loaded_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(child.stdout.split())


def test_the_package_itself_imports_nothing() -> None:
    loaded = loaded_by("import holdfast")
    assert {name for name in loaded if name.startswith("holdfast")} == {"holdfast"}
    assert not loaded & {"click", "rich", "msgspec", "asyncio", "ctypes", "dataclasses"}


@pytest.mark.parametrize("name", EXISTING)
def test_a_part_costs_nothing_that_belongs_to_the_command_line(name: str) -> None:
    loaded = loaded_by(f"import holdfast.{name}")
    assert not loaded & {"click", "rich"}
    assert not {other for other in loaded if other.startswith("holdfast.cli")}
