"""``holdfast wake`` in processes of its own, with a governor of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from holdfast import wake
from holdfast.wake.wire import Located
from tests.e2e import terminal
from tests.e2e.terminal import ended, line, until


class Terminal(terminal.Terminal):
    """Runs ``holdfast wake ...`` with a governor of its own."""

    def __init__(self, directory: Path) -> None:
        self.socket = str(directory / "g")
        run = str(directory / "run")
        super().__init__(
            directory, "wake", {"HOLDFAST_WAKE_SOCKET": self.socket, "HOLDFAST_RUN_DIR": run}
        )

    def govern(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a governor, and wait until it answers."""
        governor = self.start("serve", *arguments)
        said = line(governor)
        assert said.startswith("serving\t"), said or ended(governor)
        return governor

    # The state of the governor, without a process for each look.

    def held(self) -> list[str]:
        with wake.connect(self.socket) as governor:
            return [lease.name for lease in governor.leases()]

    def where(self) -> list[Located]:
        with wake.connect(self.socket) as governor:
            return governor.where()

    def status(self) -> wake.Status:
        with wake.connect(self.socket) as governor:
            return governor.status()

    def is_by(self, command: str) -> bool:
        """Wait until a process of that name holds the only wake lease."""

        def seen() -> bool:
            return command in {holder.command for one in self.where() for holder in one.holders}

        return until(seen)

    def comes_to(self, *names: str) -> bool:
        """Wait until these wake leases, and no others, are held."""
        return until(lambda: self.held() == list(names))


@contextlib.contextmanager
def a_terminal() -> Iterator[Terminal]:
    """With a directory whose name is short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="hf-"))
    try:
        with contextlib.closing(Terminal(directory)) as terminal:
            yield terminal
    finally:
        shutil.rmtree(directory, ignore_errors=True)
