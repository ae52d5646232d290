"""``holdfast wake run --mode delay``: a command that is asked to end before the machine goes down.

Two threads. The first supervises COMMAND (`holdfast.supervise`), as it must: the kernel ties
COMMAND's life to the thread that starts it. The second listens to the governor. When a suspend
begins, it sends us the signal, which the supervisor passes on as it does with every other, and
answers when COMMAND has ended. Out of time, the governor does what was chosen.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Literal

from holdfast.cli.lease_terms import tell
from holdfast.cli.wake_terms import nobody_there, socket_of
from holdfast.errors import HoldfastError, NotFound, Unavailable
from holdfast.supervise import Signals, supervise

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

    from holdfast.wake import Listener

__all__ = ["delay"]


def delay(
    program: str,
    command: Sequence[str],
    path: str | None,
    *,
    name: str,
    number: signal.Signals,
    grace: float,
    on_timeout: Literal["go_on", "abort"],
) -> int:
    """Run COMMAND, and let a suspend wait for its end; the exit code.

    Raises:
        Unavailable: No governor is running; COMMAND was not started.
    """
    where = socket_of(path)
    with Signals() as signals:
        listening = _Listening(where, name, number, grace, on_timeout)
        try:
            listening.begin()
            outcome = supervise(
                program,
                command,
                signals=signals,
                environment=os.environ | {"HOLDFAST_WAKE_SOCKET": where},
                grace=max(grace, 1.0),
                tell=tell,
            )
        finally:
            listening.end()
    return outcome.exit_code


class _Listening:
    """The second thread."""

    def __init__(
        self,
        path: str,
        name: str,
        number: signal.Signals,
        grace: float,
        on_timeout: Literal["go_on", "abort"],
    ) -> None:
        self._path = path
        self._name = name
        self._number = number
        self._grace = grace
        self._on_timeout = on_timeout
        self._ready = threading.Event()
        self._failed: HoldfastError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._main, name="holdfast wake", daemon=True)

    def begin(self) -> None:
        """Listen from now on.

        Raises:
            Unavailable: No governor is running.
        """
        self._thread.start()
        self._ready.wait()
        if self._failed is not None:
            raise self._failed

    def end(self) -> None:
        """COMMAND has ended: answer who waits for that, and listen no more."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
        if self._thread.ident is not None:
            self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._listen())
        except (NotFound, Unavailable):
            self._failed = nobody_there(self._path)
        except HoldfastError as error:
            self._failed = error
        finally:
            self._ready.set()

    async def _listen(self) -> None:
        from holdfast.wake import connect_async

        async with connect_async(self._path) as governor:
            listener = await governor.listen(
                self._before_suspend,
                name=self._name,
                timeout=self._grace if self._grace > 0 else 0.001,
                on_timeout=self._on_timeout,
            )
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            alone = asyncio.create_task(self._say_when_alone(listener))
            await self._over.wait()
            alone.cancel()
            await asyncio.wait({alone})
            await asyncio.sleep(0)  # what waited for it answers
            listener.close()

    async def _say_when_alone(self, listener: Listener) -> None:
        await listener.wait_closed()
        tell(
            f"{listener.reason}: the command runs on, and is not asked to end before a suspend"
            " any more"
        )

    async def _before_suspend(self) -> None:
        tell(f"the machine is about to go down: the command gets {self._number.name}")
        os.kill(os.getpid(), self._number)
        await self._over.wait()
