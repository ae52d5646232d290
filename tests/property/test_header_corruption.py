"""A retained state's file, damaged while nobody was subscribed: refused untouched, or sound."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import pytest
from _pytest.mark import ParameterSet
from hypothesis import HealthCheck, given, settings

from holdfast.errors import Busy, Damaged, LayoutMismatch
from holdfast.state import Namespace, State, View
from tests.fixtures_state import RunScript

SIZE = 64
HEADER, SLOTS, SLOT = 1024, 8, 64
SLOT_FACTS = {
    "tag": (0, 8),
    "extent": (8, 8),
    "size": (16, 4),
    "flags": (20, 4),
    "time": (24, 8),
    "pid": (32, 4),
    "reserved": (36, 4),
    "descriptor": (40, 8),
    "unused": (48, 16),
}
FIELDS = {
    "magic": (0, 8),
    "layout": (8, 4),
    "endian": (12, 4),
    "page size": (16, 4),
    "slots": (20, 4),
    "incarnation": (24, 16),
    "created": (40, 8),
    "flags": (48, 4),
    "first capacity": (52, 4),
    "checksum": (56, 4),
    "ring": (60, 1),
    "unused": (61, 3),
    "head": (64, 8),
    "padding of head": (72, 56),
    "next subscriber": (128, 8),
    "padding of subscriber": (136, 56),
    "owners": (192, 64),
    "name length": (768, 4),
    "name": (772, 200),
    "padding of name": (972, 4),
    "persistence": (976, 48),
}
REFUSALS = (LayoutMismatch, Damaged)


def fields(names: Iterable[str]) -> list[ParameterSet]:
    return [pytest.param(name) for name in names]


@pytest.fixture
def retaining(directory: Path) -> Iterator[Namespace]:
    with Namespace(directory, retain=True) as namespace:
        yield namespace


@pytest.fixture
def file(retaining: Namespace) -> Path:
    """A sound file, whose version 11 lies in slot 3."""
    with retaining.subscribe("s", "rw", size=SIZE) as state:
        for number in range(1, 12):
            put(state, number)
        return Path(state.path)


def put(state: State, number: int) -> bytes:
    """Commit a content that is one byte all over, so that a mixture shows."""
    content = bytes([number % 256]) * state.size
    state.transact(lambda txn: txn.write(0, content))
    return content


def restore(file: Path, content: bytes) -> None:
    """Put bytes into the same inode."""
    with file.open("r+b", buffering=0) as opened:
        opened.truncate(len(content))
        opened.write(content)


def examine(namespace: Namespace, file: Path) -> str:
    """Subscribe to what is there; what came of it. Fails if it is neither refused nor sound."""
    outcome = ""
    for permissions in ("r", "rw"):
        before = file.read_bytes()
        try:
            state = namespace.subscribe("s", permissions)
        except REFUSALS:
            assert file.read_bytes() == before, f"{permissions}: refused, but changed"
            outcome += "-"
            continue
        outcome += "+"
        with state:
            assert_sound(state)
            if permissions == "rw":
                assert_writable(namespace, state)
    return outcome


def assert_sound(state: State) -> None:
    snapshot = state.snapshot()
    assert 1 <= len(snapshot.data) == state.size <= os.sysconf("SC_PAGESIZE")
    assert state.read() == snapshot.data
    assert state.version == snapshot.version
    with state.transaction() as txn:
        assert bytes(txn.data) == snapshot.data
    assert not state.transaction().commit() - snapshot.version


def assert_writable(namespace: Namespace, state: State) -> None:
    """Twenty commits: each is read, and no view is spoilt without its check() saying so."""
    views: list[tuple[View, bytes]] = []
    with namespace.subscribe("s") as reader:
        for number in range(20):
            try:
                content = put(state, state.version + number + 1)
            except (Damaged, Busy):
                return  # said so; nothing false was shown
            assert reader.read() == state.read() == content
            views.append((reader.view(), content))
            for view, expected in views:
                assert bytes(view) == expected or not view.check(), "spoilt, and check() says no"


def mutations(original: bytes) -> Iterator[bytes]:
    """Each byte in turn, then the whole field as a number."""
    for i, byte in enumerate(original):
        for other in {byte ^ 0xFF, byte ^ 1, byte ^ 0x80, (byte + 1) % 256, 0} - {byte}:
            yield original[:i] + bytes([other]) + original[i + 1 :]
    if len(original) in {4, 8}:
        bits = 8 * len(original)
        for number in {0, 1, 64, 1024, 1 << (bits - 1), (1 << bits) - 1, 1 << (bits // 2)}:
            yield number.to_bytes(len(original), "little")


def sweep(namespace: Namespace, file: Path, offset: int, length: int) -> set[str]:
    sound = file.read_bytes()
    outcomes = set()
    for field in mutations(sound[offset : offset + length]):
        if field == sound[offset : offset + length]:
            continue
        restore(file, sound[:offset] + field + sound[offset + length :])
        try:
            outcomes.add(examine(namespace, file))
        except Exception as error:
            error.add_note(
                f"at {offset}: {field.hex()} for {sound[offset : offset + length].hex()}"
            )
            raise
    return outcomes


@pytest.mark.parametrize("field", fields(FIELDS))
def test_every_field_of_the_header_is_checked_or_harmless(
    retaining: Namespace, file: Path, field: str
) -> None:
    """K1, K65: LayoutMismatch or Damaged with the file untouched, or a state that works."""
    outcomes = sweep(retaining, file, *FIELDS[field])
    if FIELDS[field][0] < 60 or field in {"name", "name length"}:  # what the checksum covers
        assert outcomes == {"--"}


@pytest.mark.parametrize("fact", fields(SLOT_FACTS))
@pytest.mark.parametrize("slot", [0, 3, 4, 7])
def test_every_fact_of_a_slot_is_checked_or_harmless(
    retaining: Namespace, file: Path, slot: int, fact: str
) -> None:
    """K1, K65: of the slot that is current (3), of the next, the first and the last."""
    offset, length = SLOT_FACTS[fact]
    sweep(retaining, file, 256 + slot * SLOT + offset, length)


def test_a_size_beyond_the_page_is_refused(retaining: Namespace, file: Path) -> None:
    """K65: whatever the file claims."""
    sound = file.read_bytes()
    place = 256 + 3 * SLOT + SLOT_FACTS["size"][0]
    for size in (0, SIZE + 1, 4097, 1 << 31, (1 << 32) - 1):
        restore(file, sound[:place] + size.to_bytes(4, "little") + sound[place + 4 :])
        assert examine(retaining, file) == "--"


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    damage=st.lists(
        st.tuples(st.integers(64, HEADER - 17), st.binary(min_size=1, max_size=16)),
        min_size=1,
        max_size=6,
    )
)
def test_damage_in_several_places_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, bytes]]
) -> None:
    """K1, K65: random bytes in the part of the header that changes while a state lives."""
    with Namespace(tmp_path_factory.mktemp("states", numbered=True), retain=True) as namespace:
        with namespace.subscribe("s", "rw", size=SIZE) as state:
            for number in range(1, 12):
                put(state, number)
        file = Path(state.path)
        content = bytearray(file.read_bytes())
        for offset, data in damage:
            content[offset : offset + len(data)] = data
        restore(file, bytes(content))
        examine(namespace, file)


def test_no_length_of_a_file_is_a_fault(script: RunScript) -> None:
    """K1, K65: cut anywhere or extended, in a process that a SIGBUS would end."""
    said = script("""
        import os, sys
        from pathlib import Path
        from holdfast.state import Namespace
        from tests.property.test_header_corruption import SIZE, examine, put, restore

        namespace = Namespace(sys.argv[1], retain=True)
        with namespace.subscribe("s", "rw", size=SIZE) as state:
            for number in range(1, 12):
                put(state, number)
            small = Path(state.path).read_bytes()
            state.set_size(1000)
            for number in range(1, 12):
                put(state, number)
        file = Path(state.path)
        grown = file.read_bytes()
        outcomes = []
        lengths = {*range(0, len(small), 7), *range(len(small) - 66, len(small) + 2)}
        for length in sorted(lengths):
            restore(file, small[:length].ljust(length, b"."))
            outcomes.append(examine(namespace, file))
        sound = len(small)
        assert all(o == ("++" if n >= sound else "--") for n, o in zip(sorted(lengths), outcomes))
        for length in {*range(0, len(grown), 997), *range(0, len(grown), 4096), len(grown) - 1}:
            restore(file, grown[:length])
            examine(namespace, file)
        restore(file, grown)
        print(examine(namespace, file))
    """)
    assert said == "++"
