"""Descriptors beside bytes, over real sockets."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import select
import socket
import subprocess
import sys

import pytest

from holdfast.errors import InvalidArgument
from holdfast.ipc import Descriptors, Frames, Peer, Truncated, receive, send_some
from tests.unit.ipc.places import PATIENCE_S, descriptors_open, is_open, rights


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


Pair = tuple[socket.socket, socket.socket]


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def test_what_was_sent_arrives_and_is_closed_on_exec(pair: Pair) -> None:
    near, far = pair
    with near, far:
        reading, writing = os.pipe()
        assert send_some(near, b"take this", [writing]) == 9
        data, came = receive(far, 100)
        assert data == b"take this"
        assert [inode(fd) for fd in came] == [inode(writing)]
        assert fcntl.fcntl(came[0], fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        for fd in (reading, writing, *came):
            os.close(fd)


def test_no_descriptors_are_an_empty_list_and_the_end_is_no_bytes(pair: Pair) -> None:
    near, far = pair
    with far:
        with near:
            send_some(near, b"x")
        assert receive(far, 100) == (b"x", [])
        assert receive(far, 100) == (b"", [])


def test_what_is_cut_off_is_an_error_and_nothing_is_left_open(pair: Pair) -> None:
    near, far = pair
    with near, far:
        before = descriptors_open()
        near.sendmsg([b"x"], rights(*[0] * 5))
        with pytest.raises(Truncated, match="cut off"):
            receive(far, 100, descriptors_max=2)
        assert descriptors_open() <= before


def test_a_process_without_room_for_descriptors_is_told(pair: Pair) -> None:
    near, far = pair
    with near, far:
        near.sendmsg([b"x"], rights(0, 0))
        before = descriptors_open()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        spare = [os.dup(0) for _ in range(highest + 1 - before)]  # no gaps below the limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare, default=highest) + 1, hard))
        try:
            with pytest.raises(Truncated):
                receive(far, 100)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in spare:
                os.close(fd)
        assert descriptors_open() <= before


def test_a_child_that_execs_does_not_keep_what_was_received(pair: Pair) -> None:
    near, far = pair
    with near, far:
        reading, writing = os.pipe()
        send_some(near, b"x", [writing])
        os.close(writing)
        _, (received,) = receive(far, 100)
        # close_fds=False: everything without close-on-exec would be inherited.
        program = "import sys; sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, close_fds=False
        ) as child:
            os.close(received)
            # The end of file: nobody has it any more, though the child still runs. The kernel lets
            # the parent go on a little before it closes them in the child.
            assert select.select([reading], [], [], PATIENCE_S)[0]
            assert os.read(reading, 1) == b""
            assert child.poll() is None
        os.close(reading)


def test_taken_descriptors_stay_and_the_rest_is_closed() -> None:
    fds = [os.dup(0) for _ in range(3)]
    with Descriptors(fds) as came:
        assert len(came) == 3
        taken = came.take()
    assert taken == fds[0]
    assert [is_open(fd) for fd in fds] == [True, False, False]
    os.close(taken)
    came.close()
    with pytest.raises(InvalidArgument, match="none did"):
        came.take()


def test_those_that_are_forgotten_are_closed() -> None:
    fd = os.dup(0)
    came: Descriptors | None = Descriptors([fd])
    assert is_open(fd)
    assert came is not None
    came = None
    assert not is_open(fd)


@pytest.mark.parametrize("seed", range(25))
def test_each_frame_keeps_its_descriptors_however_the_socket_is_read(pair: Pair, seed: int) -> None:
    """The rule of `Frames`, held against the kernel: any read sizes, with and without pauses."""
    rng = random.Random(seed)
    near, far = pair
    with near, far:
        far.settimeout(0)
        frames = Frames(bytes_max=1 << 20)
        sent: list[tuple[bytes, list[int]]] = []
        got: list[tuple[bytes, list[int]]] = []

        def read(length: int) -> bool:
            try:
                data, came = receive(far, length)
            except BlockingIOError:
                return False
            got.extend(frames.feed(data, came))
            return bool(data)

        for _ in range(40):
            body = bytes([rng.randint(1, 255)]) * rng.choice([0, 1, 7, 200, 4000])
            fds = [os.memfd_create("x") for _ in range(rng.choice([0, 0, 1, 3]))]
            frame = body + b"\0"
            # A frame may go in pieces, its descriptors with the first.
            cut = rng.randint(1, len(frame))
            assert send_some(near, frame[:cut], fds) == cut
            if cut < len(frame):
                assert send_some(near, frame[cut:]) == len(frame) - cut
            sent.append((body, fds))
            for _ in range(rng.randint(0, 3)):
                read(rng.choice([1, 3, 50, 5000, 65536]))
        while read(rng.choice([1, 3, 50, 5000, 65536])):
            pass
        assert [(body, [inode(fd) for fd in fds]) for body, fds in got] == [
            (body, [inode(fd) for fd in fds]) for body, fds in sent
        ]
        for _, fds in sent + got:
            for fd in fds:
                os.close(fd)


def test_the_kernel_says_who_is_there() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with near, far, Peer(near) as peer:
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
        assert peer.in_group(os.getegid())
        assert not peer.in_group(4_000_000_000)
        assert peer.ended() in {False, None}
    peer.close()
    assert peer.ended() is None
