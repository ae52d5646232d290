"""``holdfast wake VERB``: wake leases from the command line.

``serve`` is in ``wake_serve.py``, ``run`` in ``wake_run.py`` and ``wake_delay.py``, ``attach`` in
``wake_hold.py``; what only looks is in ``wake_look.py``; what all share is in ``wake_terms.py``.
"""

from __future__ import annotations

import click

from holdfast.cli.lease_terms import seconds, tell
from holdfast.cli.nouns import Verbs
from holdfast.cli.output import print_facts, print_json
from holdfast.cli.wake_hold import attach
from holdfast.cli.wake_look import ls, watch, why
from holdfast.cli.wake_run import run
from holdfast.cli.wake_serve import serve
from holdfast.cli.wake_terms import connected, governor_options

__all__ = ["wake"]


@click.group(cls=Verbs)
def wake() -> None:
    """Wake leases: what keeps the machine up before the work in flight is done.

    A governor (`holdfast wake serve`) decides when the machine may go down. A wake lease is a
    descriptor that forbids it, while any process has a copy. All verbs but `serve` talk to the
    governor at --socket, else HOLDFAST_WAKE_SOCKET, else the usual place.
    """


@click.command(epilog="\b\nExample:\n  holdfast wake suspend --timeout 1m || holdfast wake why")
@click.option(
    "--timeout", type=seconds, metavar="SECONDS", help="Give up after so long; 0: now or never."
)
@governor_options
def suspend(timeout: float | None, path: str | None, as_json: bool) -> None:
    """Let the machine go down as soon as nothing forbids it, and return after the resume.

    It says first for whom it waits. The exit code is 75 if --timeout passes before; the request is
    withdrawn then, and by Ctrl-C as well.
    """
    with connected(path) as governor:
        before = governor.status()
        if before.wake_leases and timeout != 0:
            names = ", ".join(repr(name) for name in before.wake_leases[:5])
            more = before.wake_lease_count - min(5, len(before.wake_leases))
            tell(f"waiting for {names}" + (f" and {more} more" if more else ""))
        slept = governor.suspend(timeout)
    if as_json:
        print_json({"slept_s": round(slept, 6)})
    else:
        print_facts({"slept_s": f"{slept:.3f}"})


for verb in (serve, run, ls, why, watch, suspend, attach):
    wake.add_command(verb)
