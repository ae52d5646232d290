"""Leases in shared memory, whose holders are killed and stopped."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import StaleRecord
from holdfast.lease.stores.local import LocalStore
from tests.fixtures_state import MakePeer
from tests.kill import leasing
from tests.kill.leasing import Count, History, last_count, now_ns
from tests.peer import python_path


class At:
    """A clock that stands still."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def boottime_ns(self) -> int:
        return self.now_ns

    monotonic_ns = realtime_ns = boottime_ns


def run_until(
    scenario: str, directory: Path, log: Path, seconds: float, enough: Callable[[], bool]
) -> None:
    """Run for so long, and again on a slow machine, until enough has happened."""
    for _ in range(12):
        run(scenario, directory, log, seconds)
        if enough():
            return


def run(scenario: str, directory: Path, log: Path, seconds: float) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    subprocess.run(
        [sys.executable, leasing.__file__, scenario, directory, log, str(seconds), str(seed)],
        check=True,
        env=os.environ | {"PYTHONPATH": python_path()},
        timeout=seconds + 60,
    )


@pytest.mark.parametrize("extended", [False, True])
def test_the_promise_outlives_the_only_process_that_knew_of_it(
    directory: Path, peer: MakePeer, extended: bool
) -> None:
    holder = peer()
    holder("from holdfast.lease.stores.local import LocalStore")
    holder(f"store = LocalStore({str(directory)!r})")
    holder("record = store.claim('n', 'a', 60 * 10**9, owner={'pid': os.getpid()})")
    if extended:
        holder("record = store.extend(record, 120 * 10**9)")
    holder("store.pin('pinned', 'ops')")
    facts = holder("(record.epoch, record.start_ns, record.duration_ns, record.writer)")
    pid = holder.pid
    holder.kill()
    with LocalStore(directory) as store:
        record = store.refresh()["n"]
        assert (record.epoch, record.start_ns, record.duration_ns, record.writer) == facts
        assert (record.holder, record.owner) == ("a", {"pid": pid})
        assert store.pins() == {"pinned": {"ops"}}
        assert store.overdue() == []
        with pytest.raises(StaleRecord):
            store.expire("n")
        with pytest.raises(StaleRecord):
            store.claim("n", "b", 1)
    end_ns = record.start_ns + record.duration_ns
    with LocalStore(directory, clock=At(end_ns)) as store, pytest.raises(StaleRecord):
        store.expire("n")
    with LocalStore(directory, clock=At(end_ns + 1)) as store:
        store.expire("n")
        assert store.claim("n", "b", 1).epoch > record.epoch


@pytest.mark.timeout(400)
def test_promises_are_kept_whoever_dies(directory: Path, tmp_path: Path, full: bool) -> None:
    """No epoch has two holders, epochs grow, and nobody takes what is still promised."""
    log = tmp_path / "log"

    def enough() -> bool:
        history = History.read(log)
        many = history.kills >= 30 and len(history.holdings) >= 200 and history.extended >= 100
        return many and history.check() >= 20

    run_until("leases", directory, log, 90 if full else 5, enough)
    history = History.read(log)
    taken = history.check()
    print(
        f"{history.kills} kills, {len(history.holdings)} claims, {history.extended} extensions, "
        f"{taken} taken over"
    )
    assert history.kills >= 30
    assert len(history.holdings) >= 200
    assert history.extended >= 100
    assert taken >= 20
    with LocalStore(directory, clock=At(now_ns() + 10**12)) as store:
        for late in store.overdue():
            store.expire(late)
        assert store.refresh() == {}
        greatest = max(one.epoch for one in history.holdings)
        assert all(store.claim(name, "after", 1).epoch > greatest for name in leasing.NAMES)


@pytest.mark.timeout(400)
def test_a_gated_count_is_exact_whoever_is_stopped_or_dies(
    directory: Path, tmp_path: Path, full: bool
) -> None:
    """No update is lost, and none is made by one who holds the lease no more."""
    log = tmp_path / "log"

    def enough() -> bool:
        count = Count.read(log)
        return len(count.counted) >= 1000 and len(count.holdings) >= 20 and count.refused >= 1

    run_until("gated", directory, log, 90 if full else 5, enough)
    count = Count.read(log)
    last = last_count(directory)
    holdings = len(count.holdings)
    print(f"{count.kills} kills, {last} counted, {holdings} holdings, {count.refused} refused")
    assert count.by_others() == 0
    assert count.twice == 0
    assert max(count.counted) <= last
    # Each kill can have come between a commit and the note of it.
    assert last - count.kills <= len(count.counted) <= last
    assert last >= 1000
    assert holdings >= 20
    assert count.refused >= 1


@pytest.mark.timeout(400)
def test_without_the_gate_the_count_goes_wrong(directory: Path, tmp_path: Path) -> None:
    """So the test above would have seen it."""
    log = tmp_path / "log"
    run_until("ungated", directory, log, 3, lambda: Count.read(log).by_others() > 0)
    assert Count.read(log).by_others() > 0, "nobody has counted who held nothing"
