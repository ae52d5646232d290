"""``holdfast lease VERB``: leases from the command line.

``run`` is in ``lease_run.py``; what only looks is in ``lease_look.py``; what all of them share is
in ``lease_terms.py``.
"""

from __future__ import annotations

import time

import click

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.lease_look import ls, show, watch
from holdfast.cli.lease_run import run
from holdfast.cli.lease_terms import (
    Interrupted,
    Waiting,
    lease_argument,
    left_s,
    opened,
    patiently,
    seconds,
    store_options,
    told,
)
from holdfast.cli.nouns import Verbs
from holdfast.cli.output import print_facts, print_json
from holdfast.errors import NotFound, StaleRecord
from holdfast.supervise import Signals

__all__ = ["lease"]

LOOK_AGAIN_S = 1.0


@click.group(cls=Verbs)
def lease() -> None:
    """Leases: who may act, in a way that survives crash, partition and sleep.

    A lease is a name that one holder has at a time, for a duration that he renews. Each holding has
    an epoch, greater than that of every earlier one: the fencing token. Leases live in the store
    given with --store, else in HOLDFAST_STORE, else in this host's shared memory (local:).
    """


@click.command(
    epilog="\b\nExample:\n"
    "  holdfast lease claim deploy --holder alice --duration 10m --why 'release 7'"
)
@lease_argument
@click.option("--holder", required=True, metavar="NAME", help="For whom.")
@click.option("--duration", type=seconds, required=True, metavar="SECONDS", help="For how long.")
@click.option("-n", "--nonblock", is_flag=True, help="Do not wait for it; the default.")
@click.option("-w", "--wait", type=seconds, metavar="SECONDS", help="Wait so long at most.")
@click.option("--why", metavar="TEXT", help="What for, for those who wait.")
@store_options
def claim(
    name: str,
    holder: str,
    duration: float,
    nonblock: bool,
    wait: float | None,
    why: str | None,
    store: str,
    namespace: str,
    as_json: bool,
) -> int:
    """Claim the lease NAME, or extend it if HOLDER has it already, and print its record.

    Nobody renews it afterwards: it runs out after the duration, unless HOLDER claims it again or
    releases it. The exit code is 75 if somebody else has it.
    """
    if nonblock and wait is not None:
        raise click.UsageError("-n is to wait not at all, and -w is to wait: give one of them")
    with Signals() as signals, opened(store, namespace) as leases:
        waiting = Waiting(leases, as_json=as_json)
        try:
            record = patiently(
                lambda left: leases.claim(
                    name,
                    holder,
                    duration,
                    wait=left,
                    why=why,
                    on_wait=waiting.on if wait else None,
                ),
                wait or 0.0,
                signals,
                waiting,
            )
        except Interrupted as end:
            return 128 + end.number
        facts = told(record, left_s(leases, record))
    if as_json:
        print_json(facts)
    else:
        print_facts({key: facts[key] for key in ("name", "holder", "epoch", "duration_s")})
    return ExitCode.OK


@click.command(
    epilog="\b\nExample:\n"
    "  holdfast lease release deploy --holder alice\n"
    "  holdfast lease release deploy --force              whoever has it"
)
@lease_argument
@click.option("--holder", metavar="NAME", help="Only if it is that holder's.")
@click.option("--epoch", type=click.IntRange(1), metavar="N", help="Only that holding.")
@click.option("--force", is_flag=True, help="Whoever has it: its holder loses it.")
@store_options
def release(
    name: str,
    holder: str | None,
    epoch: int | None,
    force: bool,
    store: str,
    namespace: str,
    as_json: bool,
) -> None:
    """Give the lease NAME back before its end, in the name of its holder.

    Whose it is must be said: by --holder, by --epoch, or by --force. If it is somebody else's,
    nothing is done, and the exit code is 75; if it is nobody's, 1. Who holds it with
    `holdfast lease run` notices at the next renewal, and stops.
    """
    if holder is None and epoch is None and not force:
        raise click.UsageError("say whose lease it is: --holder, --epoch, or --force for anybody's")
    with opened(store, namespace) as leases:
        record = leases.store.look(name)
        if record is None:
            raise NotFound("nobody holds the lease", on=name, hint="it ran out, or was given back")
        wrong_holder = holder is not None and record.holder != holder
        wrong_epoch = epoch is not None and record.epoch != epoch
        if wrong_holder or wrong_epoch or not leases.store.release(record):
            raise StaleRecord(
                f"the lease is {record.holder!r}'s, epoch {record.epoch}; nothing was done",
                on=name,
                hint=f"look again: holdfast lease show {name}",
            )
        facts = told(record, left_s(leases, record))
    if as_json:
        print_json({"released": facts})


@click.command(epilog="\b\nExample:\n  holdfast lease wait nightly --timeout 5m && ./after.sh")
@lease_argument
@click.option("--timeout", type=seconds, metavar="SECONDS", help="End after so many seconds.")
@store_options
def wait(name: str, timeout: float | None, store: str, namespace: str, as_json: bool) -> ExitCode:
    """Wait until nobody holds the lease NAME, and tell whom it waits for.

    It is no reservation: somebody may have claimed it since. The exit code is 75 if --timeout
    passes first.
    """
    end = None if timeout is None else time.monotonic() + timeout
    with opened(store, namespace) as leases:
        waiting = Waiting(leases, as_json=as_json)
        while True:
            left = LOOK_AGAIN_S if end is None else min(LOOK_AGAIN_S, end - time.monotonic())
            if leases.wait_until_expired(name, 0):
                break
            record = leases.store.records().get(name)
            if record is not None:
                waiting.on(record)
            if leases.wait_until_expired(name, max(0.0, left)):
                break
            if end is not None and time.monotonic() >= end:
                return ExitCode.BUSY
    if as_json:
        print_json({"name": name, "state": "vacant"})
    return ExitCode.OK


@click.command(epilog="\b\nExample:\n  holdfast lease pin sampler --by 'maintenance of web2'")
@lease_argument
@click.option("--by", required=True, metavar="WHO", help="In whose name.")
@store_options
def pin(name: str, by: str, store: str, namespace: str, as_json: bool) -> None:
    """Keep the lease NAME from expiring until WHO unpins it; also one that nobody holds.

    Its holder keeps it though it does not renew it, and can still give it back.
    """
    with opened(store, namespace) as leases:
        leases.pin(name, by)
    if as_json:
        print_json({"name": name, "pinned_by": by})


@click.command(epilog="\b\nExample:\n  holdfast lease unpin sampler --by 'maintenance of web2'")
@lease_argument
@click.option("--by", required=True, metavar="WHO", help="In whose name.")
@store_options
def unpin(name: str, by: str, store: str, namespace: str, as_json: bool) -> None:
    """Take back what WHO has pinned. It is no error if there was nothing to take back."""
    with opened(store, namespace) as leases:
        leases.unpin(name, by)
    if as_json:
        print_json({"name": name, "unpinned_by": by})


for verb in (run, claim, release, ls, show, wait, watch, pin, unpin):
    lease.add_command(verb)
