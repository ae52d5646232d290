"""``holdfast wake run``: a command during which the machine stays up, or that is told to end.

With ``--mode block`` we become COMMAND (execve(2)), and the wake lease is a descriptor that it
inherits: so its exit code, its signals and its terminal are its own, nobody is between, and the
kernel ends the hold with the last process that has inherited it, however it dies.

With ``--mode delay`` there is no wake lease. We stay, and listen; see `wake_delay`.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress

import click

from holdfast.cli.exit_codes import ExitCode, exit_code_of
from holdfast.cli.lease_terms import seconds
from holdfast.cli.report import report
from holdfast.cli.wake_hold import hold
from holdfast.cli.wake_terms import connected, governor_options, name_of
from holdfast.errors import HoldfastError, NotFound, NotPermitted
from holdfast.supervise import find_command

__all__ = ["run"]

SIGNALS = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")


class RunCommand(click.Command):
    """Leaves everything from COMMAND on alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options stand before COMMAND."""
        ctx.allow_interspersed_args = False
        return super().parse_args(ctx, args)


@click.command(
    cls=RunCommand,
    epilog="\b\nExample:\n"
    "  holdfast wake run -- ./upload.sh | tee log             both of the pipe are its own affair\n"
    "  holdfast wake run --mode delay --signal INT --why 'nightly export' -- ./export.sh\n"
    "  holdfast wake run -t 10m                               as caffeinate -t\n"
    "  holdfast wake run -w 4711                              as caffeinate -w",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--name", "--who", metavar="TEXT", help="What the wake lease is called.")
@click.option("--why", metavar="TEXT", help="What for; it becomes part of the name.")
@click.option(
    "--mode",
    type=click.Choice(["block", "delay"]),
    default="block",
    show_default=True,
    help="Keep the machine up while COMMAND runs, or have COMMAND end before it goes down.",
)
@click.option(
    "--signal",
    "signal_name",
    type=click.Choice(SIGNALS, case_sensitive=False),
    default="TERM",
    show_default=True,
    help="With --mode delay: what COMMAND gets before a suspend.",
)
@click.option(
    "--grace",
    type=seconds,
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="With --mode delay: how long a suspend waits for COMMAND's end.",
)
@click.option(
    "--on-timeout",
    type=click.Choice(["go-on", "abort"]),
    default="go-on",
    show_default=True,
    help="With --mode delay: suspend in spite of it then, or not.",
)
@click.option(
    "-t", "--for", "limit", type=seconds, metavar="SECONDS", help="Without COMMAND: for so long."
)
@click.option(
    "-w", "--pid", type=click.IntRange(1), metavar="PID", help="Without COMMAND: until it ends."
)
@governor_options
def run(
    command: tuple[str, ...],
    name: str | None,
    why: str | None,
    mode: str,
    signal_name: str,
    grace: float,
    on_timeout: str,
    limit: float | None,
    pid: int | None,
    path: str | None,
    as_json: bool,
) -> int:
    """Keep the machine up while COMMAND runs, or until something else happens.

    COMMAND inherits the wake lease, and so do all that it starts: the machine stays up until the
    last of them has ended, however that may be. Its exit code is ours. It finds the wake lease in
    HOLDFAST_WAKE_LEASE, and the governor in HOLDFAST_WAKE_SOCKET.

    With --mode delay the machine may go down, but not before COMMAND has got --signal and ended,
    or --grace is over. What it leaves running in its process group is stopped after it.

    Without COMMAND the wake lease is held until Ctrl-C, for -t seconds, or until process -w ends.

    If COMMAND was not started the exit code is 69 without a governor, 126 or 127 for what is no
    program, else 125.
    """
    if command and (limit is not None or pid is not None):
        raise click.UsageError("-t and -w are for a hold without COMMAND: it ends with COMMAND")
    if not command and mode == "delay":
        raise click.UsageError("--mode delay needs a COMMAND, which is to end before a suspend")
    called = _called(name, why, command)
    if not command:
        return hold(called, path, as_json=as_json, pid=pid, limit=limit)
    try:
        program = find_command(command[0])
    except (NotFound, NotPermitted) as error:
        report(error, as_json=as_json)
        missing = isinstance(error, NotFound)
        return ExitCode.NOT_FOUND if missing else ExitCode.NOT_EXECUTABLE
    try:
        if mode == "delay":
            from holdfast.cli.wake_delay import delay

            number = signal.Signals[f"SIG{signal_name.upper()}"]
            return delay(
                program,
                command,
                path,
                name=called or name_of(os.path.basename(command[0])),
                number=number,
                grace=grace,
                on_timeout="go_on" if on_timeout == "go-on" else "abort",
            )
        return _become(program, command, path, called or name_of(os.path.basename(command[0])))
    except HoldfastError as error:
        report(error, as_json=as_json)
        code = exit_code_of(error)
        return ExitCode.WRAPPER_BROKE if code == ExitCode.FAILURE else code


def _called(name: str | None, why: str | None, command: tuple[str, ...]) -> str | None:
    """What the wake lease is called, as far as that was said: "export: every night"."""
    if why is None:
        return None if name is None else name_of(name)
    if name is None and command:
        name = os.path.basename(command[0])
    return name_of(why if name is None else f"{name}: {why}")


def _become(program: str, command: tuple[str, ...], path: str | None, name: str) -> int:
    """Acquire, and be COMMAND from then on; returns only if that cannot be."""
    from holdfast.wake import to_environment

    with connected(path) as governor:
        wake_lease = governor.acquire(name)
        environment = os.environ | to_environment(wake_lease, governor.path)
    with wake_lease:
        os.set_inheritable(wake_lease.fileno(), True)  # noqa: FBT003 - it takes no keywords
        # The interpreter ignores these two, and what is ignored stays so across an exec.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        failed = _execute(program, command, environment)
    missing = failed in {errno.ENOENT, errno.ENOTDIR}
    kind = NotFound if missing else NotPermitted
    error = kind(
        f"the command could not be executed ({os.strerror(failed)})",
        on=program,
        hint="is its interpreter there?",
    )
    report(error, as_json=False)
    return ExitCode.NOT_FOUND if missing else ExitCode.NOT_EXECUTABLE


def _execute(program: str, command: tuple[str, ...], environment: dict[str, str]) -> int:
    """Execute it; the errno if that fails."""
    try:
        os.execve(program, command, environment)  # noqa: S606 - that is what it is for
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            return error.errno or errno.EINVAL
    try:  # a script without its first line is the shell's, execvp(3)
        os.execve("/bin/sh", ["sh", program, *command[1:]], environment)  # noqa: S606
    except OSError as error:
        return error.errno or errno.EINVAL
