"""``holdfast lease`` in processes of its own, on a store of its own."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from tests.e2e import terminal

PROGRAM = [sys.executable, "-m", "holdfast", "lease"]


class Terminal(terminal.Terminal):
    """Runs ``holdfast lease ...`` on a store of its own."""

    def __init__(self, directory: Path, store: str) -> None:
        states = str(directory / "states")
        super().__init__(
            directory, "lease", {"HOLDFAST_STATE_DIR": states, "HOLDFAST_STORE": store}
        )

    def held(self) -> list[str]:
        return [one["name"] for one in self.told("ls") if one["state"] != "vacant"]

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return found


LOCAL = "local:"
SQLITE = "sqlite"


def terminal_on(kind: str, directory: Path) -> contextlib.closing[Terminal]:
    """For a with block: a terminal whose store is one of that kind."""
    if kind == SQLITE:
        (directory / "db").mkdir()
        kind = f"sqlite:///{directory}/db/leases.db"
    return contextlib.closing(Terminal(directory, kind))
