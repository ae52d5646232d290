"""Whatever one client asks for, the governor serves the others, and keeps nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.ipc.messages import CANCEL
from holdfast.wake import wire
from tests.unit.ipc.places import descriptors_now, descriptors_open, rights, until
from tests.unit.wake.governors import governing

METHODS = sorted(value for value in vars(wire).values() if str(value).startswith(wire.INTERFACE))
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=80),
    st.sampled_from(["upload", "sent", "received", "released", "evict", "abort", 0, 1, -1]),
    st.lists(st.integers(), max_size=2),
)
WORDS = ["name", "unmonitored", "timeout_ns", "on_timeout", "listener", "since", "event", "inode"]
parameters = st.dictionaries(st.sampled_from([*WORDS, "pid", "index", "id"]), values, max_size=5)
calls = st.fixed_dictionaries(
    {"method": st.sampled_from([*METHODS, CANCEL, wire.INTERFACE, ""]), "parameters": parameters},
    optional={"id": st.integers(0, 4), "more": st.booleans(), "oneway": st.booleans()},
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(calls, st.integers(0, 2)), max_size=12))
def test_any_calls_harm_nobody(place: Path, sent: list[tuple[dict[str, Any], int]]) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            await governor.status()
            before = descriptors_now()
            with socket.socket(socket.AF_UNIX) as rogue:
                rogue.settimeout(0)
                rogue.connect(service.path)
                for call, descriptors in sent:
                    reading, writing = os.pipe()
                    frame = json.dumps(call).encode() + b"\0"
                    control = rights(*[reading, writing][:descriptors]) if descriptors else []
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        rogue.sendmsg([frame], control)
                    os.close(reading)
                    os.close(writing)
                    await asyncio.sleep(0)
                with await governor.acquire("honest"):
                    assert (await governor.status()).state in {"awake", "suspending", "resuming"}
            # What was granted to the rogue is in answers that were never read.
            await until(lambda: len(service.leases) == 0 and service.connections == 1)
            await until(lambda: service.clients.requests == {} and not service.watchers)
            assert (await governor.status()).listeners == ()
            assert await governor.suspend(20) >= 0
            await until(lambda: descriptors_now() <= before)

    asyncio.run(main())


def test_many_clients_that_leave_at_once_leave_nothing(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            await governor.status()
            before = descriptors_open()
            for _ in range(10):
                rogues = [socket.socket(socket.AF_UNIX) for _ in range(50)]
                for rogue in rogues:
                    rogue.settimeout(0)
                    rogue.connect(service.path)
                    rogue.send(
                        b'{"method":"org.holdfast.wake.Acquire","parameters":{"name":"a"}}\0'
                    )
                await until(lambda: len(service.leases) >= 1)
                for rogue in rogues:
                    rogue.close()
                await until(lambda: len(service.leases) == 0 and service.connections == 1)
            assert descriptors_open() <= before

    asyncio.run(main())
