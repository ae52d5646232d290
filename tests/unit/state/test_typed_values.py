"""Values of a type in a state: `subscribe(type=...)`, `State.value`, `Transaction.value`."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from holdfast.errors import Damaged, InvalidArgument, NotPermitted
from holdfast.state import PAGE_SIZE, Namespace, State


@dataclass
class Point:
    x: int
    y: float = 0.0


class Packet(msgspec.Struct, array_like=True):
    name: str
    tags: dict[str, int] = {}


class Memory(ctypes.Structure):
    _fields_ = (("count", ctypes.c_uint32), ("level", ctypes.c_double))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Memory) and bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))


TYPES: dict[str, tuple[Any, list[Any]]] = {
    "dataclass": (Point, [Point(1), Point(-5, 2.5)]),
    "struct": (Packet, [Packet("a"), Packet("é" * 20, {"k": 1})]),
    "ctypes": (Memory, [Memory(1, 0.5), Memory(2**32 - 1, -1.0)]),
    "array": (ctypes.c_int16 * 3, [(ctypes.c_int16 * 3)(1, 2, 3)]),
    "dict": (dict[str, int], [{}, {"a": 1}, {"b": 2, "c": 3}]),
    "list": (list[float], [[], [1.5, 2.5]]),
    "string": (str, ["", "hello", "x" * 100]),
    "integer": (int, [0, -1, 2**63]),
}


def assign(state: State, value: Any) -> None:
    with state.transaction() as txn:
        txn.value = value


@pytest.mark.parametrize("name", TYPES)
def test_what_was_assigned_is_read_by_everybody(namespace: Namespace, name: str) -> None:
    """K35, K41: by other handles, in the transaction itself, and after a change."""
    kind, values = TYPES[name]
    with (
        namespace.subscribe("s", "rw", type=kind) as writer,
        namespace.subscribe("s", type=kind) as reader,
    ):
        for value in values:
            with writer.transaction() as txn:
                txn.value = value
                assert equal(txn.value, value)
            assert equal(reader.value, value)
            assert equal(writer.value, value)


def equal(a: Any, b: Any) -> bool:
    return bytes(a) == bytes(b) if isinstance(b, ctypes.Array) else bool(a == b)


@pytest.mark.parametrize("layout", ["<2i", struct.Struct("<2i")], ids=["format", "Struct"])
def test_a_struct_format_makes_tuples(namespace: Namespace, layout: str | struct.Struct) -> None:
    """K35: packed without padding."""
    with namespace.subscribe("s", "rw", type=layout) as state:
        assert state.size == 8
        assign(state, (1, -2))
        assert state.value == (1, -2)
        assert state.read() == struct.pack("<2i", 1, -2)


def test_a_struct_format_reads_what_was_packed(namespace: Namespace) -> None:
    """K35: by whatever program."""
    with namespace.subscribe("s", "rw", type="<2i") as state:
        state.transact(lambda txn: struct.pack_into("<2i", txn.data, 0, 3, -4))
        assert state.value == (3, -4)
        assign(state, [5, 6])
        assert state.value == (5, 6)


def test_an_unwritten_state_has_no_value(namespace: Namespace) -> None:
    """K34: None, whatever the type."""
    for number, kind in enumerate([Point, Memory, "<2i", dict[str, int]]):
        with namespace.subscribe(f"s{number}", "rw", type=kind) as state:
            assert state.value is None
            state.set_size(64)
            assert state.value is None


@pytest.mark.parametrize(
    ("kind", "size"), [("<6d", 48), (Memory, 16), ("B", 1), (ctypes.c_char * 100, 100)]
)
def test_a_type_of_fixed_size_gives_the_size(namespace: Namespace, kind: Any, size: int) -> None:
    """K22: of a state made here; one that has another size is refused once written."""
    with namespace.subscribe("s", "rw", type=kind) as state:
        assert state.size == size
        state.transact(lambda txn: txn.write(0, b"\1"))
        with pytest.raises(InvalidArgument):
            namespace.subscribe("s", "rw", type=ctypes.c_char * (size + 1))


def test_a_type_of_no_fixed_size_gets_a_page(namespace: Namespace) -> None:
    """K22: unless told otherwise."""
    with (
        namespace.subscribe("a", type=Point) as a,
        namespace.subscribe("b", type=str, size=10) as b,
    ):
        assert (a.size, b.size) == (PAGE_SIZE, 10)


def test_a_ctypes_value_is_a_copy(namespace: Namespace) -> None:
    """K37: it does not change with the state, nor the state with it."""
    with namespace.subscribe("s", "rw", type=Memory) as state:
        assign(state, Memory(1, 1.0))
        value = state.value
        assign(state, Memory(2, 2.0))
        assert value == Memory(1, 1.0)
        value.count = 3
        assert state.value == Memory(2, 2.0)


def test_a_shorter_value_replaces_a_longer_one_whole(namespace: Namespace) -> None:
    """K41: nothing of the longer one shows."""
    with namespace.subscribe("s", "rw", type=dict[str, int]) as state:
        assign(state, {"long" * 10: 1, "longer" * 10: 2})
        assign(state, {})
        assert state.value == {}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Memory, b"123456789012"),
        (Memory, None),
        (Memory, {"count": 1}),
        ("<2i", [1]),
        ("<2i", [1, 2, 3]),
        ("<2i", ["a", "b"]),
        ("<2i", 5),
        ("<2B", [1, 300]),
        (dict[str, int], object()),
        (dict[str, Any], {"x": lambda: None}),
        (str, "x" * PAGE_SIZE),
        pytest.param("<1f", [1e300]),
        pytest.param(int, 1 << 64),
        pytest.param(str, "\ud800"),
    ],
)
def test_a_value_that_does_not_fit_the_type_is_refused(
    namespace: Namespace, kind: Any, value: Any
) -> None:
    """K41: InvalidArgument; the private copy is as it was."""
    with namespace.subscribe("s", "rw", type=kind) as state:
        txn = state.transaction()
        before = bytes(txn.data)
        with pytest.raises(InvalidArgument) as caught:
            txn.value = value
        assert type(caught.value) is InvalidArgument
        assert bytes(txn.data) == before
        txn.abort()


@pytest.mark.parametrize("kind", ["<Q!", "<%", object(), 5, 1.5, "", ctypes.c_char * 0])
def test_what_is_no_type_is_refused(namespace: Namespace, kind: Any) -> None:
    """K17: InvalidArgument, and nothing is made."""
    with pytest.raises(InvalidArgument):
        namespace.subscribe("s", "rw", type=kind)
    assert namespace.names() == []


def test_a_type_larger_than_a_page_is_refused(namespace: Namespace) -> None:
    """K15: InvalidArgument, and nothing is made."""
    with pytest.raises(InvalidArgument):
        namespace.subscribe("s", "rw", type=ctypes.c_char * (PAGE_SIZE + 1))
    assert namespace.names() == []


def test_without_a_type_there_is_no_value(namespace: Namespace) -> None:
    """K35: InvalidArgument that says what to do."""
    with namespace.subscribe("s", "rw") as state:
        with pytest.raises(InvalidArgument, match="type="):
            _ = state.value
        txn = state.transaction()
        with pytest.raises(InvalidArgument, match="type="):
            _ = txn.value
        with pytest.raises(InvalidArgument, match="type="):
            txn.value = 1
        with pytest.raises(AttributeError):
            del txn.value
        txn.abort()


def test_a_reader_assigns_nothing(namespace: Namespace) -> None:
    """K40: its transactions are frozen."""
    with namespace.subscribe("s", type=Point) as reader:
        txn = reader.transaction()
        with pytest.raises(NotPermitted):
            txn.value = Point(1)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (dict[str, int], b"\xff\xff\xff\xff" + b"x" * 28),
        (dict[str, int], b"\5\0\0\0" + b"\xc1" * 28),
        (Point, struct.pack("<I", 5) + msgspec.msgpack.encode("text")),
        (list[int], struct.pack("<I", 2) + b"\xa1x"),
    ],
)
def test_bytes_that_are_no_value_are_damage(namespace: Namespace, kind: Any, data: bytes) -> None:
    """K35: Damaged; the bytes can still be read as bytes."""
    with (
        namespace.subscribe("s", "rw", size=32) as raw,
        namespace.subscribe("s", type=kind) as state,
    ):
        raw.transact(lambda txn: txn.write(0, data))
        with pytest.raises(Damaged):
            _ = state.value
        assert state.read().startswith(data)


@pytest.mark.parametrize("kind", ["<2q", Memory, dict[str, int]])
def test_a_state_too_small_for_the_type_is_damage(namespace: Namespace, kind: Any) -> None:
    """K35: where somebody insisted on a size, or resized it before the first write."""
    with namespace.subscribe("s", "rw", size=2, type=kind) as state:
        state.transact(lambda txn: txn.write(0, b"xx"))
        with pytest.raises(Damaged):
            _ = state.value
