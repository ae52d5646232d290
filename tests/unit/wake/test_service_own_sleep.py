"""Who listens to a real service hears that the machine goes down of itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from holdfast.wake.model import Slept
from tests.unit.ipc.places import until
from tests.unit.wake.governors import Rig, governing


def test_who_listens_hears_that_it_cannot_keep_the_machine_up(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        said: list[str] = []

        async def before() -> None:
            said.append("before")

        async def after() -> None:
            said.append("after")

        def on_sleep(begins: bool) -> None:
            said.append("sleeps" if begins else "is back")

        async with governing(place, rig) as (_, governor):
            assert rig.host is not None
            await governor.listen(before, after, on_sleep=on_sleep)
            rig.host.sleep_begins()
            await until(lambda: rig.said == ["ready for sleep"])
            rig.host.sleep_ended(Slept(3))
            await until(lambda: "after" in said)
            assert said == ["sleeps", "before", "is back", "after"]
            suspend = asyncio.create_task(governor.suspend())
            await until(lambda: rig.entered)
            rig.back()
            await suspend
            assert said[4:] == ["before", "after"]  # of ours nobody need hear that

    asyncio.run(main())


def test_an_on_sleep_that_raises_is_reported_and_does_no_harm(place: Path) -> None:
    async def main() -> None:
        rig = Rig()
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        def on_sleep(begins: bool) -> None:
            raise ZeroDivisionError

        async with governing(place, rig) as (_, governor):
            assert rig.host is not None
            await governor.listen(None, name="bad", on_sleep=on_sleep)
            rig.host.sleep_begins()
            await until(lambda: rig.said == ["ready for sleep"])
            assert [each["message"] for each in told] == ["on_sleep of the listener bad failed"]

    asyncio.run(main())
