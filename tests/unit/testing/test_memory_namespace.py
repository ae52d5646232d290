"""What the stand-in for simulations has beyond the conformance suite: crashes and seeds."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import Closed, Conflict, InvalidArgument, Unsupported
from holdfast.testing import MemoryNamespace, MemoryState, snapshot, transaction


def put(state: MemoryState, value: int) -> None:
    with state.transaction() as txn:
        txn.data[0] = value


@pytest.fixture
def namespace() -> MemoryNamespace:
    return MemoryNamespace()


def test_a_crash_leaves_everything_as_it_was(namespace: MemoryNamespace) -> None:
    """K26, K42: commits stay, open transactions vanish, nothing is cleaned up."""
    other = namespace.process()
    mine, theirs = namespace.subscribe("s", "rw", size=8), other.subscribe("s", "rw")
    put(theirs, 1)
    txn = theirs.transaction()
    txn.data[0] = 2
    other.crash()
    assert (mine.read()[0], mine.version) == (1, 1)
    assert not txn.active
    for use in (theirs.read, theirs.transaction, txn.commit, txn.abort, other.names):
        with pytest.raises(Closed):
            use()
    assert (theirs.closed, other.closed, mine.closed) == (True, True, False)
    theirs.close()
    other.close()
    put(mine, 3)
    assert not mine.info().others


def test_what_a_crash_leaves_behind_is_listed_until_somebody_subscribes(
    namespace: MemoryNamespace,
) -> None:
    """K26: as a file would be."""
    other = namespace.process()
    left = other.subscribe("s", "rw", size=8)
    other.crash()
    assert namespace.names() == ["s"]
    with namespace.subscribe("s") as state:
        assert state.incarnation != left.incarnation
    assert namespace.names() == []


def test_every_object_of_a_process_crashes_with_it(namespace: MemoryNamespace) -> None:
    """K31: and a stranger's subscription forbids deletion no longer."""
    other = namespace.process()
    beside = other.again(retain=True)
    mine = namespace.subscribe("s", "rw", size=8)
    kept = beside.subscribe("s")
    other.crash()
    assert (beside.closed, kept.closed) == (True, True)
    mine.delete()
    assert namespace.names() == []


def test_one_seed_gives_one_run() -> None:
    """§4.4: incarnations come from the generator that was given, and from nothing else."""

    def run(seed: int) -> list[str]:
        namespace = MemoryNamespace(rng=random.Random(seed))
        return [namespace.subscribe(name).incarnation for name in ("a", "b", "a.b")]

    assert run(1) == run(1) != run(2)
    assert len(set(run(3))) == 3


def test_without_a_clock_time_stands_still(namespace: MemoryNamespace) -> None:
    """K56: a throttled handle then shows its first version for ever."""
    writer, reader = namespace.subscribe("s", "rw", size=8), namespace.subscribe("s")
    reader.throttle(1e-9)
    put(writer, 1)
    assert reader.read()[0] == 1
    put(writer, 2)
    assert reader.read()[0] == 1
    assert (writer.snapshot().time_ns, writer.snapshot().pid) == (0, 1)


@pytest.mark.parametrize("timeout", [None, 1, 1e-9])
def test_nothing_can_be_waited_for(namespace: MemoryNamespace, timeout: float | None) -> None:
    """K54: Unsupported, with what to do instead; where there is news, nothing has to be."""
    writer, reader = namespace.subscribe("s", "rw", size=8), namespace.subscribe("s")
    with pytest.raises(Unsupported) as caught:
        reader.wait(timeout)
    assert caught.value.hint
    put(writer, 1)
    assert reader.wait(timeout)


def test_there_is_no_descriptor(namespace: MemoryNamespace) -> None:
    """K55: Unsupported; Closed on a handle that is closed."""
    state = namespace.subscribe("s")
    with pytest.raises(Unsupported):
        state.fileno()
    state.close()
    with pytest.raises(Closed):
        state.fileno()


def test_the_functions_for_several_states_are_here_too(namespace: MemoryNamespace) -> None:
    """K68: transaction() and snapshot() beside the methods."""
    a, b = (namespace.subscribe(name, "rw", size=8) for name in "ab")
    late = transaction(b, a)
    with transaction(a, b) as txn:
        txn[a].data[0] = txn[b].data[0] = 1
    late.data[0] = 2
    with pytest.raises(Conflict):
        late.commit()
    assert [one.data[0] for one in snapshot(a, b)] == [1, 1]
    stranger: Any = object()
    with pytest.raises(TypeError):
        transaction(a, stranger)


def test_a_consumer_that_is_cancelled_is_forgotten(namespace: MemoryNamespace) -> None:
    """K54: commits ring nobody any more."""
    state = namespace.subscribe("s", "rw", size=8)

    async def consume() -> None:
        async with contextlib.aclosing(state.changes()) as changes:
            async for _ in changes:
                pass

    async def main() -> None:
        tasks = [asyncio.create_task(consume()) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(state._record.waiting) == 3
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert state._record.waiting == []

    asyncio.run(main())


def test_a_mode_is_checked() -> None:
    """K19: as for files."""
    for mode in (0o400, 0o666, 0o700):
        with pytest.raises(InvalidArgument):
            MemoryNamespace(mode=mode)
    assert "closed" not in repr(MemoryNamespace(mode=0o640))


def test_the_manuals_example_runs(project: Path) -> None:
    """§2.6: as it is printed."""
    manual = (project / "docs" / "reference" / "testing.md").read_text()
    example = manual.split("```python\n")[1].split("```")[0]
    exec(compile(example, "testing.md", "exec"), {})


def test_pytest_is_not_imported() -> None:
    """§3: a simulation does not need it."""
    source = "import sys, holdfast.testing; print({'pytest'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
