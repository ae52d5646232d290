"""The pipe of a wake lease: what ends it, and what does not."""

from __future__ import annotations

import os
import select
import socket

import pytest

from holdfast.errors import InvalidArgument
from holdfast.wake.token import Pipes, Token, TokenWatch, is_orphaned, pipe_inode
from tests.unit.ipc.places import descriptors_open, is_open


def readable(watch: TokenWatch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


def test_only_the_end_of_the_last_copy_hangs_up() -> None:
    token, writing = Token.make()
    copy = os.dup(writing)
    with token:
        os.close(writing)
        assert not token.hung_up()
        os.close(copy)
        assert token.hung_up()


def test_both_ends_close_on_exec() -> None:
    token, writing = Token.make()
    assert not os.get_inheritable(token.fileno())
    assert not os.get_inheritable(writing)
    token.close()
    token.close()
    os.close(writing)


def test_a_copy_in_a_message_that_nobody_has_received_counts() -> None:
    token, writing = Token.make()
    near, far = socket.socketpair()
    with token, near:
        with far:
            socket.send_fds(near, [b"x"], [writing])
            os.close(writing)
            assert not token.hung_up()
        assert token.hung_up()  # the socket was closed, and the message with it


def test_what_is_written_is_no_hang_up_and_hides_none() -> None:
    token, writing = Token.make()
    with TokenWatch() as watch, token:
        watch.add(token)
        while os.write(writing, b"x" * 4096) == 4096 and select.select([], [writing], [], 0)[1]:
            pass
        assert not readable(watch)
        assert watch.hung_up() == []
        os.close(writing)
        assert readable(watch)
        assert watch.hung_up() == [token]


def test_a_shutdown_by_one_holder_ends_nothing() -> None:
    """With a socketpair it would look like the end of all copies; a pipe cannot be shut down."""
    token, writing = Token.make()
    with token, pytest.raises(OSError, match="socket"):
        socket.socket(fileno=os.dup(writing)).shutdown(socket.SHUT_RDWR)
    os.close(writing)
    lying, writing_socket = socket.socketpair()
    with lying, writing_socket, writing_socket.dup() as copy:
        copy.shutdown(socket.SHUT_RDWR)
        poll = select.poll()
        poll.register(lying, 0)
        assert poll.poll(0) != []  # though a copy is open


def test_one_watch_tells_of_each_token_once() -> None:
    before = descriptors_open()
    with TokenWatch() as watch:
        pairs = [Token.make() for _ in range(200)]
        for token, _ in pairs:
            watch.add(token)
        assert len(watch) == 200
        for _, writing in pairs[::2]:
            os.close(writing)
        found: list[Token] = []
        while readable(watch):
            found += watch.hung_up()
        assert set(found) == {token for token, _ in pairs[::2]}
        assert len(watch) == 100
        for token, writing in pairs[1::2]:
            watch.discard(token)
            os.close(writing)
        assert not readable(watch)
        for token, _ in pairs:
            token.close()
    assert descriptors_open() <= before


def test_a_pipe_is_made_in_advance_and_watched_from_then_on() -> None:
    before = descriptors_open()
    with TokenWatch() as watch, Pipes(watch) as pipes:
        pipes.refill()
        pipes.refill()  # there is one
        assert len(watch) == 1
        token, writing = pipes.take()
        other, other_writing = pipes.take()  # made now
        assert not readable(watch)
        os.close(writing)
        assert watch.hung_up() == [token]
        pipes.put_back(other, other_writing)
        assert pipes.take() == (other, other_writing)
        assert not readable(watch)
        pipes.refill()
        pipes.put_back(other, other_writing)
        assert len(watch) == 1  # the one that had been made meanwhile is closed
        token.close()
    assert descriptors_open() <= before


def test_a_hang_up_is_final_even_if_somebody_opens_the_pipe_anew() -> None:
    token, writing = Token.make()
    with TokenWatch() as watch:
        watch.add(token)
        os.close(writing)
        assert watch.hung_up() == [token]
        forged = os.open(f"/proc/self/fd/{token.fileno()}", os.O_WRONLY)
        assert not readable(watch)
        token.close()
        assert is_orphaned(forged)
        os.close(forged)


def test_a_holder_sees_that_the_reader_has_gone() -> None:
    token, writing = Token.make()
    assert not is_orphaned(writing)
    token.close()
    assert is_orphaned(writing)
    os.close(writing)


def test_what_might_never_hang_up_is_refused(tmp_path: object) -> None:
    reading, writing = os.pipe()
    named = os.path.join(str(tmp_path), "fifo")
    os.mkfifo(named)
    near, far = socket.socketpair()
    with near, far:
        wrong = {
            "a file": os.open("/dev/null", os.O_RDONLY),
            "the other end": os.dup(writing),
            "a socket": os.dup(near.fileno()),
            "a pipe with a name": os.open(named, os.O_RDONLY | os.O_NONBLOCK),
            "both ends at once": os.open(f"/proc/self/fd/{reading}", os.O_RDWR),
            "only a path": os.open(f"/proc/self/fd/{reading}", os.O_PATH),
        }
        for fd in wrong.values():
            with pytest.raises(InvalidArgument, match="read end"):
                Token.adopt(fd)
            assert not is_open(fd)
    with pytest.raises(InvalidArgument):
        pipe_inode(2**20, os.O_RDONLY)
    with Token.adopt(os.dup(reading)) as token:
        assert token.inode == os.fstat(writing).st_ino == pipe_inode(writing, os.O_WRONLY)
    os.close(reading)
    os.close(writing)
