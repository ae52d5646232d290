"""``holdfast lease ls``, ``show`` and ``watch``: who has what, until when, and why."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.lease_terms import (
    aliveness,
    complete_names,
    lease_argument,
    left_s,
    masked,
    opened,
    owner_of,
    seconds,
    store_options,
    told,
)
from holdfast.cli.output import as_text, print_facts, print_json, print_table
from holdfast.clock import NS_PER_S, SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from holdfast.lease import Change, Leases, Listed, Record

__all__ = ["ls", "show", "watch"]

HEADS = ("NAME", "HOLDER", "EPOCH", "LEFT", "OWNER", "WHY", "PINS")


@click.command(
    epilog="\b\nExample:\n  holdfast lease ls\n  holdfast lease ls --json | jq '.[].name'"
)
@store_options
def ls(store: str, namespace: str, as_json: bool) -> None:
    """List the leases that somebody holds, or has pinned.

    LEFT is in seconds, until others may remove the record; below zero it may be removed, and is
    held until somebody does. OWNER is the process that claimed the lease: user, host, pid, command
    line, and "ended" if it certainly does not run any more.
    """
    with opened(store, namespace) as leases:
        held = leases.records()
        pinned = _vacant_pins(leases, held)
    if as_json:
        entries = [told(record, _left(record)) for record in held]
        print_json(entries + [_vacant(name, pins) for name, pins in pinned.items()])
    else:
        print_table(HEADS, _rows(held, pinned))


@click.command(epilog="\b\nExample:\n  holdfast lease show nightly\n  holdfast lease show x --json")
@lease_argument
@store_options
def show(name: str, store: str, namespace: str, as_json: bool) -> None:
    """Print all that is known of the lease NAME, the store and its clock.

    STATE is "vacant" where nobody holds it, "overdue" where its end has passed and nobody has
    removed it yet. owner_alive says whether the process that claimed it runs: "unknown" where that
    cannot be seen from here, as on another machine.
    """
    with opened(store, namespace) as leases:
        record = leases.store.look(name)
        reading = leases.store.clock()
        if record is None:
            pins = leases.store.pins().get(name, frozenset())
            facts = _vacant(name, pins)
        else:
            pins = record.pins
            facts = told(record, left_s(leases, record)) | {
                "start_ns": record.start_ns,
                "duration_ns": record.duration_ns,
                "writer": record.writer,
                "era": record.era,
            }
    place = {
        "store": masked(store),
        "namespace": namespace,
        "clock_ns": reading.now_ns,
        "clock_era": reading.era,
        "clock_step_ns": reading.step_ns,
    }
    if as_json:
        print_json(facts | place)
        return
    if record is not None:
        owner = owner_of(record)
        if owner is not None:
            facts["owner"] = owner.describe(now_ns=SystemClock().realtime_ns())
            facts["since"] = _instant(owner.since_ns)
    print_facts(facts | {"pins": ", ".join(sorted(pins)) or None} | place)


@click.command(
    epilog="\b\nExample:\n"
    "  holdfast lease watch\n"
    "  holdfast lease watch nightly --json | jq -r '.what'"
)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_names)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N lines.")
@click.option("--timeout", type=seconds, metavar="SECONDS", help="End after so many seconds.")
@click.option("--renewals", is_flag=True, help="Tell of renewals too.")
@store_options
def watch(
    names: tuple[str, ...],
    count: int | None,
    timeout: float | None,
    renewals: bool,
    store: str,
    namespace: str,
    as_json: bool,
) -> ExitCode:
    """Show the leases as they change, all or those named, until Ctrl-C.

    On a terminal it is a table that keeps itself up to date. In a pipe, or with --json or --count,
    it is one line for each lease that is held, and one for each change: time (UTC), name, what,
    holder, epoch. What is "held" at the beginning, later "claimed", "vacant", "pinned", "unpinned",
    and with --renewals "renewed".

    The exit code is 75 if --timeout passes before --count lines were printed.
    """
    end = None if timeout is None else time.monotonic() + timeout
    with opened(store, namespace) as leases:
        if sys.stdout.isatty() and not as_json and count is None:
            _live(leases, names, end)
            return ExitCode.OK
        printed = 0
        for change, what in _changes(leases, end):
            if (names and change.name not in names) or (what == "renewed" and not renewals):
                continue
            _print_change(leases, change, what, as_json=as_json)
            printed += 1
            if printed == count:
                return ExitCode.OK
    return ExitCode.OK if count is None else ExitCode.BUSY


# -- one picture ----------------------------------------------------------------------------------


def _left(record: Listed) -> float:
    return (record.expires_ns - SystemClock().boottime_ns()) / NS_PER_S


def _vacant_pins(leases: Leases, held: tuple[Listed, ...]) -> dict[str, frozenset[str]]:
    taken = {record.name for record in held}
    return {name: pins for name, pins in leases.store.pins().items() if name not in taken}


def _vacant(name: str, pins: frozenset[str]) -> dict[str, object]:
    return {"name": name, "state": "vacant", "holder": None, "epoch": None, "pins": sorted(pins)}


def _rows(held: tuple[Listed, ...], pinned: dict[str, frozenset[str]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for record in held:
        owner = owner_of(record)
        who = None if owner is None else owner.describe().partition(", why: ")[0]
        if aliveness(record) == "no":
            who = f"{who} ended"
        rows.append(
            (
                record.name,
                record.holder,
                record.epoch,
                f"{_left(record):.1f}",
                who,
                None if owner is None else owner.why,
                ", ".join(sorted(record.pins)) or None,
            )
        )
    for name, pins in pinned.items():
        rows.append((name, None, None, None, None, None, ", ".join(sorted(pins))))
    return rows


# -- many pictures --------------------------------------------------------------------------------


def _changes(leases: Leases, end: float | None) -> Iterator[tuple[Change, str]]:
    """All that is held, and then what becomes of it; and what that is."""
    from holdfast.lease import Change
    from holdfast.lease.scripts import expire_overdue

    seen: dict[str, Record] = {}
    first = True
    while True:
        leases.driver.run(expire_overdue())  # on local: nobody does it but who looks
        now = dict(leases.store.refresh())
        for name in sorted(seen.keys() | now.keys()):
            if seen.get(name) != now.get(name):
                change = Change(name, seen.get(name), now.get(name))
                yield change, "held" if first else _what(change)
        seen, first = now, False
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            return
        leases.store.wait_changed(1.0 if left is None else min(1.0, left))


def _what(change: Change) -> str:
    before, after = change.before, change.after
    if after is None:
        return "vacant"
    if before is None or before.epoch != after.epoch:
        return "claimed"
    if before.pins != after.pins:
        return "pinned" if after.pins - before.pins else "unpinned"
    return "renewed"


def _print_change(leases: Leases, change: Change, what: str, *, as_json: bool) -> None:
    record = change.after or change.before
    assert record is not None
    at = SystemClock().realtime_ns()
    if as_json:
        after = None if change.after is None else told(change.after, left_s(leases, change.after))
        print_json({"time_ns": at, "name": change.name, "what": what, "lease": after})
    else:
        columns = (_instant(at), change.name, what, record.holder, record.epoch)
        print("\t".join(as_text(column) for column in columns), flush=True)


def _live(leases: Leases, names: tuple[str, ...], end: float | None) -> None:
    # Only here, because it takes as long to import as everything else together.
    from rich.live import Live

    with Live(_table(leases, names), auto_refresh=False) as live:
        while end is None or time.monotonic() < end:
            left = 1.0 if end is None else max(0.0, min(1.0, end - time.monotonic()))
            leases.store.wait_changed(left)
            live.update(_table(leases, names), refresh=True)


def _table(leases: Leases, names: tuple[str, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in HEADS:
        table.add_column(head, overflow="fold")
    held = leases.records()
    for row in _rows(held, _vacant_pins(leases, held)):
        if not names or row[0] in names:
            table.add_row(*(Text(as_text(cell)) for cell in row))
    return table


def _instant(realtime_ns: int) -> str:
    past, ns = divmod(realtime_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(past, UTC):%Y-%m-%dT%H:%M:%S}.{ns // 1_000_000:03}Z"
