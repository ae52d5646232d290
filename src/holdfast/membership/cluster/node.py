"""`Cluster`: one member on a real network. It carries out what its `Session` decides.

Deadlines are of CLOCK_BOOTTIME. A loop's own timers stand still while the machine sleeps, so what
falls due is looked up in that clock whenever the loop wakes, and what has come by then is read
first: an answer that waits in the socket must not be taken for silence.
"""

# ruff: noqa: ASYNC109 - a wait that is over is an answer here, and not an exception

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import Counter
from random import SystemRandom
from typing import TYPE_CHECKING, Literal, Self

from holdfast.clock import NS_PER_S, SystemClock
from holdfast.durations import nanoseconds, nanoseconds_or_none, seconds
from holdfast.errors import (
    Closed,
    InvalidArgument,
    NotFound,
    NotPermitted,
    Unavailable,
    Unsupported,
)
from holdfast.membership import talk
from holdfast.membership.cluster.reading import Changes
from holdfast.membership.cluster.udp import Udp, is_loopback, is_wildcard, outgoing, resolve
from holdfast.membership.codec.postcard import Postcard
from holdfast.membership.config import Config
from holdfast.membership.identity import Node
from holdfast.membership.session import Session
from holdfast.membership.stages import Stage
from holdfast.membership.why import Why, account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta
    from types import TracebackType

    from holdfast.membership.changes import ClusterMember
    from holdfast.membership.codec.base import Codec

__all__ = ["BATCH", "Cluster"]

# So many datagrams are read before the rest of the loop gets its turn.
BATCH = 64
# The clocks are compared at least so often, while anything is to fall due. A loop's own timers
# stand still while the machine sleeps: one that is far away would let it wait for long.
LOOK_S = 10.0
# How long a farewell is repeated unless somebody says otherwise.
LINGER_NS = NS_PER_S * 3 // 10
# What to expect if nobody says how many members there will be.
_MEMBERS = 16


class Cluster:
    """A member of a cluster, for as long as an async with block runs.

    At its end the member says farewell, so that the others see it leave and not fail. Not
    thread-safe: it belongs to one loop.

    Args:
        node_name: What this member calls itself. It need not differ from others' names.
        bind: Where to listen, ``host:port``; port 0: any that is free.
        join: Members to call in order to join, ``host:port`` each. They are called until somebody
            answers, and again whenever nobody is left; one that is down does no harm.
        tags: What others shall know about this member; name and tags take 512 bytes at most.
        keys: For sealed packets, which are not built yet: None.
        config: The protocol's settings; None: `Config.local` on loopback, else `Config.lan`.
        wire: "holdfast", or "foca": nothing is sent that a node of the Rust crate has no word
            for; then there are no tags, names of others, events and farewells.
        advertise: The address, ``host:port``, by which others reach this member; None: the one it
            is bound to, or where that is a wildcard, the one from which this machine sends.
        unsealed: Listen beyond loopback, though whoever can send a datagram there can join, read
            everything and declare anybody down.
        codec: What packets look like; None: `Postcard`. All members have the same.

    Raises:
        InvalidArgument: An argument has no meaning.
        Unsupported: `keys` was given.
    """

    def __init__(
        self,
        node_name: str,
        *,
        bind: str,
        join: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        keys: object = None,
        config: Config | None = None,
        wire: Literal["holdfast", "foca"] = "holdfast",
        advertise: str | None = None,
        unsealed: bool = False,
        codec: Codec[Node] | None = None,
    ) -> None:
        if keys is not None:
            raise Unsupported(
                "packets cannot be sealed yet",
                on="keys=",
                hint="leave keys out, and stay on loopback or in a network that you trust",
            )
        if isinstance(join, str):
            raise InvalidArgument(f"join={join!r}", hint='give a list: join=["host:port"]')
        if wire not in ("holdfast", "foca"):
            raise InvalidArgument(f"wire={wire!r}", hint='use "holdfast" or "foca"')
        if tags and wire == "foca":
            raise InvalidArgument(
                'there are no tags on wire="foca"', on=node_name, hint="leave one of them out"
            )
        self.name = node_name
        self.tags = talk.check_about(node_name, tags or {})
        self._bind, self._join, self._advertise = bind, tuple(join), advertise
        self._config = config
        self._marked = wire == "holdfast"
        self._unsealed = unsealed
        self._codec: Codec[Node] = Postcard(Node) if codec is None else codec
        self._clock = SystemClock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._udp: Udp | None = None
        self._session: Session | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lookups: dict[str, asyncio.Task[None]] = {}
        self._readers: weakref.WeakSet[Changes] = weakref.WeakSet()
        self._moved = asyncio.Event()
        self._closed = False

    # -- its life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, and begin to call those who shall be joined. ``async with`` does it.

        Raises:
            Closed: It was closed.
            InvalidArgument: `bind` or `advertise` is no address of this machine, or was started.
            NotPermitted: `bind` is beyond loopback, and nobody said ``unsealed=True``; or the port
                needs more rights.
            Unavailable: The port is taken, or a name cannot be found.
        """
        if self._closed:
            raise Closed("this member has left", on=self.name, hint="make a new one")
        if self._session is not None:
            raise InvalidArgument("this member was started before", on=self.name)
        loop = self._loop = asyncio.get_running_loop()
        bind = await _one(loop, self._bind)
        if not (self._unsealed or is_loopback(bind[0])):
            raise NotPermitted(
                "packets are not sealed, and this address can be reached by others",
                on=self._bind,
                hint="bind to 127.0.0.1, or say unsealed=True if you trust everybody there",
            )
        counts: Counter[str] = Counter()
        udp = Udp(bind, counts)
        try:
            host, port = await self._address(loop, udp)
            session = Session(
                self.name,
                Node(host, port, talk.generation(self._clock.realtime_ns(), marked=self._marked)),
                self._config or (Config.local() if is_loopback(host) else Config.lan(_MEMBERS)),
                rng=SystemRandom(),
                codec=self._codec,
                seeds=self._join,
                tags=self.tags,
                marked=self._marked,
            )
        except BaseException:
            udp.close()
            raise
        session.counts = counts
        self._udp, self._session = udp, session
        loop.add_reader(udp.fileno(), self._readable)
        self._compare_clocks()
        session.start(self._clock.boottime_ns())
        self._carry_out()

    async def _address(self, loop: asyncio.AbstractEventLoop, udp: Udp) -> tuple[str, int]:
        if self._advertise is not None:
            host, port = await _one(loop, self._advertise, like=udp.address[0])
            return host, port or udp.address[1]
        if not is_wildcard(udp.address[0]):
            return udp.address
        seeds = [
            found for seed in self._join for found in await resolve(loop, seed, like=udp.address[0])
        ]
        return outgoing(udp.address[0], seeds), udp.address[1]

    async def leave(self, *, linger: float | timedelta | None = None) -> None:
        """Say farewell, and close. Leaving twice is harmless.

        Args:
            linger: Seconds to repeat it for, in case packets are lost; None: 0.3.

        Raises:
            InvalidArgument: `linger` is no duration.
        """
        linger_ns = nanoseconds_or_none(linger, "linger")
        try:
            if self._session is not None and not self._closed:
                if self._session.stage is not Stage.LEAVING:
                    self._session.leave(
                        self._clock.boottime_ns(), LINGER_NS if linger_ns is None else linger_ns
                    )
                    self._carry_out()
                await self._until(lambda: self._closed or self._stage is Stage.LEFT)
        finally:
            self.close()

    def close(self) -> None:
        """Stop at once, without a word: others will find out. Closing twice is harmless."""
        self._closed = True
        if self._udp is not None and self._loop is not None:
            if self._udp.fileno() >= 0 and not self._loop.is_closed():
                self._loop.remove_reader(self._udp.fileno())
            self._udp.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._lookups.values():
            task.cancel()
        for reader in list(self._readers):
            reader.close()
        self._moved.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()

    # -- the sleep of the machine -----------------------------------------------------------------

    async def prepare_sleep(
        self, at_most: float | timedelta = 3600.0, *, linger: float | timedelta | None = None
    ) -> bool:
        """Tell the others that this machine goes to sleep: they do not miss it until it is back.

        It returns when that is said. From then on this member listens, and says nothing but
        farewell, until `resumed` is called, or it finds that the machine has slept, or `at_most`
        is over. If the machine stays awake after all, call `resumed`.

        Args:
            at_most: After so many seconds it is a member like any other, asleep or not; a day is
                the longest. Who sleeps longer is declared down, and comes back as somebody who was.
            linger: Seconds to repeat it for, in case packets are lost; None: 0.3.

        Returns:
            False if there was nobody to tell, or nobody who understands it: nodes of the crate do
            not. Then it goes on as before.

        Raises:
            InvalidArgument: `at_most` or `linger` is no duration, or `at_most` is 0.
            Closed: It was not started, or was closed.
        """
        session = self._running()
        at_most_ns = nanoseconds(at_most, "at_most")
        linger_ns = nanoseconds_or_none(linger, "linger")
        now_ns = self._clock.boottime_ns()
        told = session.prepare_sleep(
            now_ns, at_most_ns, LINGER_NS if linger_ns is None else linger_ns
        )
        self._carry_out()
        await self._until(lambda: self._closed or not session.telling)
        return told

    async def resumed(self) -> None:
        """Tell the others that this machine is awake: each knows it one packet later.

        Call it after every sleep, and after one that did not come about. A sleep of which nobody
        has said anything, before or after, is found by itself, at the next datagram or timer.

        Raises:
            Closed: It was not started, or was closed.
        """
        session = self._running()
        if not self._read():
            session.resumed(self._clock.boottime_ns())
        self._carry_out()

    # -- what it knows ----------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    @property
    def joined(self) -> bool:
        """Whether anybody else is there."""
        return self._stage is Stage.JOINED

    @property
    def address(self) -> str:
        """``host:port`` by which others reach this member.

        Raises:
            Closed: It was not started, or was closed.
        """
        return self._running().me().address

    @property
    def counts(self) -> dict[str, int]:
        """How often what happened: datagrams, calls, malformed packets, errors of the socket."""
        return dict(self._session.counts) if self._session is not None else {}

    def members(self) -> list[ClusterMember]:
        """Everybody who is there now, this member first.

        Raises:
            Closed: It was not started, or was closed.
        """
        return self._running().members()

    def changes(self) -> Changes:
        """What happens from now on, after a `MemberJoined` for everybody who is there.

        Each iterator gets every change. One that is not read forgets the oldest (`Missed`).

        Raises:
            Closed: It was not started, or was closed.
        """
        changes = Changes(self._running().members()[1:])
        self._readers.add(changes)
        return changes

    async def wait_joined(self, timeout: float | timedelta | None = None) -> bool:
        """Wait until anybody else is there, at most `timeout` seconds; None: without a limit.

        Returns:
            False if the time was over first.

        Raises:
            Closed: It was closed meanwhile, or not started.
        """
        self._running()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds(timeout, "timeout")):
                await self._until(lambda: self.joined or self._closed)
        self._running()
        return self.joined

    def why(self, name: str) -> tuple[Why, ...]:
        """How it came that the members of this name, or address, stand where they do.

        Raises:
            NotFound: Nobody of that name is there, or was lately.
            Closed: It was not started, or was closed.
        """
        session = self._running()
        found = session.known_as(name)
        if not found:
            raise NotFound("no member of that name is there, or was lately", on=name)
        return account(found, session.engine.members(), self._clock.boottime_ns())

    def broadcast(self, name: str, payload: bytes = b"") -> None:
        """Tell every other member about an event: a `ClusterEvent` among its changes.

        It travels with the protocol's packets, from member to member, and may be lost.

        Raises:
            InvalidArgument: Name and payload are longer than a kilobyte.
            Unsupported: On ``wire="foca"`` there is no word for it.
            Closed: It was not started, or was closed.
        """
        session = self._running()
        if not self._marked:
            raise Unsupported('there are no events on wire="foca"', on=name)
        session.broadcast(name, bytes(payload), self._clock.boottime_ns())
        self._carry_out()

    # -- the loop ---------------------------------------------------------------------------------

    @property
    def _stage(self) -> Stage:
        return Stage.NEW if self._session is None else self._session.stage

    def _running(self) -> Session:
        if self._closed or self._session is None:
            what = "this member has left" if self._closed else "this member was not started"
            raise Closed(what, on=self.name, hint="use it inside of `async with`")
        return self._session

    def _readable(self) -> None:
        try:
            self._read()
        finally:
            self._carry_out()

    def _read(self) -> bool:
        """Take in what has come, but not for ever. Returns whether the machine has slept."""
        udp, session = self._udp, self._session
        if udp is None or session is None or self._closed:
            return False
        now_ns = self._clock.boottime_ns()
        for _ in range(BATCH):
            received = udp.receive()
            if received is None:
                break
            session.handle_data(received[0], received[1], now_ns)
        return self._compare_clocks()

    def _compare_clocks(self) -> bool:
        assert self._session is not None
        # This program can be stopped between any two of the three.
        before_ns = self._clock.monotonic_ns()
        now_ns = self._clock.boottime_ns()
        after_ns = self._clock.monotonic_ns()
        return self._session.clocks(now_ns - after_ns, now_ns - before_ns, now_ns)

    def _ring(self) -> None:
        self._timer = None
        try:
            self._read()
            if self._session is not None and not self._closed:
                self._session.handle_timers(self._clock.boottime_ns())
        finally:
            self._carry_out()

    def _carry_out(self) -> None:
        udp, session, loop = self._udp, self._session, self._loop
        if udp is None or session is None or loop is None or self._closed:
            return
        effects = session.take()
        for to, data in effects.sends:
            udp.send(data, to)
        if effects.changes:
            for reader in list(self._readers):
                for change in effects.changes:
                    reader.put(change)
        for seed in effects.resolve:
            if seed not in self._lookups:
                self._lookups[seed] = loop.create_task(self._look_up(seed))
        self._moved.set()
        due_ns = session.next_due()
        if due_ns is not None:
            left_s = max(0.0, (due_ns - self._clock.boottime_ns()) / NS_PER_S)
            at = loop.time() + min(left_s, LOOK_S)
            # One that rings too early does no harm; one that would ring too late is replaced.
            if self._timer is None or at < self._timer.when():
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = loop.call_at(at, self._ring)

    async def _look_up(self, seed: str) -> None:
        assert self._loop is not None
        assert self._udp is not None
        try:
            found = await resolve(self._loop, seed, like=self._udp.address[0])
        finally:
            self._lookups.pop(seed, None)
        if self._session is not None and not self._closed:
            self._session.resolved(seed, found, self._clock.boottime_ns())
            self._carry_out()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._moved.clear()
            await self._moved.wait()


async def _one(loop: asyncio.AbstractEventLoop, text: str, *, like: str = "") -> tuple[str, int]:
    found = await resolve(loop, text, like=like)
    if not found:
        raise Unavailable("this host cannot be found", on=text)
    return found[0]
