"""Reading: one consistent snapshot, and what is true of each way to have it."""

from __future__ import annotations

import array
import ctypes
import gc
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import Closed, InvalidArgument
from holdfast.state import Namespace, Snapshot, State
from tests.fixtures_state import MakePeer

SLOTS = 8


@pytest.fixture
def writer(namespace: Namespace) -> State:
    return namespace.subscribe("s", "rw", size=8)


@pytest.fixture
def reader(namespace: Namespace, writer: State) -> State:
    return namespace.subscribe("s")


def put(state: State, data: bytes) -> int:
    txn = state.transaction()
    txn.data[: len(data)] = data
    return txn.commit(force=True)


# -- what nobody has written ----------------------------------------------------------------------


def test_an_unwritten_state_reads_as_zeros_or_as_the_default(reader: State) -> None:
    """K34: zeros by themselves; `default` where one is given, whatever it is."""
    assert reader.read() == bytes(8)
    assert reader.read(b"none") == b"none"
    assert reader.read(default=0) == 0
    nothing = object()
    assert reader.read(nothing) is nothing
    assert reader.read(None) == bytes(8)


def test_a_change_of_size_is_no_writing(writer: State, reader: State) -> None:
    """K23, K34: the default is still given."""
    writer.set_size(4)
    assert reader.read(default="unwritten") == "unwritten"
    put(writer, b"")
    assert reader.written
    assert reader.read(default="unwritten") == bytes(4)


def test_a_read_takes_at_most_one_argument(reader: State) -> None:
    """K35: TypeError otherwise, as for any function."""
    anyhow: Any = reader
    with pytest.raises(TypeError):
        anyhow.read(1, 2)
    with pytest.raises(TypeError):
        anyhow.read(other=1)


# -- bytes ----------------------------------------------------------------------------------------


def test_a_read_gives_bytes_that_never_change(writer: State, reader: State) -> None:
    """K5, K35, K37: what was read is the reader's for ever."""
    put(writer, b"first")
    first = reader.read()
    for _ in range(3 * SLOTS):
        put(writer, b"other")
    assert first == b"first\0\0\0"
    assert type(first) is bytes
    assert reader.read()[:5] == b"other"


def test_each_read_is_of_the_newest_version(writer: State, reader: State) -> None:
    """K5: for 10,000 commits in turn."""
    for number in range(10_000):
        put(writer, number.to_bytes(8, "little"))
        assert int.from_bytes(reader.read(), "little") == number


def test_readinto_fills_a_buffer_of_the_reader(writer: State, reader: State) -> None:
    """K35: any writable buffer that is long enough; the rest of it stays."""
    put(writer, b"12345678")
    long = bytearray(b"." * 12)
    assert reader.readinto(long) == 8
    assert long == b"12345678...."
    numbers = array.array("q", [0, -1])
    assert reader.readinto(numbers) == 8
    assert numbers[0] == int.from_bytes(b"12345678", "little")
    part = memoryview(long)[4:]
    assert reader.readinto(part) == 8
    assert long == b"123412345678"


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_buffer_that_is_too_short_is_refused(writer: State, reader: State, length: int) -> None:
    """K35: InvalidArgument; the buffer is untouched, and nothing counts as shown."""
    put(writer, b"12345678")
    short = bytearray(b"." * length)
    with pytest.raises(InvalidArgument):
        reader.readinto(short)
    assert short == b"." * length
    assert reader.changed()


def test_readinto_wants_a_writable_buffer(writer: State, reader: State) -> None:
    """K35: anything else is refused by Python's own rule."""
    for wrong in (b"12345678", "12345678", None, 8):
        with pytest.raises((TypeError, BufferError)):
            reader.readinto(wrong)  # type: ignore[arg-type]


# -- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_says_what_who_and_when(writer: State, reader: State, peer: MakePeer) -> None:
    """K35, U10: bytes, version, incarnation, CLOCK_BOOTTIME and process of one commit."""
    fresh = reader.snapshot()
    assert fresh == Snapshot(bytes(8), 0, reader.incarnation, 0, 0)
    assert re.fullmatch("[0-9a-f]{32}", fresh.incarnation)
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    put(writer, b"mine")
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    mine = reader.snapshot()
    assert (mine.data, mine.version, mine.pid) == (b"mine\0\0\0\0", 1, os.getpid())
    assert before <= mine.time_ns <= after
    other = peer()
    other("s = ns.subscribe('s', 'rw')\nwith s.transaction() as t: t.data[:4] = b'hers'")
    hers = reader.snapshot()
    assert (hers.data[:4], hers.version, hers.pid) == (b"hers", 2, other.pid)
    assert hers.time_ns >= after


def test_a_snapshot_is_a_value(writer: State, reader: State) -> None:
    """K35: frozen, and equal to any other of that version."""
    put(writer, b"x")
    snapshot = reader.snapshot()
    assert snapshot == writer.snapshot()
    with pytest.raises(AttributeError):
        snapshot.version = 2  # type: ignore[misc]


def test_info_tells_what_is_known(writer: State, reader: State, directory: Path) -> None:
    """U10: of the state and of the handle; asking counts as no look."""
    put(writer, b"x")
    txn = writer.transaction()
    put(writer, b"y")
    txn.data[0] = 1
    with pytest.raises(Exception, match="somebody committed"):
        txn.commit()
    info = writer.info()
    assert (info.name, info.path, info.permissions) == ("s", f"{directory}/s.state", "rw")
    assert (info.size, info.version, info.written, info.retained) == (8, 2, True, False)
    assert (info.commits, info.conflicts, info.persistent) == (2, 1, None)
    assert (info.others, info.pid, info.slots_filling) == (True, os.getpid(), 0)
    assert abs(time.time_ns() - info.created_ns) < 3600e9
    assert reader.info().commits == 0
    assert reader.info().watch is None
    assert reader.changed()


# -- views ----------------------------------------------------------------------------------------


def address(buffer: memoryview) -> int:
    class Pointer(ctypes.Structure):
        _fields_ = (
            ("buf", ctypes.c_void_p),
            ("obj", ctypes.py_object),
            ("len", ctypes.c_ssize_t),
            ("rest", ctypes.c_void_p * 9),
        )

    raw = Pointer()
    api = ctypes.pythonapi
    assert api.PyObject_GetBuffer(ctypes.py_object(buffer), ctypes.byref(raw), 0) == 0
    try:
        return int(raw.buf or 0)
    finally:
        api.PyBuffer_Release(ctypes.byref(raw))


def mappings(of: str) -> list[tuple[range, str]]:
    """Address ranges and protections of this process' mappings of files so called."""
    found = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            if of in line:
                ends, protection = line.split()[:2]
                low, high = (int(end, 16) for end in ends.split("-"))
                found.append((range(low, high), protection))
    return found


def test_a_view_lies_in_shared_memory(writer: State, reader: State) -> None:
    """K36, K21: a reader's lies in a mapping that can only be read."""
    put(writer, b"shared")
    where = address(reader.view().memoryview)
    inside = [protection for place, protection in mappings("s.state") if where in place]
    assert inside == ["r--s"]


def test_a_view_is_read_only_for_everybody(writer: State, reader: State) -> None:
    """K21, K36: a writer's too."""
    for handle in (writer, reader):
        view = handle.view()
        assert view.memoryview.readonly
        with pytest.raises(TypeError):
            view.memoryview[0] = 1
        with pytest.raises(TypeError):
            (ctypes.c_char * 8).from_buffer(view)


def test_a_view_shows_one_version_as_long_as_check_says_so(writer: State, reader: State) -> None:
    """K37: its slot is used again after seven more commits, not before."""
    put(writer, b"version1")
    view = reader.view()
    assert (view.version, len(view), bytes(view)) == (1, 8, b"version1")
    for number in range(2, SLOTS + 1):
        put(writer, f"version{number}".encode())
        assert bytes(view) == b"version1"
        assert view.check(), number
    put(writer, b"version9")
    assert not view.check()
    assert (view.version, reader.view().version) == (1, 9)
    for number in range(10, 40):
        put(writer, f"v{number}".encode())
        assert not view.check()


def test_a_view_outlives_its_handle(writer: State, reader: State) -> None:
    """K37: the address stays good as long as a view or a memoryview of it exists."""
    put(writer, b"survives")
    view = reader.view()
    memory = view.memoryview
    part = memory[2:4]
    reader.close()
    assert bytes(memory) == b"survives"
    assert view.check()
    writer.close()
    del view, memory, reader, writer
    gc.collect()
    assert bytes(part) == b"rv"


def test_a_view_of_a_closed_handle_subscribes_nobody(namespace: Namespace, writer: State) -> None:
    """K26, K37: the state evaporates although its memory is still mapped here."""
    put(writer, b"old")
    memory = writer.view().memoryview
    writer.close()
    assert namespace.names() == []
    with namespace.subscribe("s", size=8) as fresh:
        assert fresh.read() == bytes(8)
        assert bytes(memory) == b"old\0\0\0\0\0"


def test_a_closed_handle_maps_nothing(writer: State, reader: State, directory: Path) -> None:
    """K37: without a view the memory is given back at once, not when the handle is collected."""
    assert len(mappings(f"{directory}/s.state")) == 2
    writer.close()
    reader.close()
    assert mappings(f"{directory}/s.state") == []


def test_a_view_of_a_grown_state_has_its_size(writer: State, reader: State) -> None:
    """K25, K36: a view has the size of its version."""
    put(writer, b"small")
    small = reader.view()
    writer.set_size(1000)
    large = reader.view()
    assert (len(small), len(large)) == (8, 1000)
    assert bytes(large) == b"small".ljust(1000, b"\0")
    assert small.check()


def test_storing_through_a_readers_pointer_is_a_fault(peer: MakePeer) -> None:
    """K21: SIGSEGV, as in the original: the memory cannot be written."""
    victim = peer()
    victim("import ctypes, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))")
    victim("w = ns.subscribe('s', 'rw', size=64); r = ns.subscribe('s')")
    victim(
        "maps = [l.split() for l in open('/proc/self/maps') if 's.state' in l]\n"
        "place = next(int(m[0].split('-')[0], 16) for m in maps if m[1] == 'r--s')"
    )
    # A sanitizer catches the signal, says so, and exits with 1.
    assert victim.leave("ctypes.memset(place, 1, 1)") in {-signal.SIGSEGV, 1}


def test_leaving_a_with_block_closes(namespace: Namespace) -> None:
    """K19: and an exception passes through."""
    with pytest.raises(ZeroDivisionError), namespace.subscribe("s") as state:
        raise ZeroDivisionError
    with pytest.raises(Closed):
        state.read()
