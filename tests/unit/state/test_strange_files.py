"""Something else in the place of a state: the right exception, and not a byte of it touched."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.errors import Damaged, HoldfastError, LayoutMismatch, NotPermitted
from holdfast.state import PAGE_SIZE, Namespace

MAGIC, LAYOUT, ENDIAN, PAGE, SLOTS = 0, 8, 12, 16, 20  # offsets of layout.h


@pytest.fixture
def retaining(directory: Path) -> Iterator[Namespace]:
    with Namespace(directory, retain=True) as namespace:
        yield namespace


@pytest.fixture
def file(retaining: Namespace, directory: Path) -> Path:
    """The file of a sound retained state that nobody is subscribed to."""
    with retaining.subscribe("s", "rw", size=64) as state:
        with state.transaction() as txn:
            txn.data[:5] = b"sound"
        return Path(state.path)


def identity(path: Path) -> tuple[int, int, int, bytes | str | None]:
    """Which file it is, and what is in it."""
    facts = os.lstat(path)
    content: bytes | str | None = None
    if stat.S_ISREG(facts.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(facts.st_mode):
        content = os.readlink(path)
    return facts.st_ino, facts.st_mode, facts.st_mtime_ns, content


def refused(
    namespace: Namespace, path: Path, kind: type[HoldfastError], *, create: bool = True
) -> HoldfastError:
    """Subscribing raises exactly that, in each way, and leaves the file as it was."""
    before = identity(path)
    others = set(os.listdir(path.parent)) | {".lock"}
    raised: HoldfastError | None = None
    for permissions in ("r", "rw"):
        with pytest.raises(HoldfastError) as caught:
            namespace.subscribe("s", permissions, create=create)
        assert type(caught.value) is kind, (permissions, repr(caught.value))
        assert identity(path) == before
        raised = caught.value
    assert set(os.listdir(path.parent)) == others
    assert raised is not None
    assert raised.on in {"s", str(path)}
    assert raised.hint
    return raised


@pytest.mark.parametrize("retain", [True, False])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"hello, world\n" * 400, bytes(4096), os.urandom(9216), b"Holdfas", b"\xff" * 2000],
    ids=["empty", "byte", "text", "zeros", "noise", "short", "ones"],
)
def test_a_foreign_file_is_refused(directory: Path, content: bytes, retain: bool) -> None:
    """K1, K26: LayoutMismatch, in a namespace that retains and in one that does not."""
    with Namespace(directory, retain=retain) as namespace:
        path = directory / "s.state"
        path.write_bytes(content)
        refused(namespace, path, LayoutMismatch)
        refused(namespace, path, LayoutMismatch, create=False)


@pytest.mark.parametrize("length", [1, 7, 8, 63, 64, 511, 1023])
def test_a_file_cut_within_its_header_is_refused(
    retaining: Namespace, file: Path, length: int
) -> None:
    """K1: it is no state any more."""
    os.truncate(file, length)
    refused(retaining, file, LayoutMismatch)


@pytest.mark.parametrize("length", [1024, 1025, 1087, 1024 + 7 * 64, 1024 + 8 * 64 - 1])
def test_a_file_cut_within_its_slots_is_refused(
    retaining: Namespace, file: Path, length: int
) -> None:
    """K1: Damaged, and never SIGBUS."""
    os.truncate(file, length)
    refused(retaining, file, Damaged)


def test_a_grown_state_that_was_cut_back_is_refused(retaining: Namespace, file: Path) -> None:
    """K1, K25: the same with an extent in the growth area."""
    whole = file.stat().st_size
    with retaining.subscribe("s", "rw") as state:
        state.set_size(PAGE_SIZE)
    assert file.stat().st_size > whole
    os.truncate(file, whole)
    refused(retaining, file, Damaged)


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (MAGIC, b"Homefast", "not a state"),
        (LAYOUT, struct.pack("<I", 2), "layout 2"),
        (LAYOUT, struct.pack("<I", 0), "layout 0"),
        (LAYOUT, b"\xff\xff\xff\xff", "layout"),
        (ENDIAN, struct.pack(">I", 0x01020304), "byte order"),
        (PAGE, struct.pack("<I", 2 * PAGE_SIZE), "page size"),
        (SLOTS, struct.pack("<I", 4), "slots"),
    ],
)
def test_another_layout_is_named_and_refused(
    retaining: Namespace, file: Path, offset: int, value: bytes, words: str
) -> None:
    """K1: magic, layout, byte order, page size, number of slots: an error, never a guess."""
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(value)
    assert words in str(refused(retaining, file, LayoutMismatch))


def test_a_state_with_the_name_of_another_is_refused(
    retaining: Namespace, file: Path, directory: Path
) -> None:
    """K16, K26: a file that was copied or renamed by hand."""
    for other in ("t", "sx", "S"):
        copy = directory / f"{other}.state"
        shutil.copy(file, copy)
        before = identity(copy)
        with pytest.raises(Damaged, match="'s'"):
            retaining.subscribe(other, "rw")
        assert identity(copy) == before


def test_a_symbolic_link_is_refused(retaining: Namespace, file: Path, directory: Path) -> None:
    """§5.1: to a sound state, to nothing, to itself; nothing is made behind it."""
    real = directory.parent / "real.state"
    file.rename(real)
    for target in (real, directory.parent / "missing", file):
        file.unlink(missing_ok=True)
        file.symlink_to(target)
        refused(retaining, file, NotPermitted)
    assert sorted(path.name for path in directory.parent.iterdir()) == ["real.state", "states"]


def test_a_fifo_is_refused_without_waiting_for_its_other_end(
    retaining: Namespace, file: Path
) -> None:
    """K26: LayoutMismatch."""
    file.unlink()
    os.mkfifo(file)
    refused(retaining, file, LayoutMismatch)


def test_a_directory_is_refused(retaining: Namespace, file: Path) -> None:
    """K26: LayoutMismatch: it is no regular file."""
    file.unlink()
    file.mkdir()
    (file / "inside").touch()
    refused(retaining, file, LayoutMismatch)
    assert (file / "inside").exists()


def test_a_socket_is_refused(retaining: Namespace, file: Path) -> None:
    """K26: LayoutMismatch: it is no regular file."""
    file.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(file))
        refused(retaining, file, LayoutMismatch)


@pytest.mark.parametrize("content", [b"", b"short", bytes(4095)])
def test_a_bell_that_is_none_is_refused(
    retaining: Namespace, file: Path, directory: Path, content: bytes
) -> None:
    """§5.6: LayoutMismatch, and state and bell are as they were."""
    bell = directory / "s.bell"
    bell.write_bytes(content)
    before = identity(file), identity(bell)
    for permissions in ("r", "rw"):
        with pytest.raises(LayoutMismatch):
            retaining.subscribe("s", permissions)
    assert (identity(file), identity(bell)) == before


def test_without_its_bell_a_state_works_all_the_same(
    retaining: Namespace, file: Path, directory: Path
) -> None:
    """K55: changes are then looked for, and found."""
    (directory / "s.bell").unlink()
    with retaining.subscribe("s") as reader, retaining.subscribe("s", "rw") as writer:
        assert reader.read()[:5] == b"sound"
        reader.fileno()
        assert reader.info().watch == "timer"
        writer.transact(lambda txn: txn.write(0, b"still"))
        assert reader.wait(10)
        assert reader.read()[:5] == b"still"


def test_other_files_of_the_directory_are_no_states(namespace: Namespace, directory: Path) -> None:
    """K14: names() lists what ends in .state, sorted."""
    for name in ("readme.txt", "x.statement", ".hidden", "bell.bell"):
        (directory / name).touch()
    with namespace.subscribe("b"), namespace.subscribe("a"):
        assert namespace.names() == ["a", "b"]


def test_a_damaged_neighbour_disturbs_nobody(
    retaining: Namespace, file: Path, directory: Path
) -> None:
    """K14: each state is a file of its own."""
    file.write_bytes(b"rubbish")
    with retaining.subscribe("other", "rw", size=1) as state:
        state.transact(lambda txn: txn.write(0, b"x"))
        assert state.read() == b"x"
