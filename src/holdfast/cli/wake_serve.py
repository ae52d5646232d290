"""``holdfast wake serve``: a governor, in the foreground, until a signal ends it."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.lease_terms import seconds, tell
from holdfast.cli.output import print_json
from holdfast.cli.wake_terms import governor_options, socket_of
from holdfast.rundir import secure_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.wake import Backend

__all__ = ["serve"]


class ServeCommand(click.Command):
    """Leaves everything from COMMAND on alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options stand before COMMAND."""
        ctx.allow_interspersed_args = False
        return super().parse_args(ctx, args)


@click.command(
    cls=ServeCommand,
    epilog="\b\nExample:\n"
    "  holdfast wake serve                                    a machine that sleeps in play\n"
    "  holdfast wake serve --backend logind                   the real one, through systemd\n"
    "  holdfast wake serve --backend command -- ./scale-in    drain, then run that",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--backend",
    type=click.Choice(["simulated", "logind", "command"]),
    default="simulated",
    show_default=True,
    help="How the machine goes down.",
)
@click.option("--auto", is_flag=True, help="Suspend whenever nothing forbids it, unasked.")
@click.option("--group", metavar="GROUP", help="A group whose processes may connect, too.")
@click.option(
    "--sleep",
    type=seconds,
    metavar="SECONDS",
    help="With --backend simulated: for how long it sleeps; else 50ms.",
)
@click.option(
    "--max-time",
    "limit",
    type=seconds,
    metavar="SECONDS",
    help="With --backend command: how long COMMAND may take.",
)
@governor_options
def serve(
    command: tuple[str, ...],
    backend: str,
    auto: bool,
    group: str | None,
    sleep: float | None,
    limit: float | None,
    path: str | None,
    as_json: bool,
) -> int:
    """Be the governor: decide when the machine may go down, until Ctrl-C or SIGTERM.

    It prints one line when clients may connect: "serving", the socket, the back-end.

    simulated: nothing sleeps but the governor, for --sleep. logind: the machine suspends, through
    systemd-logind. command: once nothing forbids it COMMAND is run; without one the governor ends:
    that is the drain of a container or a service. What it warns of goes to standard error.

    Its death frees every wake lease: nothing forbids anything any more, and their holders notice.
    """
    import asyncio

    from holdfast.wake import Config
    from holdfast.wake import serve as serving

    if command and backend != "command":
        raise click.UsageError("a COMMAND is for --backend command")
    if sleep is not None and backend != "simulated":
        raise click.UsageError("--sleep is for --backend simulated")
    if limit is not None and backend != "command":
        raise click.UsageError("--max-time is for --backend command")
    where = socket_of(path)
    if path is None:
        secure_directory(os.path.dirname(where))

    def ready(at: str) -> None:
        if as_json:
            print_json({"what": "serving", "socket": at, "backend": backend})
        else:
            print(f"serving\t{at}\t{backend}", flush=True)

    with _warnings_are_told():
        asyncio.run(
            serving(
                where,
                _backend(backend, command, sleep, limit),
                config=Config(auto=auto),
                group=group,
                ready=ready,
            )
        )
    return ExitCode.OK


def _backend(
    name: str, command: tuple[str, ...], sleep: float | None, limit: float | None
) -> Backend:
    from holdfast.wake import Command, Logind, Simulated

    match name:
        case "logind":
            return Logind()
        case "command":
            return Command(command or None, timeout=limit)
    return Simulated() if sleep is None else Simulated(sleep)


class _Talk(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


@contextmanager
def _warnings_are_told() -> Iterator[None]:
    talk, log = _Talk(logging.WARNING), logging.getLogger("holdfast")
    log.addHandler(talk)
    try:
        yield
    finally:
        log.removeHandler(talk)
