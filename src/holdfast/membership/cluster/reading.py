"""`Changes`: what happens in a cluster, for whoever reads it with ``async for``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.membership.changes import Change, ClusterMember, MemberJoined, Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["Changes"]


class Changes:
    """The changes of a cluster since this was made, as an async iterator; it ends with the cluster.

    Made by `Cluster.changes`. At first every member that is there is told to have joined.
    """

    def __init__(self, present: Sequence[ClusterMember]) -> None:
        self._reader = Reader()
        self._news = asyncio.Event()
        self._over = False
        for member in present:
            self.put(MemberJoined(member))

    def put(self, change: Change) -> None:
        """One more."""
        if not self._over:
            self._reader.put(change)
            self._news.set()

    def close(self) -> None:
        """No more; what was not read yet can still be read. Closing twice is harmless."""
        self._over = True
        self._news.set()

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        while (change := self._reader.take()) is None:
            if self._over:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return change
