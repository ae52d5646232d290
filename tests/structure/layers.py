"""The rules of who may import whom, checked from the source alone.

Down only: ground, parts, seams, agent, then supervise, demo and cli. The four parts stand beside
each other; the one door between them leads from `lease.stores.local` to the public face of
`state`. Nothing imports `testing`. Pure rooms import no clock, no chance of their own, no input or
output, no event loop and no threads, and nothing of ours that does.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

# The floor of each room. A room may import the rooms of lower floors, and itself.
FLOORS = {
    "closing": 0,
    "errors": 0,
    "clock": 0,
    "durations": 0,
    "timers": 0,
    "rundir": 0,
    "process": 0,
    "_native": 0,
    "ipc": 0,
    "state": 1,
    "lease": 1,
    "membership": 1,
    "wake": 1,
    "seams": 2,
    "agent": 3,
    "testing": 3,  # stands on the parts and their seams; nothing stands on it
    "supervise": 4,
    "demo": 5,  # the command line starts the demo and the supervisor, never the other way
    "cli": 6,
    "__main__": 7,
}
GROUND_FLOOR = 0
DOORS = {("lease.stores.local", "state")}

# A room is pure if its dotted name, or a parent's, is listed here and not in IMPURE. The face of
# membership (its __init__) re-exports what is not pure, and is no room.
PURE = {
    "timers",
    "ipc.messages",
    "ipc.failures",
    "lease.record",
    "lease.rules",
    "lease.global_clock",
    "lease.keeper",
    "lease.scripts",
    "membership",
    "wake.accounts",
    "wake.model",
    "wake.backends.logind_cycle",
    "wake.causes",
    "wake.governor",
    "wake.hops",
    "wake.saboteurs",
    "wake.sequence",
    "wake.wire",
    "wake.whereabouts",
    "wake.wording",
}
IMPURE = {"membership.seal", "membership.cluster"}
FACES = {"membership"}

# What else a pure room may import. A list of what is allowed, because a list of what is forbidden
# is never complete. Of `random`, only the type: the generator itself is the caller's.
# fmt: off
PURE_MODULES = {
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "contextlib",
    "copy", "dataclasses", "enum", "functools", "hashlib", "heapq", "hmac", "inspect", "ipaddress",
    "itertools", "json", "math", "msgspec", "numbers", "operator", "re", "statistics", "string",
    "struct", "textwrap", "types", "typing", "typing_extensions", "warnings", "weakref", "zlib",
}
# fmt: on
PURE_OWN = {"errors"}
IMPURE_CALLS = {"open", "print", "input", "breakpoint", "__import__"}


@dataclass(frozen=True)
class Import:
    """One imported name; of ours, `target` is the dotted name below the package."""

    line: int
    target: str
    ours: bool


def violations(package: Path) -> list[str]:
    """Every breach of the rules below `package`, as ``room:line: sentence``."""
    found: list[str] = []
    modules = {_dotted(file, package): file for file in sorted(package.rglob("*.py"))}
    for name, file in modules.items():
        module = name or "__init__"
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        imports = _imports(tree, file, package)
        for sentence in _layer_breaches(module, imports, modules) + _purity_breaches(
            module, imports, tree, modules
        ):
            found.append(f"{module}:{sentence}")
    return found


def _layer_breaches(module: str, imports: list[Import], modules: dict[str, Path]) -> list[str]:
    room = module.split(".")[0]
    ours = [(imported, imported.target.split(".")[0]) for imported in imports if imported.ours]
    if room == "__init__":
        return [f"{imported.line}: the package itself imports {to}" for imported, to in ours]
    if room not in FLOORS:
        return [f"1: the room {room} has no floor; give it one in tests/structure/layers.py"]
    found = []
    for imported, to in ours:
        if to in {room, "__version__", ""}:
            continue
        if to not in FLOORS:
            found.append(f"{imported.line}: imports {imported.target}, which has no floor")
        elif to == "testing":
            found.append(f"{imported.line}: imports testing, which is for tests only")
        elif FLOORS[to] < FLOORS[room] or FLOORS[to] == FLOORS[room] == GROUND_FLOOR:
            continue
        elif not _is_door(module, imported.target, modules):
            found.append(f"{imported.line}: imports {imported.target}, which is not below {room}")
    return found


def _is_door(module: str, target: str, modules: dict[str, Path]) -> bool:
    # The face itself, or a name that the face offers: one level down, and not a room of its own.
    return any(
        module == origin
        and (target == face or (target.rpartition(".")[0] == face and target not in modules))
        for origin, face in DOORS
    )


def is_pure(module: str) -> bool:
    """Whether the rules of pure rooms hold for this dotted module name."""
    if module in FACES:
        return False
    names = {module[:end] for end in _ends(module)}
    return bool(names & PURE) and not names & IMPURE


def _purity_breaches(
    module: str, imports: list[Import], tree: ast.Module, modules: dict[str, Path]
) -> list[str]:
    if not is_pure(module):
        return []
    found = []
    for imported in imports:
        target = imported.target
        if imported.ours:
            # `from .member import Member` names the room `member` and something in it.
            known = [target[:end] for end in _ends(target) if target[:end] in modules]
            room = known[-1] if known else target
            if not is_pure(room) and room.split(".")[0] not in PURE_OWN:
                found.append(f"{imported.line}: a pure room imports {target}, which is not pure")
        elif target != "random.Random" and target.split(".")[0] not in PURE_MODULES:
            found.append(f"{imported.line}: a pure room imports {target}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in IMPURE_CALLS:
                found.append(f"{node.lineno}: a pure room calls {node.func.id}()")
            if node.func.id == "Random" and not node.args:
                found.append(f"{node.lineno}: a pure room makes chance of its own")
    return found


def _dotted(file: Path, package: Path) -> str:
    parts = list(file.relative_to(package).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def _ends(dotted: str) -> list[int]:
    return [at for at, char in enumerate(dotted) if char == "."] + [len(dotted)]


def _imports(tree: ast.Module, file: Path, package: Path) -> list[Import]:
    found: list[tuple[int, str]] = []
    here = [package.name, *file.relative_to(package).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*origin, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Call) and _names_import_module(node):
            found += [
                (node.lineno, argument.value)
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            ]
    prefix = package.name + "."
    return [
        Import(line, name.removeprefix(prefix), ours=(name + ".").startswith(prefix))
        for line, name in found
        if name != package.name
    ]


def _names_import_module(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"import_module", "__import__"}
