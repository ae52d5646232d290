"""What the verbs of ``holdfast lease`` share: where leases are, durations, and waiting."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import click

from holdfast.cli.output import as_text, json_option, to_json
from holdfast.clock import NS_PER_S, SystemClock
from holdfast.errors import ClaimDenied, HoldfastError, InvalidArgument, OutcomeUnknown, Unavailable
from holdfast.process import Liveness, Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from holdfast.lease import Leases, Record
    from holdfast.supervise import Signals

__all__ = [
    "Interrupted",
    "Waiting",
    "aliveness",
    "complete_names",
    "lease_argument",
    "left_s",
    "masked",
    "opened",
    "owner_of",
    "patiently",
    "seconds",
    "store_options",
    "tell",
    "tell_json",
    "told",
]

UNITS_S = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SLICE_S = 0.25  # how long a signal may wait for the wait to end

T = TypeVar("T")


def seconds(value: str | float) -> float:
    """Seconds, or a number with its unit: ``30``, ``0.5``, ``500ms``, ``30s``, ``5m``, ``2h``.

    Raises:
        BadParameter: It is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d|)", str(value))
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration: use seconds, or 500ms, 30s, 5m, 2h")
    return float(match[1]) * UNITS_S[match[2]]


def complete_names(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of leases that somebody holds, for whoever presses Tab."""
    from click.shell_completion import CompletionItem

    try:
        store, namespace = context.params.get("store"), context.params.get("namespace")
        with opened(store or "local:", namespace or "default") as leases:
            names = [record.name for record in leases.records()]
    except HoldfastError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def lease_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument NAME, completed from what is held."""
    return click.argument("name", shell_complete=complete_names)(command)


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where the leases are, and ``--json``."""
    store = click.option(
        "--store",
        metavar="URL",
        default="local:",
        envvar="HOLDFAST_STORE",
        show_envvar=True,
        show_default=True,
        is_eager=True,  # before the names are completed from it
        help="local:, local:?dir=PATH, sqlite:///PATH, or postgresql+psycopg://...",
    )
    namespace = click.option(
        "--namespace",
        metavar="NAME",
        default="default",
        envvar="HOLDFAST_NAMESPACE",
        show_envvar=True,
        show_default=True,
        is_eager=True,
        help="Whose leases; the same name elsewhere is another lease.",
    )
    return store(namespace(json_option(command)))


def opened(store: str, namespace: str) -> Leases:
    """The leases of that place."""
    from holdfast import lease

    return lease.open(store, namespace=namespace)


def masked(url: str) -> str:
    """The URL of a store without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def tell(text: str) -> None:
    """Say something to people. That nobody can hear it is no reason to stop what is under way."""
    _say(as_text(text))


def tell_json(value: object) -> None:
    """The same for programs: one object on a line of its own."""
    _say(json.dumps(to_json(value), ensure_ascii=False))


def _say(line: str) -> None:
    if sys.stderr is not None:  # closed by whoever started us
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)


# -- records in words and in JSON -----------------------------------------------------------------


def owner_of(record: Record) -> Owner | None:
    """The facts about the owner, if they are such facts."""
    try:
        return None if record.owner is None else Owner.from_dict(record.owner)
    except (InvalidArgument, ValueError):
        return None


def aliveness(record: Record) -> str | None:
    """Whether the process that claimed it still runs: "yes", "no", "unknown", or None."""
    owner = owner_of(record)
    return None if owner is None else owner.alive().value


def left_s(leases: Leases, record: Record) -> float:
    """Seconds until others may remove the record; below zero once they may."""
    reading = leases.store.clock()
    return (record.end_in(reading.era) - reading.now_ns) / NS_PER_S


def told(record: Record, left: float) -> dict[str, object]:
    """A record for programs."""
    return {
        "name": record.name,
        "state": "held" if left >= 0 or record.pins else "overdue",
        "holder": record.holder,
        "epoch": record.epoch,
        "left_s": round(left, 3),
        "duration_s": record.duration_ns / NS_PER_S,
        "pins": sorted(record.pins),
        "owner": record.owner,
        "owner_alive": aliveness(record),
    }


class Waiting:
    """Says for whom one waits: at once, and again when it is another.

    Attributes:
        spoken: Whether there was anything to say.
    """

    def __init__(self, leases: Leases, *, as_json: bool) -> None:
        self._leases = leases
        self._as_json = as_json
        self._seen: tuple[str, int] | None = None
        self._away: str | None = None
        self.spoken = False

    def on(self, record: Record) -> None:
        """Somebody has the lease."""
        self._away = None
        if (record.holder, record.epoch) == self._seen:
            return
        self._seen = (record.holder, record.epoch)
        self.spoken = True
        try:
            left = left_s(self._leases, record)
        except HoldfastError:
            left = 0.0
        if self._as_json:
            tell_json({"waiting_for": told(record, left)})
        else:
            tell(f"waiting for {record.name}: {_in_words(record, left)}")

    def on_trouble(self, error: HoldfastError) -> None:
        """The store does not answer; it may come back."""
        if error.what != self._away:
            self._away = error.what
            self.spoken = True
            tell(f"waiting for the store: {error.what}")


def _in_words(record: Record, left: float) -> str:
    owner = owner_of(record)
    now_ns = SystemClock().realtime_ns()
    words = f"held by {record.holder!r}"
    if owner is not None:
        words += f", {owner.describe(now_ns=now_ns)}"
    if owner is not None and owner.alive() is Liveness.NO:
        words += "; that process has ended, and the lease runs out"
    if record.pins:
        return f"{words}; pinned by {', '.join(sorted(record.pins))}"
    return f"{words}; {max(0.0, left):.1f} s left unless it is renewed"


# -- waiting --------------------------------------------------------------------------------------


class Interrupted(Exception):
    """A signal has ended the wait.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.number = number


def patiently(
    attempt: Callable[[float], T], wait: float | None, signals: Signals, waiting: Waiting
) -> T:
    """Attempt it for short times until it succeeds, the wait is over, or a signal has come.

    No signal interrupts an attempt: it would not be known what has become of it.

    Raises:
        Interrupted: By a signal.
        ClaimDenied: The wait was over.
        Unavailable: It was over, and the store away.
        OutcomeUnknown: It was over, and the store has not said.
    """
    end = None if wait is None else time.monotonic() + wait
    while True:
        if signals.first is not None:
            raise Interrupted(signals.first)
        left = SLICE_S if end is None else min(SLICE_S, max(0.0, end - time.monotonic()))
        try:
            return attempt(left)
        except (ClaimDenied, Unavailable, OutcomeUnknown) as error:
            if end is not None and time.monotonic() >= end:
                raise
            if not isinstance(error, ClaimDenied):
                waiting.on_trouble(error)
