"""`State.changes` of many states at once, and where the kernel gives no more of what it needs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.state import Namespace, loopwatch
from tests.fixtures_state import RunScript

# -- a thousand states ----------------------------------------------------------------------------

THOUSAND = """
    import asyncio, os, random, resource, sys
    from holdfast.state import Namespace

    COUNT, ROUNDS = 1000, 5
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * COUNT + 100:
        print("skip: too few descriptors allowed")
        raise SystemExit
    room = os.statvfs(os.path.dirname(sys.argv[1]))
    if room.f_bavail * room.f_frsize < 100 << 20:
        print("skip: too little room for so many states")
        raise SystemExit
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, hard), hard))
    writers = Namespace(sys.argv[1])
    readers = Namespace(sys.argv[1])
    written = [writers.subscribe(f"s.{i}", "rw", size=8) for i in range(COUNT)]
    watched = [readers.subscribe(f"s.{i}") for i in range(COUNT)]
    seen = [0] * COUNT
    wakes = 0

    def put(state, value):
        with state.transaction() as txn:
            txn.data[:] = value.to_bytes(8, "little")

    async def consume(i):
        global wakes
        async for snapshot in watched[i].changes():
            value = int.from_bytes(snapshot.data, "little")
            assert value > seen[i]
            seen[i] = value
            wakes += 1
            if value == ROUNDS:
                return

    async def main():
        tasks = [asyncio.create_task(consume(i)) for i in range(COUNT)]
        await asyncio.sleep(0)
        chance = random.Random(1)
        for value in range(1, ROUNDS + 1):
            order = chance.sample(range(COUNT), COUNT)
            for i in order:
                put(written[i], value)
                if chance.random() < 0.1:
                    await asyncio.sleep(0)
            async with asyncio.timeout(60):
                while min(seen) < value:
                    await asyncio.sleep(0.001)
            if value < ROUNDS:
                links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                         if os.path.lexists(f"/proc/self/fd/{fd}")]
                assert links.count("anon_inode:inotify") == 1, links
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert seen == [ROUNDS] * COUNT
    print(wakes == ROUNDS * COUNT)
"""


@pytest.mark.timeout(300)  # for machines that have much else to do
def test_one_loop_watches_a_thousand_states(script: RunScript) -> None:
    """K14, K55a: every change of each is seen, through one inotify instance."""
    said = script(THOUSAND)
    if said.startswith("skip"):
        pytest.skip(said)
    assert said == "True"


OVERFLOW = """
    import asyncio, sys
    from holdfast.state import Namespace

    limit = int(open("/proc/sys/fs/inotify/max_queued_events").read())
    if limit > 100_000:
        print("skip: a queue that would take long to fill")
        raise SystemExit
    namespace = Namespace(sys.argv[1])
    written = [namespace.subscribe(name, "rw", size=8) for name in "abc"]
    watched = [namespace.subscribe(name) for name in "abc"]

    def put(state, value):
        with state.transaction() as txn:
            txn.data[:] = value.to_bytes(8, "little")

    async def main():
        changes = [state.changes() for state in watched]
        pending = [asyncio.ensure_future(anext(one)) for one in changes]
        await asyncio.sleep(0.01)
        # Equal neighbours merge; those of two states in turn do not.
        for _ in range(limit // 2 + 100):
            for state in watched[:2]:
                state._want()
            for state in written[:2]:
                put(state, 1)
        put(written[2], 1)
        for one in pending:
            await asyncio.wait_for(one, 20)
    asyncio.run(main())
    print("seen")
"""


def test_a_queue_that_overflows_makes_everybody_look(script: RunScript) -> None:
    """K55d: no change is lost by it."""
    said = script(OVERFLOW)
    if said.startswith("skip"):
        pytest.skip(said)
    assert said == "seen"


# -- where no instance is to be had ---------------------------------------------------------------

WITHOUT = """
    import asyncio, ctypes, os, sys, time
    from holdfast.state import Namespace

    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(0x10000000):  # CLONE_NEWUSER: a limit of our own, nobody else is disturbed
        print("skip: no user namespaces here")
        raise SystemExit
    try:
        open("/proc/self/setgroups", "w").write("deny")
        open("/proc/self/uid_map", "w").write(f"{uid} {uid} 1")
        open("/proc/self/gid_map", "w").write(f"{gid} {gid} 1")
        open("/proc/sys/user/max_inotify_instances", "w").write("0")
    except OSError as error:
        print(f"skip: {error}")
        raise SystemExit

    namespace = Namespace(sys.argv[1])
    COUNT = 50
    written = [namespace.subscribe(f"s.{i}", "rw", size=8) for i in range(COUNT)]
    watched = [namespace.subscribe(f"s.{i}") for i in range(COUNT)]

    def put(state, value):
        with state.transaction() as txn:
            txn.data[:] = value.to_bytes(8, "little")

    async def main():
        changes = [state.changes() for state in watched]
        pending = [asyncio.ensure_future(anext(one)) for one in changes]
        for value in range(1, 4):
            await asyncio.sleep(0.02)
            for state in written:
                put(state, value)
            for one in pending:
                snapshot = await asyncio.wait_for(one, 20)
                assert int.from_bytes(snapshot.data, "little") == value
            pending = [asyncio.ensure_future(anext(one)) for one in changes]
        written[0].delete()
        try:
            await asyncio.wait_for(pending[0], 20)
        except Exception as error:
            print(type(error).__name__)
        for one in pending[1:]:
            one.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    asyncio.run(main())
"""


def test_where_no_inotify_instance_is_left_a_timer_looks(script: RunScript) -> None:
    """K55, §5.6: fifty consumers see every change, and deletion."""
    said = script(WITHOUT)
    if said.startswith("skip"):
        pytest.skip(said)
    assert said == "Deleted"


def test_one_timer_looks_for_all_of_them(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K55, §5.6: however many consumers there are, and none when they have gone."""
    monkeypatch.setattr(loopwatch, "new_instance", lambda: -1)
    states = [namespace.subscribe(f"s.{i}") for i in range(50)]

    def timers(loop: Any) -> int:
        # One whose time has come waits for its turn among those that are ready.
        poll = loopwatch.LoopWatch.of_running_loop()._poll
        return sum(handle._callback == poll for handle in [*loop._scheduled, *loop._ready])

    async def main() -> int:
        loop = asyncio.get_running_loop()
        pending = [asyncio.ensure_future(anext(state.changes())) for state in states]
        for _ in range(3):
            await asyncio.sleep(0)
        many = timers(loop)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for _ in range(3000):
            if not timers(loop):
                return many
            await asyncio.sleep(0.01)
        raise AssertionError("the timer goes on")

    assert asyncio.run(main()) == 1
