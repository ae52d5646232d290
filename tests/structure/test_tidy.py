"""Sizes, names and other habits that a linter does not know."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

LINES_PER_MODULE = 500
LINES_PER_FUNCTION = 70
TREES = ("src", "tests", "benchmarks", "examples", "docs", "tools")
TEXT = {".py", ".pyi", ".c", ".h", ".md", ".toml", ".sh", ""}
BANNED_MODULES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
BANNED_CLASSES = re.compile(r"(Manager|Helper|Util|Utils)$")
UNDERSCORED = {"__init__", "__main__", "_native"}
# Home directories and mounts of the machine that somebody happened to write on.
MACHINE_PATHS = re.compile(r"/(?:home|root|Users|mnt|work|tmp/[a-z]+_jobs)/[\w.]")


def files(project: Path, *suffixes: str) -> Iterator[Path]:
    for tree in TREES:
        for path in sorted((project / tree).rglob("*")):
            if path.suffix in suffixes and path.is_file() and not set(path.parts) & SKIPPED:
                yield path


SKIPPED = {"__pycache__", "_build", "out"}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function from its `def` on, without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def long_functions(source: str) -> list[str]:
    return [
        f"{node.name} has {body_lines(node)} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and body_lines(node) > LINES_PER_FUNCTION
    ]


def test_no_module_is_swollen(project: Path) -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in files(project, ".py", ".c", ".h")}
    assert {path: size for path, size in sizes.items() if size > LINES_PER_MODULE} == {}


def test_no_function_is_swollen(project: Path) -> None:
    found = {path: long_functions(path.read_text()) for path in files(project, ".py")}
    assert {path: names for path, names in found.items() if names} == {}


def test_no_c_function_is_swollen(project: Path) -> None:
    """A C function's body stands between a brace in the first column and its closing one."""
    found = []
    for path in files(project, ".c"):
        start = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line == "{":
                start = number
            elif line.startswith("}") and start is not None:
                if number - start > LINES_PER_FUNCTION:
                    found.append(f"{path}:{start}: {number - start} lines")
                start = None
    assert found == []


def test_modules_and_classes_are_named_for_what_they_do(project: Path) -> None:
    found = []
    for path in files(project, ".py", ".c", ".h"):
        if path.stem in BANNED_MODULES or path.parent.name in BANNED_MODULES:
            found.append(f"{path}: a name that says nothing")
        if "src" in path.parts and path.stem.startswith("_") and path.stem not in UNDERSCORED:
            found.append(f"{path}: modules have no underscore; __all__ says what is public")
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and BANNED_CLASSES.search(node.name):
                    found.append(f"{path}:{node.lineno}: {node.name} says nothing")
    assert found == []


def test_nothing_knows_the_machine_it_was_written_on(project: Path) -> None:
    found = []
    roots = [path for path in project.iterdir() if path.is_file() and path.name != ".git"]
    for path in [*files(project, *TEXT), *roots]:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if MACHINE_PATHS.search(line):
                found.append(f"{path}:{number}: {line.strip()}")
    assert found == []


@pytest.mark.parametrize("path", ["home/me/x", "work/main", "tmp/some_jobs/x"])
def test_the_machine_path_rule_sees_one(path: str) -> None:
    assert MACHINE_PATHS.search(f"see /{path}")


def test_the_size_rule_counts_code_and_not_the_docstring() -> None:
    body = "\n".join(["    x = 1"] * (LINES_PER_FUNCTION - 1))
    doc = '    """' + "words\n" * 100 + '    """'
    assert long_functions(f"def f():\n{doc}\n{body}") == []
    assert long_functions(f"def f():\n{doc}\n{body}\n    x = 2") == ["f has 71 lines"]
