"""What the tests of `Cluster` share: quick nodes on loopback, and patience."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any
from unittest import mock

from holdfast.membership import (
    Change,
    Changes,
    Cluster,
    Config,
    Periodic,
)
from holdfast.membership.cluster import node as node_module
from holdfast.membership.cluster.udp import Udp
from tests.addresses import ANY_PORT

MS = 1_000_000
PATIENCE_S = 40.0
ANY = ANY_PORT
# Short, and yet long for a machine that others use too.
QUICK = replace(
    Config.local(),
    probe_period_ns=300 * MS,
    probe_rtt_ns=120 * MS,
    suspect_to_down_after_ns=400 * MS,
    periodic_gossip=Periodic(60 * MS, 3),
    periodic_announce_to_down_members=Periodic(500 * MS, 1),
)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(50):
            await main()

    with mock.patch.object(node_module, "LINGER_NS", 60 * MS):  # a farewell on loopback is not lost
        asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        await asyncio.sleep(0.01)


def node(name: str, *join: Cluster, **more: Any) -> Cluster:
    arguments: dict[str, Any] = {"bind": ANY, "config": QUICK} | more
    return Cluster(name, join=[other.address for other in join], **arguments)


def names(cluster: Cluster) -> list[str]:
    return sorted(member.name for member in cluster.members())


async def the_next(changes: Changes, kind: type[Change]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        async for change in changes:
            if isinstance(change, kind):
                return change
    raise AssertionError(f"no {kind.__name__} before the end")


@contextlib.asynccontextmanager
async def together(count: int, **more: Any) -> AsyncIterator[list[Cluster]]:
    """So many nodes that know each other."""
    async with contextlib.AsyncExitStack() as stack:
        nodes: list[Cluster] = []
        for at in range(count):
            nodes.append(await stack.enter_async_context(node(f"n{at}", *nodes[:1], **more)))
        everybody = sorted(one.name for one in nodes)
        await until(lambda: all(names(one) == everybody for one in nodes))
        yield nodes


class Cut:
    """The socket of a node, behind a wire that can be cut."""

    def __init__(self, udp: Udp) -> None:
        self._udp = udp
        self.on = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._udp, name)

    def receive(self) -> tuple[bytes, tuple[str, int]] | None:
        received = self._udp.receive()
        while self.on and received is not None:
            received = self._udp.receive()
        return received

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        if not self.on:
            self._udp.send(data, to)


def cut_of(cluster: Cluster) -> Cut:
    assert isinstance(cluster._udp, Udp)
    cut = Cut(cluster._udp)
    cluster._udp = cut  # type: ignore[assignment]
    return cut


def stranger(cluster: Cluster) -> socket.socket:
    """A socket that can send to a node."""
    host, _, port = cluster.address.rpartition(":")
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.connect((host, int(port)))
    return out
