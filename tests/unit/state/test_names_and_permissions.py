"""What a state may be called, and what a subscriber may be allowed."""

from __future__ import annotations

import itertools
import locale
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InvalidArgument, NotPermitted
from holdfast.state import Namespace, Permission

GOOD_NAMES = [
    "a",
    "Z",
    "0",
    "42",
    "a.b",
    "ab.cd",
    "abc.d",
    "1.2.3",
    "imu.raw.2",
    "MixedCase.And.9",
    ".".join("a" * 100),
    "x" * 200,
]

BAD_NAMES = [
    "",
    ".",
    "..",
    ".a",
    "a.",
    "a..b",
    "a...b",
    "/",
    "/a",
    "a/b",
    "../a",
    "a b",
    " a",
    "a\n",
    "a\0",
    "\0",
    "a_b",
    "a-b",
    "a:b",
    "$.STATE",
    "*",
    "é",
    "naïve",
    "\N{FULLWIDTH LATIN SMALL LETTER A}",
    "\N{ARABIC-INDIC DIGIT THREE}",
    "\ud800",
    "x" * 201,
    "a." * 100 + "a",
    "x" * 100_000,
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_words_of_ascii_letters_and_digits_with_single_dots_are_names(
    namespace: Namespace, name: str
) -> None:
    """K16: up to 200 characters; `ab.cd` is one, whatever its third character."""
    with namespace.subscribe(name, "rw", size=1) as state:
        assert state.name == name
        assert namespace.names() == [name]
        assert os.path.exists(state.path)


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("create", [True, False])
def test_anything_else_is_refused_and_nothing_is_made(
    namespace: Namespace, directory: Path, name: str, create: bool
) -> None:
    """K16: the original's list of bad names and more."""
    with pytest.raises(InvalidArgument) as caught:
        namespace.subscribe(name, "rw", create=create)
    assert len(str(caught.value)) < 300
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("name", [b"imu", None, 7, Path("imu"), ["imu"]])
def test_a_name_is_a_string(namespace: Namespace, directory: Path, name: Any) -> None:
    """K16: anything that is not a str is refused."""
    with pytest.raises(InvalidArgument):
        namespace.subscribe(name, "rw")
    assert list(directory.iterdir()) == []


def test_names_differ_by_case(namespace: Namespace) -> None:
    """K16: `imu` and `IMU` are two states."""
    with namespace.subscribe("imu", "rw", size=1) as a, namespace.subscribe("IMU", size=1) as b:
        with a.transaction() as txn:
            txn.data[0] = 1
        assert b.read() == b"\0"
        assert namespace.names() == ["IMU", "imu"]


def test_names_do_not_depend_on_the_locale(namespace: Namespace) -> None:
    """K16: isalnum(3) would let é pass in a Latin-1 locale."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        for candidate in ("fr_FR.ISO8859-1", "de_DE.ISO8859-1", "C.UTF-8"):
            try:
                locale.setlocale(locale.LC_CTYPE, candidate)
            except locale.Error:
                continue
            with pytest.raises(InvalidArgument):
                namespace.subscribe("été", "rw")
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


# -- permissions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(16))
def test_of_four_bits_only_read_and_write_are_known(
    namespace: Namespace, directory: Path, bits: int
) -> None:
    """K18: READ, WRITE and both are permissions; none and unknown bits are not."""
    if bits in {1, 2, 3}:
        with namespace.subscribe("s", bits) as state:
            assert state.permissions == ("r" if bits == 1 else "rw")
    else:
        with pytest.raises(InvalidArgument):
            namespace.subscribe("s", bits)
        assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("r", "r"),
        ("w", "rw"),
        ("rw", "rw"),
        (Permission.READ, "r"),
        (Permission.WRITE, "rw"),
        (Permission.READ | Permission.WRITE, "rw"),
    ],
)
def test_write_alone_means_read_and_write(
    namespace: Namespace, given: str | Permission, meant: str
) -> None:
    """K18: a transaction starts from a copy, so that writing includes reading."""
    with namespace.subscribe("s", given) as state:
        assert state.permissions == meant
        assert state.read() == bytes(state.size)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        "R",
        "RW",
        "rwx",
        "r ",
        "rr",
        "é",
        -1,
        16,
        1 << 70,
        None,
        True,
        False,
        1.5,
        b"r",
        Permission(0),
        pytest.param(1.0),
        pytest.param(["r"]),
    ],
)
def test_anything_else_is_no_permission(namespace: Namespace, directory: Path, given: Any) -> None:
    """K18: refused before anything is made."""
    with pytest.raises(InvalidArgument):
        namespace.subscribe("s", given)
    assert list(directory.iterdir()) == []


def test_a_read_only_handle_changes_nothing(namespace: Namespace) -> None:
    """K18, K23, K30, K40: each way to change the state is refused, and the state is as it was."""
    with namespace.subscribe("s", "rw", size=4) as writer, namespace.subscribe("s") as reader:
        with writer.transaction() as txn:
            txn.data[:] = b"abcd"
        before = writer.snapshot()
        attempts: list[Callable[[], object]] = [
            lambda: reader.set_size(8),
            reader.delete,
            lambda: reader.transact(bool),
            lambda: reader.transaction().write(0, b"x"),
        ]
        for attempt in attempts:
            with pytest.raises(NotPermitted):
                attempt()
        frozen = reader.transaction()
        with pytest.raises(TypeError):
            frozen.data[0] = 1
        assert writer.snapshot() == before
        assert reader.snapshot() == before


# -- sizes ----------------------------------------------------------------------------------------


def test_a_state_holds_one_byte_to_one_page(namespace: Namespace) -> None:
    """K15: 1 and the page size are accepted, and every byte can be used."""
    page = os.sysconf("SC_PAGESIZE")
    for number, size in enumerate([1, 2, 63, 64, 65, 1000, page - 1, page]):
        with namespace.subscribe(f"s{number}", "rw", size=size) as state:
            content = bytes(itertools.islice(itertools.cycle(range(1, 256)), size))
            with state.transaction() as txn:
                assert len(txn.data) == size
                txn.data[:] = content
            assert (state.size, state.read()) == (size, content)


@pytest.mark.parametrize("size", [0, -1, os.sysconf("SC_PAGESIZE") + 1, 1 << 70, 8.0, "8", True])
def test_other_sizes_are_refused_and_nothing_is_made(
    namespace: Namespace, directory: Path, size: Any
) -> None:
    """K15: refused at subscription and by set_size."""
    with pytest.raises(InvalidArgument):
        namespace.subscribe("s", "rw", size=size)
    assert list(directory.iterdir()) == []
    with namespace.subscribe("s", "rw", size=8) as state:
        with pytest.raises(InvalidArgument):
            state.set_size(size)
        assert (state.size, state.version) == (8, 0)
