"""The rules of `tests/structure/layers.py`, on the sources and on made-up trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.structure.layers import FLOORS, violations


def test_every_import_goes_down_and_pure_rooms_are_pure(project: Path) -> None:
    assert violations(project / "src" / "holdfast") == []


def plant(root: Path, files: dict[str, str]) -> Path:
    package = root / "holdfast"
    for name, text in ({"__init__.py": ""} | files).items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


BAD = {
    "a ground module that imports a part": ("clock.py", "from holdfast import state"),
    "a part that imports another": ("wake/service.py", "import holdfast.membership"),
    "the same, by name": ("wake/service.py", "from holdfast.state import State"),
    "the same, relative": ("wake/service.py", "from ..state.handle import State"),
    "the same, inside a function": ("wake/service.py", "def f():\n    import holdfast.lease"),
    "the same, for types only": (
        "wake/service.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import holdfast.lease",
    ),
    "the same, by a string": (
        "wake/service.py",
        "import importlib\nimportlib.import_module('holdfast.lease')",
    ),
    "the door's wrong side": ("state/handle.py", "from holdfast import lease"),
    "the door past the face": (
        "lease/stores/local/__init__.py",
        "from holdfast.state.handle import State",
    ),
    "the door past the face, to a room": (
        "lease/stores/local/__init__.py",
        "from holdfast.state import handle",
    ),
    "another store through the door": (
        "lease/stores/sql/__init__.py",
        "from holdfast import state",
    ),
    "a part that imports a seam": ("lease/gate.py", "from holdfast.seams import fenced_state"),
    "the agent that imports the command line": ("agent/main.py", "import holdfast.cli"),
    "the demo that imports the command line": ("demo/main.py", "from holdfast.cli import output"),
    "something that imports testing": ("cli/main.py", "from holdfast.testing import World"),
    "the package that imports a part": ("__init__.py", "from holdfast.state import State"),
    "a room without a floor": ("attic.py", ""),
    "a room without a floor, as a package": ("attic/box.py", ""),
    "an import of a room without a floor": ("cli/main.py", "from holdfast import attic"),
    "a pure room with a clock": ("lease/keeper.py", "import time"),
    "a pure room with our clock": ("lease/keeper.py", "from holdfast.clock import Clock"),
    "a pure room with chance": ("membership/engine.py", "import random"),
    "a pure room with its own generator": (
        "membership/engine.py",
        "from random import Random\nrng = Random()",
    ),
    "a pure room with threads": ("wake/governor.py", "import threading"),
    "a pure room with an event loop": ("wake/sequence.py", "import asyncio"),
    "a pure room with files": ("lease/rules.py", "open('x')"),
    "a pure room that imports an impure one": (
        "membership/engine.py",
        "from holdfast.membership.cluster import Cluster",
    ),
    "the same, relative and in a package": (
        "membership/codec/bincode.py",
        "from ..seal import Seal",
    ),
    "timers with a clock": ("timers.py", "from holdfast.clock import SystemClock"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_breach_is_caught(case: str, tmp_path: Path) -> None:
    name, text = BAD[case]
    beside = ("membership/cluster.py", "membership/seal.py", "state/handle.py")
    files = dict.fromkeys(beside, "") | {name: text}
    found = violations(plant(tmp_path, files))
    assert len(found) == 1, found


GOOD = {
    "membership/cluster.py": "import asyncio, random\nfrom holdfast.membership import engine",
    "membership/__init__.py": "from holdfast.membership.cluster import Cluster",
    "membership/engine.py": "from random import Random\nfrom holdfast.timers import TimerQueue\n"
    "from holdfast.errors import Closed\nfrom .member import Member\nimport struct",
    "membership/member.py": "from dataclasses import dataclass",
    "lease/stores/local/__init__.py": "from holdfast import state\n"
    "from holdfast.state import State\nimport os",
    "lease/keeper.py": "from holdfast.lease.record import Record",
    "lease/record.py": "",
    "seams/fenced.py": "from holdfast import lease, state",
    "agent/main.py": "from holdfast import seams, wake",
    "cli/main.py": "from holdfast import __version__, demo\nimport holdfast.demo.main",
    "demo/main.py": "from holdfast import state",
    "testing/world.py": "from holdfast import membership, seams\nimport random",
    "process.py": "from holdfast.clock import NS_PER_S",
    "__main__.py": "from holdfast.cli.main import main",
}


def test_what_the_rules_allow_passes(tmp_path: Path) -> None:
    assert violations(plant(tmp_path, GOOD)) == []


def test_every_room_that_exists_has_a_floor(project: Path) -> None:
    rooms = {
        path.stem
        for path in (project / "src" / "holdfast").iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.rglob("*.py")))
    }
    assert rooms - {"__init__"} <= FLOORS.keys()
