"""``holdfast lease run``: a command under a lease, from the wait for it to its release."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.lease_terms import (
    Interrupted,
    Waiting,
    lease_argument,
    opened,
    patiently,
    seconds,
    store_options,
    tell,
)
from holdfast.cli.output import to_json
from holdfast.cli.report import report
from holdfast.errors import ClaimDenied, HoldfastError, NotFound, NotPermitted, OutcomeUnknown
from holdfast.supervise import Ending, Outcome, Signals, find_command, supervise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.lease import Held, Leases

__all__ = ["run"]


class RunCommand(click.Command):
    """Takes options after NAME too, if a "--" says where COMMAND begins."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a "--", everything after NAME is COMMAND and its arguments."""
        ctx.allow_interspersed_args = "--" in args
        return super().parse_args(ctx, args)


@dataclass
class Account:
    """What ``--result`` tells: programs cannot know from an exit code whose it is.

    Attributes:
        outcome: exited, signaled, lost, timeout, busy, interrupted (before COMMAND was started)
            or error.
        exit_code: Our own.
        code: COMMAND's exit code, if it had one.
        signal: The signal that ended COMMAND, or the wait for the lease.
    """

    name: str
    namespace: str
    holder: str | None = None
    fencing_token: int | None = None
    outcome: str = "error"
    exit_code: int = ExitCode.WRAPPER_BROKE
    code: int | None = None
    signal: int | None = None
    lost: bool = False
    why: str = ""
    waited_s: float = 0.0
    ran_s: float = 0.0
    survivors: tuple[int, ...] = ()

    def take(self, outcome: Outcome, why_lost: str) -> None:
        """What became of COMMAND."""
        self.exit_code = outcome.exit_code
        self.code, self.signal = outcome.code, outcome.signal
        self.lost, self.survivors = outcome.lost, outcome.survivors
        self.ran_s = round(outcome.ran_s, 3)
        match outcome.ending:
            case Ending.LOST:
                self.outcome, self.why = "lost", why_lost
            case Ending.LIMIT:
                self.outcome, self.why = "timeout", "the time limit was reached"
            case Ending.SIGNAL:
                self.outcome = "interrupted"
                self.why = f"signal {outcome.signal} came before the command was started"
            case Ending.BROKEN:
                error = outcome.error_number
                text = "the launcher failed" if error is None else os.strerror(error)
                self.outcome, self.why = "error", f"the command could not be executed: {text}"
            case Ending.EXITED if outcome.signal is not None:
                self.outcome = "signaled"
                self.why = f"the command was ended by signal {outcome.signal}"
            case Ending.EXITED:
                self.outcome = "exited"
                self.why = f"the command ended with exit code {outcome.code}"

    def fail(self, error: Exception, code: int) -> None:
        """What kept COMMAND from being started."""
        self.outcome = "busy" if isinstance(error, ClaimDenied) else "error"
        self.why, self.exit_code = str(error), code

    def write(self, path: str) -> None:
        """Write it to the file, all or nothing."""
        directory = os.path.dirname(os.path.abspath(path))
        with tempfile.NamedTemporaryFile(
            "w", dir=directory, prefix=".holdfast-", delete=False, encoding="utf-8"
        ) as file:
            try:
                json.dump(to_json(self), file, ensure_ascii=False)
                file.write("\n")
                file.close()
                os.chmod(file.name, 0o666 & ~_umask())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise


@dataclass(frozen=True)
class Order:
    """What was ordered: the options of ``run``."""

    name: str
    command: tuple[str, ...]
    store: str
    namespace: str
    as_json: bool
    duration: float
    wait: float | None
    conflict_code: int
    why: str | None
    holder: str | None
    grace: float
    limit: float | None


@click.command(
    cls=RunCommand,
    epilog="\b\nExample:\n"
    "  holdfast lease run nightly -- ./export.sh --all\n"
    "  holdfast lease run db/migrate -w 30 --why 'schema 42' -- ./migrate.sh\n"
    "  holdfast lease run -n -E 0 cron -- ./once.sh          instead of flock -n -E 0 FILE",
)
@lease_argument
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--duration",
    type=seconds,
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="What each renewal promises; others wait as long if this machine dies.",
)
@click.option("-n", "--nonblock", is_flag=True, help="Do not wait for the lease.")
@click.option("-w", "--wait", type=seconds, metavar="SECONDS", help="Wait so long at most.")
@click.option(
    "-E",
    "--conflict-exit-code",
    "conflict_code",
    type=click.IntRange(0, 255),
    default=int(ExitCode.BUSY),
    show_default=True,
    metavar="N",
    help="The exit code if the lease was not to be had.",
)
@click.option("--why", metavar="TEXT", help="What for, for those who wait.")
@click.option(
    "--holder",
    metavar="NAME",
    help="As whom; who uses the same shares the lease. By default, as nobody else.",
)
@click.option(
    "--grace",
    type=seconds,
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="From SIGTERM to SIGKILL, when COMMAND is stopped.",
)
@click.option(
    "--max-time", "limit", type=seconds, metavar="SECONDS", help="Stop COMMAND after so long."
)
@click.option(
    "--result",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write there, as JSON, what became of it.",
)
@store_options
def run(result: str | None, nonblock: bool, wait: float | None, **options: Any) -> int:
    """Run COMMAND as long as we hold the lease NAME, and no longer.

    Waits for the lease, for ever unless -n or -w say otherwise, and tells whom it waits for.
    COMMAND finds HOLDFAST_LEASE (the name), HOLDFAST_LEASE_HOLDER, HOLDFAST_FENCING_TOKEN,
    HOLDFAST_LEASE_DEADLINE_NS (the first deadline, CLOCK_BOOTTIME), HOLDFAST_STORE and
    HOLDFAST_NAMESPACE in its environment. The lease is renewed as long as COMMAND runs, and then
    given back.

    If it is lost, COMMAND's whole process group gets SIGTERM, after --grace SIGKILL, and the exit
    code is 90. Signals are passed on to COMMAND; a signal that comes before COMMAND was started
    ends the wait, and nothing is started. COMMAND's own exit code passes through.

    What COMMAND leaves running in its process group is stopped before the lease is given back.
    Without the "--" before COMMAND, options stand before NAME, as flock(1) has it.
    """
    if nonblock and wait is not None:
        raise click.UsageError("-n is to wait not at all, and -w is to wait: give one of them")
    _check_place(result)
    order = Order(wait=0.0 if nonblock else wait, **options)
    account = Account(order.name, order.namespace)
    try:
        with _hearing_the_library(), Signals() as signals:
            _run(order, account, signals)
    except Interrupted as end:
        account.outcome, account.signal, account.why = "interrupted", end.number, str(end)
        account.exit_code = 128 + end.number
    except Exception as error:  # whatever it is: the exit code says that it is ours
        account.fail(error, _code_of(error, order))
        if os.environ.get("HOLDFAST_TRACEBACK"):
            raise
        report(error, as_json=order.as_json)
    finally:
        if result is not None:
            try:
                account.write(result)
            except OSError as error:
                tell(f"the result could not be written to {result}: {error.strerror}")
    return account.exit_code


def _run(order: Order, account: Account, signals: Signals) -> None:
    path = _found(order, account)
    if path is None:
        return
    with opened(order.store, order.namespace) as leases:
        held = _held(order, account, signals, leases)
        try:
            outcome = supervise(
                path,
                order.command,
                signals=signals,
                watched=held,
                environment=os.environ | _exports(order, held),
                grace=order.grace,
                limit=order.limit,
                tell=tell,
            )
            account.take(outcome, held.keeper.ending)
            _say_how(outcome, order, account)
        finally:
            _give_back(held)


def _found(order: Order, account: Account) -> str | None:
    try:
        return find_command(order.command[0])
    except (NotFound, NotPermitted) as error:
        missing = isinstance(error, NotFound)
        account.fail(error, ExitCode.NOT_FOUND if missing else ExitCode.NOT_EXECUTABLE)
        report(error, as_json=order.as_json)
        return None


def _held(order: Order, account: Account, signals: Signals, leases: Leases) -> Held:
    # One holder for all attempts: what the store has not answered is found by the next.
    account.holder = holder = order.holder or leases.new_holder()
    waiting = Waiting(leases, as_json=order.as_json)

    def attempt(wait: float) -> Held:
        return leases.hold(
            order.name,
            holder=holder,
            duration=order.duration,
            wait=wait,
            why=order.why,
            on_wait=waiting.on,
        ).__enter__()

    began = time.monotonic()
    try:
        held = patiently(attempt, order.wait, signals, waiting)
    except (Interrupted, OutcomeUnknown):
        if order.holder is None:  # an attempt whose answer was lost may have claimed it
            leases.disown(order.name, holder)
        raise
    finally:
        account.waited_s = round(time.monotonic() - began, 3)
    account.fencing_token = held.fencing_token
    if waiting.spoken and not order.as_json:
        tell(f"{order.name} is ours after {account.waited_s:.1f} s, token {held.fencing_token}")
    return held


def _exports(order: Order, held: Held) -> dict[str, str]:
    return {
        "HOLDFAST_LEASE": held.name,
        "HOLDFAST_LEASE_HOLDER": held.holder,
        "HOLDFAST_FENCING_TOKEN": str(held.fencing_token),
        "HOLDFAST_LEASE_DEADLINE_NS": str(held.deadline_ns),
        "HOLDFAST_STORE": order.store,
        "HOLDFAST_NAMESPACE": order.namespace,
    }


def _say_how(outcome: Outcome, order: Order, account: Account) -> None:
    if outcome.survivors:
        tell(f"could not be killed: pid {', '.join(map(str, outcome.survivors))}")
    if outcome.ending is Ending.LOST:
        state = "was stopped" if outcome.started else "was not started"
        tell(f"{order.name} is lost, and the command {state}: {account.why}")
    elif outcome.ending in {Ending.LIMIT, Ending.BROKEN}:
        tell(f"{order.command[0]}: {account.why}")


def _give_back(held: Held) -> None:
    if held.lost:
        return  # it may be somebody else's; and the store may be the reason
    try:
        held.release()
    except HoldfastError as error:
        tell(f"{held.name} was not given back, and runs out by itself: {error}")


def _code_of(error: Exception, order: Order) -> int:
    from holdfast.cli.exit_codes import exit_code_of

    if isinstance(error, ClaimDenied):
        return order.conflict_code
    code = exit_code_of(error)
    return ExitCode.WRAPPER_BROKE if code == ExitCode.FAILURE else code


def _check_place(result: str | None) -> None:
    """Find out before COMMAND has run, and not after."""
    if result is not None:
        directory = os.path.dirname(os.path.abspath(result))
        if not os.access(directory, os.W_OK | os.X_OK):
            raise click.UsageError(f"--result: nothing can be written in {directory}")


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


class _Talk(logging.Handler):
    """Tells people what the library logs: that the store is away, that the lease is lost."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text != self._last:
            self._last = text
            tell(text)


@contextmanager
def _hearing_the_library() -> Iterator[None]:
    talk, log = _Talk(), logging.getLogger("holdfast")
    log.addHandler(talk)
    try:
        yield
    finally:
        log.removeHandler(talk)
