"""``holdfast wake attach``, and ``run`` without a COMMAND: a wake lease that this process holds.

It waits in one poll for all that ends it: another process's end (a pidfd), the alarm, a signal, and
the governor's death, which the pipe of the wake lease tells.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import click

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.lease_terms import tell
from holdfast.cli.output import print_json
from holdfast.cli.wake_terms import connected, governor_options, name_of, process_ends
from holdfast.clock import NS_PER_S, Alarm, SystemClock
from holdfast.errors import GovernorGone
from holdfast.supervise import Signals

if TYPE_CHECKING:
    from holdfast.wake import WakeLease

__all__ = ["attach", "hold"]


@click.command(
    epilog="\b\nExample:\n"
    "  holdfast wake attach 4711                        until process 4711 ends\n"
    "  holdfast wake attach $(pgrep -n rsync) --name backup"
)
@click.argument("pid", type=click.IntRange(1))
@click.option("--name", metavar="TEXT", help="What the wake lease is called; else by the process.")
@governor_options
def attach(pid: int, name: str | None, path: str | None, as_json: bool) -> int:
    """Keep the machine up until process PID ends, which runs already.

    The wake lease is ours, and not that process's: it ends with us, too. The exit code is 0 when
    the process has ended, 128+N if signal N ends us, and 69 if the governor goes.
    """
    return hold(name, path, as_json=as_json, pid=pid)


def hold(
    name: str | None,
    path: str | None,
    *,
    as_json: bool,
    pid: int | None = None,
    limit: float | None = None,
) -> int:
    """Hold a wake lease until the process ends, the limit is over, or a signal comes; exit code."""
    from holdfast.wake.holders import look

    ends = -1 if pid is None else process_ends(pid)
    try:
        if name is None:
            name = "holdfast wake" if pid is None else f"{look(pid).command or 'process'} ({pid})"
        with connected(path) as governor, governor.acquire(name_of(name)) as wake_lease:
            return _until_the_end(wake_lease, ends, limit, as_json=as_json)
    finally:
        if ends >= 0:
            os.close(ends)


def _say(wake_lease: WakeLease, *, as_json: bool) -> None:
    if as_json:
        print_json({"what": "held", "name": wake_lease.name, "inode": wake_lease.inode})
    else:
        tell(f"wake lease {wake_lease.name!r} is held")


def _until_the_end(wake_lease: WakeLease, ends: int, limit: float | None, *, as_json: bool) -> int:
    with Signals() as signals, Alarm() as alarm:
        _say(wake_lease, as_json=as_json)
        if limit is not None:
            alarm.set(SystemClock().boottime_ns() + round(limit * NS_PER_S))
        poll = select.poll()
        poll.register(signals.fileno(), select.POLLIN)
        poll.register(alarm.fileno(), select.POLLIN)
        poll.register(wake_lease.fileno(), 0)  # POLLERR comes unasked
        if ends >= 0:
            poll.register(ends, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            signals.take()
            if signals.first is not None:
                return 128 + signals.first
            if ends in ready or alarm.fileno() in ready:
                return ExitCode.OK
            if wake_lease.fileno() in ready:
                raise GovernorGone(
                    "the governor has gone: nothing keeps the machine up any more",
                    on=wake_lease.name,
                    hint="start it again, and then this",
                )
