"""A bus that is lost is joined again, at whatever question it was lost."""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.errors import Unavailable
from holdfast.wake.backends.bus import Refused
from tests.logind.played import PlayedSide
from tests.unit.ipc.places import PATIENCE_S, until
from tests.unit.wake.backends.test_command import Host


class Breaking(PlayedSide):
    """It gives no lock on a shutdown, and at a question for that the bus may end.

    Attributes:
        breaks: It ends at the next one, and gives the lock from then on.
        stingy_with: The lock that it does not give.
    """

    def __init__(self) -> None:
        super().__init__()
        self.breaks = False
        self.stingy_with = "shutdown"

    def answer(self, member: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        if member == "Inhibit" and body[0] == self.stingy_with:
            if not self.breaks:
                raise Refused("org.freedesktop.DBus.Error.AccessDenied", "not permitted")
            self.breaks, self.stingy_with = False, ""
            connection = self.connections[-1]
            connection.open = False
            connection.lost("the bus closed the connection")
            raise Unavailable("the connection has ended", on=member)
        return super().answer(member, body)


def test_a_bus_that_is_lost_again_at_the_last_lock_is_joined_again() -> None:
    """Without that one, too, one can suspend: that it is not to be had is no error by itself."""

    async def main() -> None:
        side = Breaking()
        backend = side.backend()
        async with asyncio.timeout(PATIENCE_S):
            await backend.open(Host())
            await side.end_bus()
            side.breaks = True
            await side.begin_bus()
            await until(lambda: not side.breaks)
            await until(lambda: backend.trouble is None)
            assert len([each for each in side.connections if each.open]) == 1
            await backend.close()
        side.close()

    asyncio.run(main())
