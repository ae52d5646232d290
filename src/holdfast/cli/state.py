"""``holdfast state VERB``: shared states from the command line.

A state that ``set`` creates is retained: it stays until ``rm`` or a reboot. One that ``watch``
creates evaporates with its last subscriber, as states of programs do.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.nouns import Verbs
from holdfast.cli.output import as_text, json_option, print_facts, print_json, print_table
from holdfast.cli.report import report
from holdfast.clock import NS_PER_S, SystemClock
from holdfast.errors import Conflict, HoldfastError, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from holdfast.state import Entry, Namespace, Snapshot, State, Transaction

__all__ = ["state"]


@click.group(cls=Verbs)
def state() -> None:
    """Shared states: a name and up to one page of bytes, in shared memory.

    Any number of processes may read and write a state; reading takes no lock. States live in the
    directory given with --dir, else in HOLDFAST_STATE_DIR, else in this user's own directory on
    /dev/shm.
    """


def _complete_names(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    try:
        with _namespace(context.params.get("directory")) as namespace:
            names = sorted(namespace.names())
    except HoldfastError:
        return []  # whoever presses Tab wants words or nothing
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _namespace(directory: str | None, *, retain: bool = False) -> Namespace:
    from holdfast.state import Namespace

    return Namespace(directory, retain=retain)


directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False),
    metavar="PATH",
    help="The directory that holds the states.",
)


def name_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument NAME, completed from what exists."""
    return click.argument("name", shell_complete=_complete_names)(command)


@state.command(
    epilog="\b\nExample:\n  holdfast state get greeting\n  holdfast state get imu --raw | xxd"
)
@name_argument
@directory_option
@click.option("--raw", is_flag=True, help="Exactly the bytes, trailing zero bytes included.")
@json_option
def get(name: str, directory: str | None, raw: bool, as_json: bool) -> None:
    """Print the contents of the state NAME.

    Trailing zero bytes are left out, unless --raw is given: a state has a fixed size, and what was
    never written in it is zero. On a terminal, what is no text is escaped.
    """
    with (
        _namespace(directory) as namespace,
        namespace.subscribe(name, "r", create=False) as handle,
    ):
        snapshot = handle.snapshot()
    if as_json:
        print_json(_told(name, snapshot, raw=raw))
    elif raw or not sys.stdout.isatty():
        sys.stdout.buffer.write(_contents(snapshot, raw=raw))
    else:
        for line in _contents(snapshot, raw=False).removesuffix(b"\n").split(b"\n"):
            print(as_text(line))


@state.command(
    epilog="\b\nExample:\n"
    "  holdfast state set greeting hello\n"
    "  date | holdfast state set clock - --size 64\n"
    "  holdfast state set offset -- -5"
)
@name_argument
@click.argument("value")
@directory_option
@click.option("--size", type=int, metavar="BYTES", help="The size, if it is created: 1 to a page.")
@click.option("--if-version", type=int, metavar="N", help="Only if the version is still N.")
@json_option
def set(  # noqa: A001 - the verb's name
    name: str,
    value: str,
    directory: str | None,
    size: int | None,
    if_version: int | None,
    as_json: bool,
) -> None:
    """Replace the contents of the state NAME by VALUE, or by standard input where VALUE is "-".

    If nobody has created the state, it is created, of one page unless --size says otherwise, and
    retained: it outlives this command, until `holdfast state rm` or a reboot. What VALUE leaves of
    the size is filled with zero bytes.

    With --if-version the command fails with exit code 75 if somebody else committed since
    version N; 0 means that nobody has written yet.
    """
    data = sys.stdin.buffer.read() if value == "-" else value.encode("utf-8", "surrogateescape")
    _check_length(data, size, name)
    with (
        _namespace(directory, retain=True) as namespace,
        namespace.subscribe(name, "rw", size=size) as handle,
    ):
        _check_length(data, handle.size, name)

        def fill(transaction: Transaction) -> None:
            transaction.data[:] = data.ljust(len(transaction.data), b"\0")

        if if_version is None:
            handle.transact(fill)
        else:
            with handle.transaction() as transaction:
                if transaction.version != if_version:
                    raise Conflict(
                        f"the version is {transaction.version}, not {if_version}",
                        on=name,
                        started=if_version,
                        current=transaction.version,
                        hint=f"look again: holdfast state get {name} --json",
                    )
                fill(transaction)
        if as_json:
            print_json({"name": name, "version": handle.version, "size": handle.size})


@state.command(
    epilog="\b\nExample:\n"
    "  holdfast state watch greeting\n"
    "  holdfast state watch imu --every 0.5 --json | jq .version"
)
@name_argument
@directory_option
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N lines.")
@click.option(
    "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="End after so many seconds."
)
@click.option(
    "--every",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="At most one line in so many seconds, always the newest.",
)
@json_option
def watch(
    name: str,
    directory: str | None,
    count: int | None,
    timeout: float | None,
    every: float | None,
    as_json: bool,
) -> ExitCode:
    """Print the state NAME now, if it was written, and again at each change, until Ctrl-C.

    One line each: time (UTC), version, contents; with --json one object a line. Of several changes
    in quick succession only the newest is printed; with --every two lines are never closer than
    that, and the last of a burst is printed when its time has come. A state that nobody has created
    yet is created, and evaporates with its last subscriber.

    The exit code is 75 if --timeout passes before a line was printed, or before --count lines.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    printed = 0
    with _namespace(directory) as namespace, namespace.subscribe(name, "r") as handle:
        if every is not None:
            handle.throttle(every)
        if not handle.written:
            print(f"waiting for the first commit to {name}", file=sys.stderr)
        while count is None or printed < count:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not handle.wait(left):
                return ExitCode.OK if printed and count is None else ExitCode.BUSY
            snapshot = handle.snapshot()
            if not snapshot.version:
                continue  # a notice without a commit: the state was made, or resized
            _print_change(name, snapshot, as_json=as_json)
            printed += 1
    return ExitCode.OK


@state.command(epilog="\b\nExample:\n  holdfast state ls --json")
@directory_option
@json_option
def ls(directory: str | None, as_json: bool) -> ExitCode:
    """List the states, one to a line: name, size, version, last commit, and for whom it is there.

    FOR says "subscribed" where a process has the state now, "retained" where nobody has and it
    stays, "left over" where its last subscriber was killed: it goes when somebody subscribes, or
    with `holdfast state rm`. "damaged" is what has the name of a state and is none; then the exit
    code is 1, and standard error says why. Looking disturbs nobody.
    """
    with _namespace(directory) as namespace:
        found = namespace.survey()
    if as_json:
        print_json([dataclasses.asdict(entry) for entry in found])
    else:
        print_table(
            ("NAME", "SIZE", "VERSION", "WRITTEN", "FOR"),
            [
                (
                    entry.name,
                    entry.size,
                    entry.version,
                    _instant(entry.time_ns) if entry.version else None,
                    entry.condition,
                )
                for entry in found
            ],
        )
    return _tell_damaged(found, directory, as_json=as_json)


def _tell_damaged(found: list[Entry], directory: str | None, *, as_json: bool) -> ExitCode:
    code = ExitCode.OK
    with _namespace(directory) as namespace:
        for entry in found:
            if entry.condition == "damaged":
                try:
                    namespace.subscribe(entry.name, create=False).close()
                except HoldfastError as error:
                    code = report(error, as_json=as_json)
    return code


@state.command(epilog="\b\nExample:\n  holdfast state stat greeting")
@name_argument
@directory_option
@json_option
def stat(name: str, directory: str | None, as_json: bool) -> None:
    """Print what is known about the state NAME besides its contents."""
    with (
        _namespace(directory) as namespace,
        namespace.subscribe(name, "r", create=False) as handle,
    ):
        facts = dataclasses.asdict(handle.info())
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


@state.command(epilog="\b\nExample:\n  holdfast state rm greeting")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete_names)
@directory_option
@json_option
def rm(names: tuple[str, ...], directory: str | None, as_json: bool) -> None:
    """Delete each state NAME, unless another process is subscribed to it (exit code 75).

    What killed processes have left over goes as well. The first that cannot be deleted ends the
    command.
    """
    with _namespace(directory) as namespace:
        left_over = namespace.sweep()
        for name in names:
            if name in left_over:
                continue
            handle: State = namespace.subscribe(name, "rw", create=False)
            with handle:
                handle.delete()
    if as_json:
        print_json({"deleted": names})


def _check_length(data: bytes, size: int | None, name: str) -> None:
    from holdfast.state import PAGE_SIZE

    if len(data) > (size or PAGE_SIZE):
        raise InvalidArgument(
            f"the value has {len(data)} bytes, the state {size or PAGE_SIZE}",
            on=name,
            hint=f"shorten it, or `holdfast state rm {name}` and set it again with --size",
        )


def _contents(snapshot: Snapshot, *, raw: bool) -> bytes:
    return bytes(snapshot.data) if raw else bytes(snapshot.data).rstrip(b"\0")


def _told(name: str, snapshot: Snapshot, *, raw: bool) -> dict[str, object]:
    return {
        "name": name,
        "version": snapshot.version,
        "incarnation": snapshot.incarnation,
        "time_ns": snapshot.time_ns,
        "pid": snapshot.pid,
        "size": len(snapshot.data),
        "value": _contents(snapshot, raw=raw),
    }


def _instant(boottime_ns: int) -> str:
    # Commits are dated in CLOCK_BOOTTIME, which people do not read.
    clock = SystemClock()
    past_ns = clock.realtime_ns() - (clock.boottime_ns() - boottime_ns)
    seconds, ns = divmod(past_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns // 1_000_000:03}Z"


def _print_change(name: str, snapshot: Snapshot, *, as_json: bool) -> None:
    if as_json:
        print_json(_told(name, snapshot, raw=False))
        return
    columns = (_instant(snapshot.time_ns), snapshot.version, _contents(snapshot, raw=False))
    print("\t".join(as_text(column) for column in columns), flush=True)
