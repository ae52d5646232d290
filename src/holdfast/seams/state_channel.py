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

from typing import TYPE_CHECKING

from holdfast.closing import Closing
from holdfast.errors import Deleted
from holdfast.wake import BatonSource, BatonSubscription, SequenceClient

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable

    from holdfast.state import Snapshot, State, Transaction
    from holdfast.wake import AsyncGovernor, SequenceServer, WakeLease

__all__ = ["StateChannel", "StateSource"]


class StateSource(Closing):
    """The head: whoever commits to the state, for clients that connect to a socket.

    Args:
        state: The state; it is read here, and committed to by `publish`.
        server: Takes the wake leases. It need not be told anything.
        path: Where clients connect for batons.
    """

    def __init__(self, state: State, server: SequenceServer, path: str) -> None:
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

    Made by `connect`.
    """

    def __init__(
        self,
        state: State,
        subscription: BatonSubscription,
        pass_on: Callable[[WakeLease], object] | None,
    ) -> None:
        self._state = state
        self._subscription = subscription
        self._client = SequenceClient(subscription, pass_on=pass_on)  # type: ignore[arg-type]
        self._running: asyncio.Task[None] = self._client.run()

    @classmethod
    async def connect(
        cls,
        state: State,
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
        """
        subscription = await BatonSubscription.connect(path, reporter=reporter)
        return cls(state, subscription, pass_on)

    @property
    def holding(self) -> bool:
        """Whether it holds a baton: a version is in work, or on its way."""
        return self._client.holding

    async def changes(self) -> AsyncGenerator[Snapshot, None]:
        """Each change, the newest first; it is dealt with when the next one is asked for.

        Raises:
            Deleted, Closed: As of `State.changes`; what is held is released.
        """
        try:
            async for snapshot in self._state.changes():
                yield snapshot
                self.processed(snapshot)
        finally:
            self._client.end_of_messages()

    def processed(self, snapshot: Snapshot) -> None:
        """That version is dealt with, and with it all earlier ones. `changes` says it by itself."""
        self._client.processed_through(snapshot.version - self._subscription.base)

    async def aclose(self) -> None:
        """Leave, and release what is held."""
        self.close()
        await self._subscription.close()

    def close(self) -> None:
        """Ask for no more batons, and release what is held."""
        self._client.close()
