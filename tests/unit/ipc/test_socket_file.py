"""The file of a socket: who may use it, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import AlreadyExists, InvalidArgument, NotFound, NotPermitted, Unavailable
from holdfast.ipc import SocketFile
from holdfast.ipc.socket_file import address_of, refused
from tests.unit.ipc.places import descriptors_open

LISTEN = """
import os, sys
from holdfast.ipc import SocketFile
file = SocketFile(sys.argv[1])
print("up", flush=True)
sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address_of(str(path)) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_only_its_owner_may_use_it_whatever_the_umask(place: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        file = SocketFile(str(place / "new" / "s"))
    finally:
        os.umask(before)
    with file:
        assert mode(place / "new" / "s") == 0o600
        assert mode(place / "new") == 0o700
        connect(place / "new" / "s").close()


def test_a_group_may_be_let_in(place: Path) -> None:
    with SocketFile(str(place / "new" / "s"), group=os.getegid()):
        assert mode(place / "new" / "s") == 0o660
        assert mode(place / "new") == 0o750
        assert (place / "new" / "s").stat().st_gid == os.getegid()
    with pytest.raises(InvalidArgument, match="no such group"):
        SocketFile(str(place / "t"), group="no-such-group-here")


def test_its_end_removes_it_and_closing_twice_is_harmless(place: Path) -> None:
    before = descriptors_open()
    file = SocketFile(str(place / "s"))
    file.close()
    file.close()
    assert not (place / "s").exists()
    assert descriptors_open() <= before


def test_another_server_is_left_alone(place: Path) -> None:
    with SocketFile(str(place / "s")):
        before = descriptors_open()
        with pytest.raises(AlreadyExists, match="another server"):
            SocketFile(str(place / "s"))
        assert descriptors_open() <= before
        connect(place / "s").close()


def test_a_server_of_another_kind_that_answers_is_left_alone(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(place / "s"))
        other.listen()
        with pytest.raises(AlreadyExists, match="another server"):
            SocketFile(str(place / "s"))
        connect(place / "s").close()


def test_what_is_no_socket_is_left_alone(place: Path) -> None:
    (place / "s").write_text("mine")
    with pytest.raises(AlreadyExists, match="something else"):
        SocketFile(str(place / "s"))
    assert (place / "s").read_text() == "mine"


def test_what_a_killed_server_left_is_replaced(place: Path) -> None:
    path = place / "s"
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout
        assert server.stdout.readline() == b"up\n"
        with pytest.raises(AlreadyExists):
            SocketFile(str(path))
        server.send_signal(signal.SIGKILL)
        server.wait()
        assert path.exists()
        with pytest.raises(ConnectionRefusedError):
            connect(path)
    with SocketFile(str(path)):
        connect(path).close()


def test_of_many_that_start_at_once_over_a_dead_one_a_single_one_wins(place: Path) -> None:
    path = place / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", LISTEN, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(4)
    ]
    try:
        said = [child.stdout.readline() for child in children if child.stdout]
        assert said.count(b"up\n") == 1
        connect(path).close()
    finally:
        for child in children:
            child.communicate()
    assert sorted(child.returncode for child in children) == [0, 1, 1, 1]


def test_a_file_that_somebody_else_made_since_is_not_removed(place: Path) -> None:
    file = SocketFile(str(place / "s"))
    (place / "s").unlink()
    (place / "s").write_text("other")
    file.close()
    assert (place / "s").read_text() == "other"


def test_a_directory_where_others_could_replace_it_is_refused(place: Path) -> None:
    place.chmod(0o777)
    with pytest.raises(NotPermitted):
        SocketFile(str(place / "s"))
    place.chmod(0o1777)  # as /tmp: they cannot
    with SocketFile(str(place / "s")):
        assert mode(place / "s") == 0o600
    place.chmod(0o700)


def test_it_is_never_wider_than_it_will_be(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    change = os.chmod

    def spy(path: str, bits: int) -> None:
        if path.endswith("/s"):
            seen.append(mode(Path(path)))
        change(path, bits)

    monkeypatch.setattr(os, "chmod", spy)
    before = os.umask(0)
    try:
        SocketFile(str(place / "s")).close()
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_a_path_may_be_longer_than_the_kernel_takes(place: Path) -> None:
    path = place / ("d" * 90) / ("e" * 60)
    with SocketFile(str(path)):
        connect(path).close()
    assert not path.exists()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(2, "no"), NotFound),
        (ConnectionRefusedError(111, "no"), Unavailable),
        (PermissionError(13, "no"), NotPermitted),
        (OSError(36, "no"), InvalidArgument),
        (OSError(5, "no"), Unavailable),
    ],
)
def test_why_there_is_no_connection(error: OSError, kind: type[Exception]) -> None:
    told = refused(error, "/run/s", "governor")
    assert type(told) is kind
    assert "/run/s" in str(told)
