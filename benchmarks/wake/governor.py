"""A governor in a process of its own: ``python -m benchmarks.wake.governor SOCKET BACKEND``.

The back-end is "instant", which goes down and comes back at once and says when that was, or the
address of a bus with a logind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import processors
from benchmarks.peers import Missing
from holdfast.wake import Logind, Slept, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.wake import BackendHost

__all__ = ["Instant", "governing"]

INSTANT = "instant"
_PATIENCE_S = 60.0


class Instant:
    """A machine that is down for no time at all.

    What it says of the duration is the instant at which it was entered: one clock for all processes
    of this machine, and no other way for a back-end to tell a client anything.
    """

    name = INSTANT
    blocks_nothing = True

    def available(self) -> None: ...

    async def open(self, host: BackendHost) -> None: ...

    async def suspend(self, attempt: int) -> Slept:
        return Slept(time.monotonic_ns())

    def wake(self, attempt: int) -> None: ...

    async def block(self, held: bool) -> None: ...

    def ready_for_sleep(self) -> None: ...

    def ready_for_shutdown(self) -> None: ...

    async def close(self) -> None: ...


@contextlib.contextmanager
def governing(directory: str, backend: str = INSTANT) -> Iterator[str]:
    """The socket of a governor, on a processor that is not measured, for as long as the block.

    Raises:
        Missing: It does not start.
    """
    path = os.path.join(directory, "governor")
    command = [sys.executable, "-m", "benchmarks.wake.governor", path, backend]
    with processors.pinned(processors.others()[0]):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            if not process.stdout.readline():
                said = process.stderr.read().decode(errors="replace").strip().splitlines()
                raise Missing(f"the governor does not start: {said[-1] if said else 'no word'}")
            yield path
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _main(path: str, backend: str) -> None:
    chosen = Instant() if backend == INSTANT else Logind(address=backend)
    asyncio.run(serve(path, chosen, ready=lambda where: print(where, flush=True)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
