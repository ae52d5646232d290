"""``holdfast member VERB``: a member from the command line, and a look at who is there.

``run`` is a member. ``ls`` and ``watch`` are none: they ask one, under no identity, so that nobody
learns of them, probes them or misses them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import click

from holdfast.cli.exit_codes import ExitCode
from holdfast.cli.lease_terms import seconds
from holdfast.cli.nouns import Verbs
from holdfast.cli.output import as_text, json_option, print_json, print_table
from holdfast.clock import NS_PER_S, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.membership import Change, Cluster, ClusterMember, Config

__all__ = ["ls", "member"]

ADDRESS = "127.0.0.1:7946"


@click.group(cls=Verbs)
def member() -> None:
    """Members: who is there, by a protocol of gossip (SWIM), without a server.

    Each member listens on one port of UDP. As packets are not sealed yet, that is on loopback,
    unless --unsealed says that everybody in the network is trusted.
    """


def _tag(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> Any:
    tags = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{one!r} is no tag: write KEY=VALUE")
        tags[key] = value
    return tags


@member.command(
    epilog="\b\nExample:\n"
    "  holdfast member run web0\n"
    "  holdfast member run web1 --bind 127.0.0.1:7947 --join 127.0.0.1:7946 --tag role=web"
)
@click.argument("name")
@click.option(
    "--bind", default=ADDRESS, show_default=True, metavar="HOST:PORT", help="Where to listen."
)
@click.option("--join", multiple=True, metavar="HOST:PORT", help="Whom to call; several times.")
@click.option(
    "--tag", "tags", multiple=True, callback=_tag, metavar="KEY=VALUE", help="Several times."
)
@click.option("--advertise", metavar="HOST:PORT", help="How others reach it, if not as bound.")
@click.option("--unsealed", is_flag=True, help="Listen beyond loopback, and trust everybody there.")
@click.option(
    "--network",
    type=click.Choice(["local", "lan", "wan"]),
    help="How patient to be; else by the address.",
)
@click.option("--members", type=click.IntRange(1), default=16, help="How many to expect.")
@click.option(
    "--period", type=seconds, metavar="SECONDS", help="From probe to probe; all else in proportion."
)
@click.option("--wire", type=click.Choice(["holdfast", "foca"]), default="holdfast")
@click.option("--codec", type=click.Choice(["postcard", "bincode"]), default="postcard")
@click.option("--count", type=click.IntRange(1), metavar="N", help="Leave after N lines.")
@click.option("--timeout", type=seconds, metavar="SECONDS", help="Leave after so many seconds.")
@json_option
def run(
    name: str,
    bind: str,
    join: tuple[str, ...],
    tags: dict[str, str],
    advertise: str | None,
    unsealed: bool,
    network: str | None,
    members: int,
    period: float | None,
    wire: Literal["holdfast", "foca"],
    codec: str,
    count: int | None,
    timeout: float | None,
    as_json: bool,
) -> ExitCode:
    """Be the member NAME until Ctrl-C, and print what becomes of the others.

    One line each: time (UTC), what, name, address, tags. The first says "started", with its own
    address; then "joined", "updated", "left" (it said so), "failed" (it did not), "event".

    Ctrl-C and SIGTERM are not the end but a wish: the member says farewell first, so that nobody
    takes it for failed, and the exit code is 0. A second signal ends it at once.
    """
    import asyncio

    from holdfast.membership import Bincode, Cluster, Node, Postcard

    cluster = Cluster(
        name,
        bind=bind,
        join=join,
        tags=tags,
        config=_config(network, members, period),
        wire=wire,
        advertise=advertise,
        unsealed=unsealed,
        codec=Bincode(Node) if codec == "bincode" else Postcard(Node),
    )
    return asyncio.run(_live(cluster, count, timeout, as_json=as_json))


def _ask_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--ask``, ``--timeout`` and ``--json``."""
    for option in (
        json_option,
        click.option(
            "--timeout",
            type=seconds,
            default="2",
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for an answer.",
        ),
        click.option(
            "--ask",
            envvar="HOLDFAST_MEMBER",
            default=ADDRESS,
            show_default=True,
            metavar="HOST:PORT",
            help="A running member.",
        ),
    ):
        command = option(command)
    return command


@member.command(
    epilog="\b\nExample:\n"
    "  holdfast member ls\n"
    "  holdfast member ls --ask web0:7946 --json | jq -r '.[].name'"
)
@_ask_options
def ls(ask: str, timeout: float, as_json: bool) -> None:
    """List the members that a running member knows, and itself.

    STATE is "alive" or "suspect". The answer is that of one member, and may be younger or older
    than another's. Asking does not join: nobody notices. The exit code is 69 if nobody answers;
    nodes of the Rust crate foca do not.
    """
    from holdfast.membership import look

    found = look(ask, timeout=timeout)
    if as_json:
        print_json([_told(one) for one in found])
    else:
        print_table(
            ("NAME", "ADDRESS", "STATE", "INCARNATION", "TAGS"),
            [(one.name, one.address, one.state, one.incarnation, _tags(one)) for one in found],
        )


@member.command(
    epilog="\b\nExample:\n"
    "  holdfast member watch\n"
    "  holdfast member watch --ask web0:7946 --json | jq -r .what"
)
@_ask_options
@click.option("--every", type=seconds, default="1", metavar="SECONDS", help="How often to ask.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N lines.")
def watch(ask: str, timeout: float, every: float, count: int | None, as_json: bool) -> ExitCode:
    """Ask a running member again and again, and print what has changed, until Ctrl-C.

    One line each: time (UTC), what, name, address, tags. What is "present" at the beginning, later
    "joined", "updated", "suspect", "alive", "gone". Who looks from outside does not see whether a
    member has left or failed; `holdfast member run` does. The exit code is 69 if the member that is
    asked does not answer any more.
    """
    from holdfast.membership import look

    seen: dict[str, ClusterMember] = {}
    first, printed = True, 0
    while True:
        now = {one.address: one for one in look(ask, timeout=timeout)}
        for address in sorted(seen.keys() | now.keys()):
            before, after = seen.get(address), now.get(address)
            what = "present" if first else _what_changed(before, after)
            one = after or before
            if what is not None and one is not None:
                _print(what, one, as_json=as_json)
                printed += 1
                if printed == count:
                    return ExitCode.OK
        seen, first = now, False
        time.sleep(every)


def _what_changed(before: ClusterMember | None, after: ClusterMember | None) -> str | None:
    if before is None:
        return "joined"
    if after is None:
        return "gone"
    if (before.name, before.tags, before.node) != (after.name, after.tags, after.node):
        return "updated"
    return None if before.state == after.state else after.state


# -- being a member -------------------------------------------------------------------------------


def _config(network: str | None, members: int, period: float | None) -> Config | None:
    from dataclasses import fields, replace

    from holdfast.membership import Config, Periodic

    if network is None and period is None:
        return None
    match network:
        case "lan":
            config = Config.lan(members)
        case "wan":
            config = Config.wan(members)
        case _:
            config = Config.local()
    if period is None:
        return config
    factor = period * NS_PER_S / config.probe_period_ns
    scaled: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Periodic):
            scaled[field.name] = Periodic(round(value.period_ns * factor), value.num_members)
        elif field.name.endswith("_ns") and field.name != "remove_down_after_ns":
            scaled[field.name] = round(value * factor)
    return replace(config, **scaled)


async def _live(
    cluster: Cluster, count: int | None, limit_s: float | None, *, as_json: bool
) -> ExitCode:
    import asyncio
    import itertools
    import signal

    loop = asyncio.get_running_loop()
    reading = asyncio.current_task()
    asked_to_go = False

    def go() -> None:
        # Of a second signal the system takes care, or Python: that one does not wait.
        nonlocal asked_to_go
        asked_to_go = True
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        assert reading is not None
        reading.cancel()

    async with cluster:
        _print("started", cluster.members()[0], as_json=as_json)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, go)
        try:
            async with asyncio.timeout(limit_s):
                changes = cluster.changes()
                for _ in itertools.count() if count is None else range(1, count):
                    _print_change(await anext(changes), as_json=as_json)
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if not asked_to_go:
                raise
    return ExitCode.OK


# -- lines ----------------------------------------------------------------------------------------


def _print_change(change: Change, *, as_json: bool) -> None:
    from holdfast.membership import (
        ClusterEvent,
        MemberFailed,
        MemberJoined,
        MemberLeft,
        MemberUpdated,
        Missed,
    )

    match change:
        case MemberJoined(one):
            _print("joined", one, as_json=as_json)
        case MemberUpdated(one, _):
            _print("updated", one, as_json=as_json)
        case MemberLeft(one):
            _print("left", one, as_json=as_json)
        case MemberFailed(one):
            _print("failed", one, as_json=as_json)
        case ClusterEvent(one, name, payload):
            _print("event", one, as_json=as_json, event=name, payload=payload)
        case Missed(count):
            _print("missed", None, as_json=as_json, count=count)


def _print(what: str, one: ClusterMember | None, *, as_json: bool, **more: object) -> None:
    at_ns = SystemClock().realtime_ns()
    if as_json:
        about = {} if one is None else {"member": _told(one)}
        print_json({"time_ns": at_ns, "what": what} | about | more)
        return
    columns: list[object] = [_instant(at_ns), what]
    if one is not None:
        columns += [one.name, one.address, _tags(one)]
    print("\t".join(as_text(column) for column in [*columns, *more.values()]), flush=True)


def _told(one: ClusterMember) -> dict[str, object]:
    return {
        "name": one.name,
        "address": one.address,
        "generation": str(one.node.generation),
        "state": one.state,
        "incarnation": one.incarnation,
        "tags": one.tags,
        "me": one.me,
    }


def _tags(one: ClusterMember) -> str | None:
    return " ".join(f"{key}={value}" for key, value in sorted(one.tags.items())) or None


def _instant(realtime_ns: int) -> str:
    past, ns = divmod(realtime_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(past, UTC):%Y-%m-%dT%H:%M:%S}.{ns // 1_000_000:03}Z"
