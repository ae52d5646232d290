"""``holdfast wake ls``, ``why`` and ``watch``: who keeps the machine up, and what happens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.lease_terms import seconds
from holdfast.cli.output import as_text, print_json, print_table
from holdfast.cli.wake_terms import connected, governor_options, nobody_there, socket_of
from holdfast.clock import NS_PER_S, SystemClock
from holdfast.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from msgspec import Struct

    from holdfast.wake import WakeEvent
    from holdfast.wake.wire import LeaseHolder, Located

__all__ = ["ls", "watch", "why"]

HEADS = ("NAME", "ACQUIRER", "HOLDER", "AGE", "STATE")


@click.command(
    epilog="\b\nExample:\n  holdfast wake ls\n  holdfast wake ls --json | jq '.[].holders[].pid'"
)
@governor_options
def ls(path: str | None, as_json: bool) -> None:
    """List the wake leases, and who holds each now.

    ACQUIRER is the process that asked for it, HOLDER who was found to have a copy of its
    descriptor; "790/812" is how many messages it has processed of those that it holds on for, by
    what it said last ("?": nothing yet). AGE is in seconds. STATE is "held"; "frozen", if a holder
    does not run and so cannot let go; "leaked", if one has inherited it and never said so; "in
    flight", if nobody was found to have it: it is in a message that nobody has received, or in a
    process that may not be looked into; "waiting", if it was not granted yet.
    """
    with connected(path) as governor:
        leases = governor.where()
    if as_json:
        print_json([_told(lease) for lease in leases])
    else:
        print_table(HEADS, [_row(lease) for lease in leases])


@click.command(epilog="\b\nExample:\n  holdfast wake why")
@governor_options
def why(path: str | None, as_json: bool) -> None:
    """Say why the machine is not down: who forbids it, and what became of the last attempt.

    One sentence a line. With --json it is one object: "lines", "status", "wake_leases", "stoppers"
    (who stops one attempt after the other) and "pipelines" (what their heads accounted for in the
    last attempt, and how many messages were stranded).
    """
    with connected(path) as governor:
        reasons = governor.reasons()
        if not as_json:
            print("\n".join(reasons.lines))
            return
        status, leases = governor.status(), governor.where()
    print_json(
        {
            "lines": reasons.lines,
            "stoppers": [_fields(each) for each in reasons.stoppers],
            "pipelines": [
                _fields(each) | {"account": _fields(each.account)} for each in reasons.pipelines
            ],
            "status": _fields(status),
            "wake_leases": [_told(lease) for lease in leases],
        }
    )


@click.command(
    epilog="\b\nExample:\n"
    "  holdfast wake watch\n"
    "  holdfast wake watch --since 0 --json | jq -r '.kind'"
)
@click.option("--since", type=click.IntRange(0), metavar="N", help="Begin with event number N.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N lines.")
@click.option("--timeout", type=seconds, metavar="SECONDS", help="End after so many seconds.")
@governor_options
def watch(
    since: int | None, count: int | None, timeout: float | None, path: str | None, as_json: bool
) -> ExitCode:
    """Show what happens, one line for each event, until Ctrl-C.

    Columns: time (UTC), number, kind, name, detail. The governor remembers some thousand events:
    --since 0 begins with the oldest. A gap in the numbers was forgotten before it could be told.

    The exit code is 75 if --timeout passes before --count lines were printed, and 69 if the
    governor goes.
    """
    import asyncio

    return asyncio.run(_watch(since, count, timeout, socket_of(path), as_json=as_json))


async def _watch(
    since: int | None, count: int | None, limit: float | None, where: str, *, as_json: bool
) -> ExitCode:
    import asyncio

    from holdfast.wake import connect_async

    printed = 0
    try:
        async with asyncio.timeout(limit):
            try:
                governor = await connect_async(where)
            except (NotFound, Unavailable) as error:
                raise nobody_there(where) from error
            async with governor:
                async for event in governor.watch(since):
                    _print_event(event, as_json=as_json)
                    printed += 1
                    if printed == count:
                        return ExitCode.OK
    except TimeoutError:
        pass
    return ExitCode.OK if count is None else ExitCode.BUSY


# -- one wake lease -------------------------------------------------------------------------------


def _row(located: Located) -> tuple[object, ...]:
    lease = located.lease
    since_ns = lease.asked_ns if lease.granted_ns is None else lease.granted_ns
    return (
        lease.name,
        f"{_command(located)} ({lease.pid})" if lease.pid else None,
        ", ".join(_in_short(holder) for holder in located.holders) or None,
        f"{max(0, SystemClock().boottime_ns() - since_ns) / NS_PER_S:.1f}",
        _state(located),
    )


def _command(located: Located) -> str:
    """What its acquirer is called: now, if it holds it still; it may be another program by now."""
    lease = located.lease
    now = (holder.command for holder in located.holders if holder.pid == lease.pid)
    return next(now, lease.command) or "?"


def _in_short(holder: LeaseHolder) -> str:
    text = f"{holder.command} ({holder.pid})"
    if holder.index is None:
        return text
    done = "?" if holder.processed is None else holder.processed
    return f"{text} {done}/{holder.index}"


def _state(located: Located) -> str:
    """The one word for it; of several holders the worst counts."""
    states = {holder.state for holder in located.holders}
    stuck = {holder.halt for holder in located.holders} - {None}
    if "leaked" in states:
        return "leaked"
    return "frozen" if stuck else located.place


def _fields(one: Struct) -> dict[str, object]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _told(located: Located) -> dict[str, object]:
    """A wake lease for programs."""
    lease = located.lease
    return {
        "number": lease.number,
        "name": lease.name,
        "kind": lease.kind,
        "inode": lease.inode,
        "state": _state(located),
        "acquirer": {"pid": lease.pid, "uid": lease.uid, "command": _command(located)},
        "asked_ns": lease.asked_ns,
        "granted_ns": None if lease.granted_ns is None else str(lease.granted_ns),
        "holders": [_fields(holder) for holder in located.holders],
        "on_the_way": located.on_the_way,
        "hiding": located.hiding,
        "hops": [_fields(hop) for hop in located.hops],
    }


# -- one event ------------------------------------------------------------------------------------


def _print_event(event: WakeEvent, *, as_json: bool) -> None:
    if as_json:
        print_json(_fields(event))
        return
    clock = SystemClock()
    at_ns = clock.realtime_ns() - (clock.boottime_ns() - event.at_ns)
    past, ns = divmod(at_ns, NS_PER_S)
    when = f"{datetime.fromtimestamp(past, UTC):%Y-%m-%dT%H:%M:%S}.{ns // 1_000_000:03}Z"
    columns = (when, event.number, event.kind, event.name or None, event.detail or None)
    print("\t".join(as_text(column) for column in columns), flush=True)
