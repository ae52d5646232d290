"""A pipeline of newest values that no suspend cuts: the state's version is the message index.

Optimistic lease management asks both sides to count messages. A shared state counts by itself:
each commit is one version. So the head commits, the client reads, and the machine does not go down
before the client has dealt with the newest version: not with each, which is the point of a state.

::

    head                                                client
      state.transaction() ═══ shared memory ══════════▶ state.changes()
      before a suspend: is the version beyond what      after each: processed through its version
      was covered? a wake lease, and a baton ─────────▶ holds the baton until it is there

A commit costs nothing here while the machine is awake: nothing is counted before the governor asks.
Commits by other processes count, too, if they are made by then. What is committed while the machine
is going down is only safe if it is committed by `StateSource.publish`, or told to `committed`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from holdfast.closing import Closing
from holdfast.errors import Closed, Deleted
from holdfast.wake import BatonSource, BatonSubscription, SequenceClient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import holdfast.state
    from holdfast.state import Snapshot, Transaction
    from holdfast.wake import AsyncGovernor, SequenceServer, WakeLease

__all__ = ["StateChannel", "StateSource"]


class StateSource(Closing):
    """The head: whoever commits to the state, for clients that connect to a socket.

    Args:
        state: The state; it is read here, and committed to by `publish`.
        server: Takes the wake leases. It need not be told anything.
        path: Where clients connect for batons.
    """

    def __init__(self, state: holdfast.state.State, server: SequenceServer, path: str) -> None:
        self._state = state
        self._server = server
        self._batons = BatonSource(path, server, base=lambda: state.version)
        server.before_flush(self._count)

    @property
    def clients(self) -> int:
        """How many are connected."""
        return self._batons.clients

    async def wait_clients(self, n: int = 1) -> None:
        """Wait until so many are connected."""
        await self._batons.wait_clients(n)

    async def publish(self, fn: Callable[[Transaction], object]) -> None:
        """Change the state by `State.transact`; return when no suspend can strand that.

        Raises:
            HoldfastError: As of `State.transact`, and nothing was committed; or as of `committed`,
                and it was.
        """
        self._state.transact(fn)
        await self.committed()

    async def committed(self) -> None:
        """Something was committed; return when no suspend can strand it.

        Raises:
            HoldfastError, OSError: As of `MessageSendTracker.message_sent`.
        """
        self._server.check()
        version = self._state.version
        for subscriber in self._batons.subscribers():
            if not subscriber.tracker.closed:
                waits = subscriber.tracker.sent_through(version - subscriber.base)
                if waits is not None:
                    await waits

    def close(self) -> None:
        """Part with all clients."""
        self._batons.close()

    def _count(self) -> None:
        """The governor asks: now the versions are looked at."""
        try:
            version = self._state.version
        except Deleted:
            return  # nobody can read it any more, so nobody is kept waiting for it
        for subscriber in self._batons.subscribers():
            subscriber.tracker.count_through(version - subscriber.base)


class StateChannel(Closing):
    """A client: reads the state, and holds batons until it has dealt with their version.

    ::

        channel = await StateChannel.connect(state, path)
        async for snapshot in channel.changes():
            work(snapshot)                  # done when the next one is asked for
        # the source has gone: connect anew

    Made by `connect`. It is for one loop over `changes`.
    """

    def __init__(
        self,
        state: holdfast.state.State,
        subscription: BatonSubscription,
        pass_on: Callable[[WakeLease], object] | None,
    ) -> None:
        self._state = state
        self._subscription = subscription
        self._client = SequenceClient(subscription, pass_on=pass_on)  # type: ignore[arg-type]
        self._running: asyncio.Task[None] = self._client.run()
        self._closed = False

    @classmethod
    async def connect(
        cls,
        state: holdfast.state.State,
        path: str,
        *,
        pass_on: Callable[[WakeLease], object] | None = None,
        reporter: AsyncGovernor | None = None,
    ) -> StateChannel:
        """Subscribe to the batons of a `StateSource` of the same state.

        Args:
            state: A handle of this process.
            path: The source's socket.
            pass_on: What to do with batons that are done, in place of closing them.
            reporter: A connection to the governor, which is told how batons travel; or None.

        Raises:
            NotFound, Unavailable, NotPermitted: There is no source that we may use.
            Closed: There is one, and it takes no wake leases any more.
        """
        subscription = await BatonSubscription.connect(path, reporter=reporter)
        return cls(state, subscription, pass_on)

    @property
    def holding(self) -> bool:
        """Whether it holds a baton: a version is in work, or on its way."""
        return self._client.holding

    async def changes(self) -> AsyncGenerator[Snapshot, None]:
        """Each change, the newest first; it is dealt with when the next one is asked for.

        It ends when the source has gone, or has no governor any more: from then on no wake lease
        covers anything. Connect anew then. What is in work keeps its baton until the next one is
        asked for, and the newest change, if it was not given yet, is given before the end (unless
        it is held back by `State.throttle`). With the loop, however it is left, the channel ends.

        Raises:
            Deleted, Closed: As of `State.changes`; what is held is released.
            Closed: The channel was closed, or an earlier loop has ended.
            HoldfastError: What the source sent is no baton.
        """
        try:
            self._check()
            async with aclosing(self._state.changes()) as changes:
                while (snapshot := await self._next(changes)) is not None:
                    yield snapshot
                    self.processed(snapshot)
            self._check()
            if self._state.changed():
                yield (snapshot := self._state.snapshot())
                self.processed(snapshot)
        finally:
            self.close()

    async def _next(self, changes: AsyncGenerator[Snapshot, None]) -> Snapshot | None:
        """The next change; None: there will be no baton any more."""
        if self._running.done():
            return None
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(None)

        def gone(_: object) -> None:
            with suppress(RuntimeError):  # nobody waits any more: a change came in the same turn
                limit.reschedule(loop.time())

        # No task for each change: the wait for it is cut short by a time-out that is set to "now".
        self._running.add_done_callback(gone)
        try:
            async with limit:
                return await anext(changes)
        except TimeoutError:
            return None
        finally:
            self._running.remove_done_callback(gone)

    def _check(self) -> None:
        """See that it is open, and that no fault has ended it."""
        if self._closed:
            raise Closed("the channel is closed", hint="connect anew")
        if self._running.done() and not self._running.cancelled():
            self._running.result()

    def processed(self, snapshot: Snapshot) -> None:
        """That version is dealt with, and with it all earlier ones. `changes` says it by itself."""
        self._client.processed_through(snapshot.version - self._subscription.base)

    async def aclose(self) -> None:
        """Leave, and release what is held."""
        self.close()
        await self._subscription.close()

    def close(self) -> None:
        """Ask for no more batons, and release what is held."""
        self._closed = True
        self._client.close()
