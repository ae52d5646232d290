"""Batons over real sockets: each with its message, or an error."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from holdfast.errors import Closed, InvalidArgument, WakeError
from holdfast.wake import WakeLease, receive, receive_async, send, send_async
from holdfast.wake.baton import _incoming
from holdfast.wake.token import Token
from tests.unit.ipc.places import PATIENCE_S, descriptors_open, is_open, rights

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    before = descriptors_open()
    near, far = socket.socketpair()
    for sock in (near, far):
        sock.settimeout(PATIENCE_S)
    yield near, far
    near.close()
    far.close()
    del near, far
    assert descriptors_open() <= before


def baton(name: str = "upload") -> tuple[Token, WakeLease]:
    token, writing = Token.make()
    return token, WakeLease(writing, name)


def test_the_baton_travels_with_its_message_and_ours_stays_open(pair: Pair) -> None:
    near, far = pair
    token, mine = baton()
    with token:
        send(near, b"event", mine)
        send(near, b"", None)
        send(near, b"another", mine)
        assert not mine.closed
        mine.close()
        assert not token.hung_up()
        data, theirs = receive(far)
        assert data == b"event"
        assert theirs is not None
        assert (theirs.name, theirs.inode) == ("upload", token.inode)
        assert not os.get_inheritable(theirs.fileno())
        theirs.close()
        assert not token.hung_up()  # there is another one in the socket
        assert receive(far) == (b"", None)
        data, theirs = receive(far)
        assert theirs is not None
        theirs.close()
        assert token.hung_up()


def test_the_end_is_an_end_of_file_and_half_a_message_is_not(pair: Pair) -> None:
    near, far = pair
    send(near, b"last")
    near.close()
    assert receive(far) == (b"last", None)
    with pytest.raises(EOFError):
        receive(far)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 14, 18])
def test_a_sender_that_dies_in_the_middle_is_an_error(pair: Pair, length: int) -> None:
    near, far = pair
    token, mine = baton()
    with token:
        other, there = socket.socketpair()
        with other, there:
            send(other, b"event", mine)
            frame = there.recv(1000)
        assert len(frame) == 8 + 6 + 5
        near.sendmsg([frame[:length]], rights(mine.fileno()))
        near.close()
        mine.close()
        with pytest.raises(WakeError, match="middle"):
            receive(far)
        assert token.hung_up()  # and the baton was not kept by anybody


def test_a_baton_that_was_taken_from_its_message_is_missed(pair: Pair) -> None:
    near, far = pair
    token, mine = baton()
    with token, mine:
        other, there = socket.socketpair()
        with other, there:
            send(other, b"event", mine)
            frame = there.recv(1000)  # plain recv: the kernel closes the descriptor
        near.sendall(frame)
        with pytest.raises(WakeError, match="0 descriptors came"):
            receive(far)


def test_more_descriptors_than_were_sent_are_an_error_and_closed(pair: Pair) -> None:
    near, far = pair
    token, mine = baton()
    with token, mine:
        other, there = socket.socketpair()
        with other, there:
            send(other, b"event", mine)
            frame = there.recv(1000)
        for number in (2, 4, 5, 200):
            one, two = socket.socketpair()
            with one, two:
                one.sendmsg([frame], rights(*[mine.fileno()] * number))
                with pytest.raises(WakeError):
                    receive(two)
        near.sendmsg([frame[:3]], rights(mine.fileno()))
        near.sendmsg([frame[3:]], rights(mine.fileno()))
        with pytest.raises(WakeError, match="middle of a message"):
            receive(far)
    assert token.fileno() < 0


@pytest.mark.parametrize(
    ("frame", "fds"),
    [
        (b"GET / HTTP/1.1\r\n", 0),
        (struct.pack("!2sBBI", b"\xb7\x1e", 0, 0, 0), 0),
        (struct.pack("!2sBBI", b"\xb7\x1f", 2, 0, 0), 0),
        (struct.pack("!2sBBI", b"\xb7\x1f", 0, 3, 0) + b"abc", 0),
        (struct.pack("!2sBBI", b"\xb7\x1f", 1, 0, 0), 1),
        (struct.pack("!2sBBI", b"\xb7\x1f", 0, 0, 1), 1),
        (struct.pack("!2sBBI", b"\xb7\x1f", 0, 0, 2**32 - 1), 0),
        (struct.pack("!2sBBI", b"\xb7\x1f", 1, 1, 0) + b"x", 1),  # no pipe: standard input
    ],
)
def test_what_is_no_such_message_is_an_error(pair: Pair, frame: bytes, fds: int) -> None:
    near, far = pair
    near.sendmsg([frame], rights(*[near.fileno()] * fds) if fds else [])
    with pytest.raises(WakeError):
        receive(far)


def test_only_unix_stream_sockets_carry_them() -> None:
    token, mine = baton()
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    tcp = socket.socket(socket.AF_INET)
    with token, mine, near, far, tcp:
        for sock in (near, tcp):
            with pytest.raises(InvalidArgument, match="stream sockets only"):
                send(sock, b"", mine)
            with pytest.raises(InvalidArgument, match="stream sockets only"):
                receive(sock)
        with pytest.raises(InvalidArgument, match="asyncio's streams"):
            send(object(), b"", mine)  # type: ignore[arg-type]


def test_a_closed_wake_lease_cannot_be_sent(pair: Pair) -> None:
    near, far = pair
    token, mine = baton()
    token.close()
    mine.close()
    with pytest.raises(Closed):
        send(near, b"event", mine)
    send(near, b"next")
    assert receive(far) == (b"next", None)


def test_large_messages_go_in_pieces_in_both_directions(pair: Pair) -> None:
    near, far = pair
    token, mine = baton()
    data = random.Random(1).randbytes(3_000_000)
    with token:

        def send_all() -> None:
            for _ in range(3):
                send(near, data, mine)

        thread = threading.Thread(target=send_all)
        thread.start()
        for _ in range(3):
            got, theirs = receive(far)
            assert got == data
            assert theirs is not None
            theirs.close()
        thread.join()
        mine.close()
        assert token.hung_up()


def test_a_socket_that_does_not_block_is_waited_for(pair: Pair) -> None:
    near, far = pair
    near.settimeout(0)
    far.settimeout(0)
    thread = threading.Thread(target=lambda: send(near, b"x" * 1_000_000))
    thread.start()
    assert receive(far) == (b"x" * 1_000_000, None)
    thread.join()


def test_a_receive_that_timed_out_goes_on_where_it_stopped(pair: Pair) -> None:
    near, far = pair
    token, mine = baton()
    with token:
        other, there = socket.socketpair()
        with other, there:
            send(other, b"event", mine)
            frame = there.recv(1000)
        near.sendmsg([frame[:4]], rights(mine.fileno()))
        mine.close()
        far.settimeout(0.01)
        for piece in (frame[4:10], frame[10:]):
            with pytest.raises(TimeoutError):
                receive(far)
            near.sendall(piece)
        data, theirs = receive(far)
        assert data == b"event"
        assert theirs is not None
        theirs.close()
        assert token.hung_up()


def test_a_socket_that_is_forgotten_keeps_no_baton() -> None:
    token, mine = baton()
    near, far = socket.socketpair()
    with token, near:
        near.sendmsg([b"\xb7"], rights(mine.fileno()))
        mine.close()
        far.settimeout(0)
        incoming = _incoming(far)
        with contextlib.suppress(BlockingIOError):
            incoming.receive(far, 100)  # what had come when somebody was cancelled
        del incoming
        assert not token.hung_up()
        far.close()
        del far
        gc.collect()
        assert token.hung_up()


# -- for coroutines -------------------------------------------------------------------------------


def test_coroutines_send_and_receive_in_any_number(pair: Pair) -> None:
    near, far = pair
    near.settimeout(0)
    far.settimeout(0)
    token, mine = baton()

    async def main() -> None:
        sent = [b"%d" % number * random.Random(number).choice([0, 1, 9000]) for number in range(60)]
        got: list[bytes] = []

        async def reader() -> None:
            while len(got) < len(sent):
                data, theirs = await receive_async(far)
                got.append(data)
                if theirs is not None:
                    theirs.close()

        reading = asyncio.create_task(reader())
        odd = [mine if number % 2 else None for number in range(60)]
        await asyncio.gather(*(send_async(near, d, b) for d, b in zip(sent, odd, strict=True)))
        await reading
        assert got == sent

    asyncio.run(main())
    mine.close()
    assert token.hung_up()
    token.close()


def test_a_call_that_is_cancelled_in_the_middle_loses_nothing(pair: Pair) -> None:
    near, far = pair
    near.settimeout(0)
    far.settimeout(0)
    token, mine = baton()
    large = b"x" * 2_000_000

    async def main() -> None:
        sending = asyncio.create_task(send_async(near, large, mine))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        mine.close()
        following = asyncio.create_task(send_async(near, b"next"))
        # The receiver is cancelled over and over, in the middle of the large one.
        got: list[bytes] = []
        while len(got) < 2:
            receiving = asyncio.create_task(receive_async(far))
            for _ in range(3):
                await asyncio.sleep(0)
            receiving.cancel()
            (outcome,) = await asyncio.gather(receiving, return_exceptions=True)
            if isinstance(outcome, tuple):
                got.append(outcome[0])
                if outcome[1] is not None:
                    assert not token.hung_up()
                    outcome[1].close()
        await following
        assert got == [large, b"next"]

    asyncio.run(main())
    assert token.hung_up()
    token.close()


def test_a_frame_of_which_nothing_went_yet_has_a_copy_of_its_own(pair: Pair) -> None:
    near, far = pair
    near.settimeout(0)
    token, mine = baton()
    filler = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filler += near.send(b"x" * 65536)

    async def main() -> None:
        sending = asyncio.create_task(send_async(near, b"event", mine))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        mine.close()
        assert not token.hung_up()
        left = filler
        while left:
            left -= len(far.recv(left))
        await send_async(near, b"next")

    asyncio.run(main())
    data, theirs = receive(far)
    assert data == b"event"
    assert theirs is not None
    theirs.close()
    assert receive(far) == (b"next", None)
    assert token.hung_up()
    token.close()


def test_a_frame_that_waits_holds_a_copy_of_its_own(pair: Pair) -> None:
    near, far = pair
    near.settimeout(0)
    far.settimeout(0)
    token, mine = baton()

    async def main() -> None:
        first = asyncio.create_task(send_async(near, b"x" * 2_000_000))
        second = asyncio.create_task(send_async(near, b"event", mine))
        await asyncio.sleep(0)
        assert not first.done()
        assert not second.done()
        assert await receive_async(far) == (b"x" * 2_000_000, None)
        data, theirs = await receive_async(far)
        assert data == b"event"
        assert theirs is not None
        theirs.close()
        await second

    asyncio.run(main())
    mine.close()
    assert token.hung_up()
    token.close()


def test_a_socket_that_blocks_is_refused_by_coroutines(pair: Pair) -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgument, match="blocks"):
            await send_async(pair[0], b"")
        with pytest.raises(InvalidArgument, match="blocks"):
            await receive_async(pair[0])

    asyncio.run(main())


def test_a_broken_connection_is_an_error_of_the_sender(pair: Pair) -> None:
    near, far = pair
    near.settimeout(0)
    token, mine = baton()
    far.close()

    async def main() -> None:
        with pytest.raises(BrokenPipeError):
            await send_async(near, b"event", mine)

    asyncio.run(main())
    with pytest.raises(BrokenPipeError):
        send(near, b"event", mine)
    fd = mine.fileno()
    mine.close()
    assert not is_open(fd)
    assert token.hung_up()
    token.close()


def test_what_is_told_of_its_travels(pair: Pair) -> None:
    near, far = pair

    class Told:
        def __init__(self) -> None:
            self.hops: list[tuple[str, int, int | None, int | None]] = []

        def hop(
            self,
            event: str,
            inode: int,
            *,
            pid: int | None = None,
            index: int | None = None,
            processed: int | None = None,
        ) -> None:
            self.hops.append((event, inode, pid, index))

    sender, receiver = Told(), Told()
    token, writing = Token.make()
    with token, WakeLease(writing, "upload", reporter=sender) as mine:
        send(near, b"event", mine, index=4)
        _, theirs = receive(far, governor=receiver)
        assert theirs is not None
        theirs.close()
        theirs.close()
        inode = mine.inode
    # Of a socketpair nobody can say who is at the other end.
    assert sender.hops == [("sent", inode, None, 4)]
    assert receiver.hops == [("received", inode, None, None), ("released", inode, None, None)]
