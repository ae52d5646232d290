"""Going down is running a command, or ending the governor: for containers and services.

What stands between "I am asked to stop" and the end is the same as before a suspend: the listeners
are asked, and no wake lease is held. So this back-end *drains*. Its governor enters it only then,
and what follows is the user's choice:

**A command.** It is run with an empty stdin, our stdout and stderr, in a session of its own, and
"down" is until it has ended. Exit code 0: the machine was down for as long. Anything else: it was
not, and the governor tries again, after a pause, for as long as somebody asks. The command may take
`timeout` seconds; then it gets SIGTERM, and SIGKILL `GRACE_S` later. While it runs nobody is
granted a wake lease, and it may wait for one who waits for that: hence it gets SIGTERM when
somebody asks for one. It may ignore that, and end in its own time; who asks waits until it has.

**No command.** Who asked for the suspend is told that it was drained, and the governor ends, with
exit code 0. It is a shutdown, as with logind: listeners are not called again; a wake lease asked
for at the last moment is granted, and the end waits for it.

::

                     no wake lease, listeners answered
    suspend(attempt) ──┬─ no command ──▶ Slept(0) ─▶ STOPPING ─ no wake lease ─▶ the end
                       └─ command ──▶ runs ──┬─ exit code 0 ──▶ Slept
                          wake ▶ SIGTERM ────┤
                          timeout ▶ SIGTERM, └─ else ─────────▶ Failed
                                    SIGKILL

Sources: kubernetes.io "Container Lifecycle Hooks", systemd.service(5) ``ExecStop=``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
from typing import TYPE_CHECKING

from holdfast.clock import SystemClock
from holdfast.durations import seconds
from holdfast.errors import InvalidArgument
from holdfast.wake.model import Failed, Slept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from holdfast.wake.backends import BackendHost

__all__ = ["GRACE_S", "Command"]

GRACE_S = 5.0


def _end_this_process() -> None:
    signal.raise_signal(signal.SIGTERM)  # which `holdfast.wake.serve` takes as a wish to end


class Command:
    """The back-end "command".

    Attributes:
        name: "command".
        blocks_nothing: There is nobody else who could bring the machine down.

    Args:
        argv: The command and its arguments; None: end the governor.
        timeout: How long the command may take, in seconds; None: as long as it likes.
        end: How the governor is ended: by default by a SIGTERM to this process.

    Raises:
        InvalidArgument: `argv` has no word, or `timeout` is negative or no number.
    """

    name = "command"
    blocks_nothing = True

    def __init__(
        self,
        argv: Sequence[str] | None = None,
        *,
        timeout: float | timedelta | None = None,
        end: Callable[[], object] = _end_this_process,
    ) -> None:
        if argv is not None and (isinstance(argv, str) or not argv):
            raise InvalidArgument(
                "a command is a sequence of words",
                on=repr(argv),
                hint="['sh', '-c', 'echo drained'], or None to end the governor",
            )
        self._argv = None if argv is None else [os.fspath(word) for word in argv]
        self._timeout_s = seconds(timeout, "timeout")
        self._end = end
        self._host: BackendHost | None = None
        self._running: asyncio.subprocess.Process | None = None
        self._attempt = 0  # for which it runs
        self._woken = 0  # the last attempt that was to be woken
        self._clock = SystemClock()

    def __repr__(self) -> str:
        return f"<Command {'end' if self._argv is None else shlex.join(self._argv)}>"

    def available(self) -> str | None:
        """See `Backend.available`: whether there is such a command."""
        if self._argv is None or shutil.which(self._argv[0]) is not None:
            return None
        return f"there is no command {shlex.quote(self._argv[0])} here; see PATH"

    async def open(self, host: BackendHost) -> None:
        """See `Backend.open`."""
        self._host = host

    async def suspend(self, attempt: int) -> Slept | Failed:
        """See `Backend.suspend`. It is entered when everything is drained."""
        if self._host is None:
            return Failed("the back-end is closed")
        if self._argv is None:
            # Told before we return: so the listeners, who have stopped their work, stay stopped.
            self._host.shutdown_begins()
            return Slept(0, "drained")
        if self._woken == attempt:
            return Failed("somebody asked for a wake lease before the command began")
        return await self._run(self._argv, attempt)

    async def _run(self, argv: list[str], attempt: int) -> Slept | Failed:
        self._attempt, words = attempt, shlex.join(argv)
        began_ns = self._clock.boottime_ns()
        try:
            process = self._running = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
            )
        except (OSError, ValueError) as error:
            return Failed(f"`{words}` cannot be started: {error}")
        why = ""
        try:
            if self._woken == attempt or self._host is None:  # meanwhile
                self._signal(signal.SIGTERM)
            async with asyncio.timeout(self._timeout_s):
                await process.wait()
        except TimeoutError:
            why = f" and had not ended in {self._timeout_s:g} s"
            await self._stop(process)
        except asyncio.CancelledError:
            await self._stop(process)
            raise
        finally:
            self._running = None
        if process.returncode == 0:
            return Slept(self._clock.boottime_ns() - began_ns, f"`{words}` has ended")
        if self._woken == attempt:
            why += "; somebody asked for a wake lease"
        return Failed(f"`{words}` {_ending(process.returncode)}{why}")

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """SIGTERM, and SIGKILL to what is still there after the grace."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await process.wait()

    def _signal(self, number: signal.Signals) -> None:
        process = self._running
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)  # the leader of its session, and of its group

    def wake(self, attempt: int) -> None:
        """See `Backend.wake`: the command gets SIGTERM, and may ignore it."""
        self._woken = attempt
        if attempt == self._attempt:
            self._signal(signal.SIGTERM)

    async def block(self, held: bool) -> None:
        """There is nobody to block."""

    def ready_for_sleep(self) -> None:
        """It goes down only when it is told to."""

    def ready_for_shutdown(self) -> None:
        """See `Backend.ready_for_shutdown`: the governor ends."""
        if self._host is not None:
            # Not at once: the answer to who asked for it may be behind this.
            asyncio.get_running_loop().call_soon(self._end)

    async def close(self) -> None:
        """See `Backend.close`. A command that runs is stopped."""
        self._host = None
        if self._running is not None:
            await self._stop(self._running)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with exit code {code}"
