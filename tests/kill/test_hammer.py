"""Reading beside writers that never rest."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from holdfast.state import Namespace

SIZE = 1024
READS = 10_000_000


def hammer(directory: Path, stop: Event) -> None:
    with Namespace(directory).subscribe("hammered", "rw") as state:
        value = 0
        while not stop.is_set():
            for _ in range(1000):
                value += 1
                with state.transaction() as txn:
                    txn.data[:] = value.to_bytes(8, "little") * (SIZE // 8)


@pytest.mark.serial
@pytest.mark.timeout(1200)
def test_ten_million_reads_beside_a_hammering_writer_are_never_torn(
    directory: Path,
) -> None:
    """K5, K37: each read is one version, whole; versions never go back.

    On a machine that lets the two run in turn only there are as many more reads as it takes.
    """
    fork = multiprocessing.get_context("fork")
    stop = fork.Event()
    with Namespace(directory) as namespace:
        state = namespace.subscribe("hammered", size=SIZE)
        writer = fork.Process(target=hammer, args=(directory, stop))
        writer.start()
        try:
            assert state.wait(30)
            torn, last, distinct, reads = count_torn(state.read, READS, 1001)
        finally:
            stop.set()
            writer.join(30)
        print(
            f"{reads} reads, {distinct} versions seen, {state.info().overtaken} copies made again"
        )
    assert torn == 0
    assert distinct > 1000, "the writer did not hammer"
    assert last > 0


def count_torn(read: object, least: int, versions: int) -> tuple[int, int, int, int]:
    """Read so often at least, and until so many versions were seen, or ten times as often."""
    assert callable(read)
    repeat = SIZE // 8
    torn = distinct = 0
    last = b""
    newest = 0
    for reads in range(10 * least):
        if distinct >= versions and reads >= least:
            break
        data = read()
        if data == last:
            continue
        first = data[:8]
        torn += data != first * repeat
        value = int.from_bytes(first, "little")
        torn += value < newest
        newest = value
        distinct += 1
        last = data
    return torn, newest, distinct, reads


@pytest.mark.serial
def test_a_stopped_reader_holds_nobody_up(directory: Path) -> None:
    """K2, K37: nothing that a reader does can be seen by a writer."""
    with Namespace(directory) as namespace:
        state = namespace.subscribe("hammered", "rw", size=SIZE)
        views = [namespace.subscribe("hammered").view() for _ in range(20)]
        for value in range(100):
            state.transact(lambda txn, value=value: txn.write(0, bytes([value + 1])))  # type: ignore[misc]
        assert state.version == 100
        assert not any(view.check() for view in views)
