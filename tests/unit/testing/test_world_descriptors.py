"""Descriptors of the World behave as those of the kernel do, as far as a wake lease can notice."""

from __future__ import annotations

import os
import socket

import pytest

from holdfast.errors import Closed, InvalidArgument
from holdfast.testing.world import Host, Letter, Program, World

SECOND = 1_000_000_000


@pytest.fixture
def host() -> Host:
    return Host(World(1))


def hangs_up(program: Program, reading: int) -> bool:
    """Whether the watcher of that end has been called, once all is quiet."""
    heard: list[bool] = []
    program.watch(reading, lambda: heard.append(program.hung_up(reading)))
    program.host.world.run()
    return bool(heard) and heard[-1]


def test_only_the_last_of_several_copies_hangs_up(host: Host) -> None:
    a = host.program("a")
    reading, writing = a.pipe()
    again = a.duplicate(writing)
    a.close(writing)
    assert not hangs_up(a, reading)
    assert host.copies(a, reading) == 1
    a.close(again)
    assert hangs_up(a, reading)


def test_a_copy_in_a_message_that_nobody_has_read_is_a_copy(host: Host) -> None:
    a, b = host.program("a"), host.program("b")
    mine, his = a.connect(b)
    reading, writing = a.pipe()
    a.send(mine, "take this", writing)
    a.close(writing)
    assert not hangs_up(a, reading)
    letter = b.receive(his)
    assert letter is not None
    assert (letter.data, len(letter.descriptors), letter.truncated) == ("take this", 1, False)
    assert not a.hung_up(reading)
    b.close(letter.descriptors[0])
    assert a.hung_up(reading)


def test_closing_the_socket_unread_closes_what_was_in_it(host: Host) -> None:
    a, b = host.program("a"), host.program("b")
    mine, his = a.connect(b)
    reading, writing = a.pipe()
    a.send(mine, "take this", writing)
    a.close(writing)
    b.close(his)
    assert a.hung_up(reading)
    assert a.receive(mine) == Letter(ended=True)


def test_without_room_for_it_a_descriptor_is_closed_and_the_reader_is_told(host: Host) -> None:
    a, b = host.program("a"), host.program("b")
    mine, his = a.connect(b)
    reading, writing = a.pipe()
    for room in (0, 1):
        a.send(mine, "take these", writing, writing)
        letter = b.receive(his, room=room)
        assert letter is not None
        assert (len(letter.descriptors), letter.truncated) == (room, True)
    assert host.copies(a, reading) == 2


def test_a_child_has_a_copy_until_it_executes_something(host: Host) -> None:
    a = host.program("a")
    reading, writing = a.pipe()
    child = a.fork("child")
    a.close(writing)
    assert not a.hung_up(reading)
    child.execute()
    assert a.hung_up(reading)


def test_what_is_not_close_on_exec_survives_it(host: Host) -> None:
    a, b = host.program("a"), host.program("b")
    mine, his = a.connect(b)
    reading, writing = a.pipe()
    a.send(mine, "take this", writing)
    a.close(writing)
    letter = b.receive(his, close_on_exec=False)
    assert letter is not None
    child = b.fork("child")
    child.execute()
    b.close(letter.descriptors[0])
    assert not a.hung_up(reading)
    child.kill()
    assert a.hung_up(reading)


def test_one_who_is_killed_closes_everything_also_what_it_had_not_read(host: Host) -> None:
    a, b = host.program("a"), host.program("b")
    mine, his = a.connect(b)
    reading, writing = a.pipe()
    a.send(mine, "take this", writing)
    a.send(mine, "and this", writing)
    a.close(writing)
    b.receive(his)
    b.kill()
    assert b.open == ()
    assert a.hung_up(reading)
    with pytest.raises(Closed):
        a.send(mine, "more")


def test_what_was_written_before_the_end_is_read_before_it(host: Host) -> None:
    a, b = host.program("a"), host.program("b")
    mine, his = a.connect(b)
    a.send(mine, "last")
    a.close(mine)
    assert b.receive(his) == Letter("last")
    assert b.receive(his) == Letter(ended=True)


def test_nothing_to_read_is_nothing(host: Host) -> None:
    a, b = host.program("a"), host.program("b")
    _, his = a.connect(b)
    assert b.receive(his) is None


def test_a_watcher_hears_of_what_was_there_before_and_nothing_after_it_closed(host: Host) -> None:
    a, b = host.program("a"), host.program("b")
    mine, his = a.connect(b)
    heard: list[str] = []
    a.send(mine, "early")
    b.watch(his, lambda: heard.append("watch"))
    host.world.run()
    assert heard == ["watch"]
    b.close(his)
    host.world.run()
    assert heard == ["watch"]


def test_what_is_closed_cannot_be_used(host: Host) -> None:
    a = host.program("a")
    reading, writing = a.pipe()
    a.close(writing)
    for use in (a.close, a.duplicate, a.receive, a.hung_up):
        with pytest.raises(Closed):
            use(writing)
    assert a.hung_up(reading)


def test_descriptors_do_not_travel_between_hosts(host: Host) -> None:
    other = Host(host.world)
    with pytest.raises(InvalidArgument):
        host.program("a").connect(other.program("b"))


def test_the_real_kernel_agrees() -> None:
    """The rules that matter most, with real descriptors: in a message, and without room."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with one, other:
        socket.send_fds(one, [b"take this"], [writing])
        os.close(writing)
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)  # a copy is in the message
        _, ancillary, flags, _ = other.recvmsg(100, 0)
        assert ancillary == []
        assert flags & socket.MSG_CTRUNC
        assert os.read(reading, 1) == b""
    os.close(reading)


# ---- power ------------------------------------------------------------------------------------


def test_a_host_that_is_down_runs_nothing_and_comes_back(host: Host) -> None:
    a, world = host.program("a"), host.world
    heard: list[int] = []
    slept: list[int] = []
    mine, his = host.program("b").connect(a)
    a.watch(his, lambda: heard.append(world.now_ns))
    host.power.go_down(10 * SECOND, slept.append)
    assert host.power.down
    host.program("b").send(mine, "ping")
    world.run(5 * SECOND)
    assert heard == []
    world.run(20 * SECOND)
    assert heard
    assert heard[0] >= 10 * SECOND
    assert slept == [10 * SECOND]
    assert (host.power.down, host.power.suspends) == (False, 1)


def test_something_wakes_it_before_its_time(host: Host) -> None:
    slept: list[int] = []
    host.program("a")
    host.power.go_down(10 * SECOND, slept.append)
    host.world.after(3 * SECOND, host.power.wake)
    host.world.run(5 * SECOND)
    assert slept == [3 * SECOND]
    host.power.go_down(10 * SECOND, slept.append)  # the old end does not end this one
    host.world.run(11 * SECOND)
    assert host.power.down
    host.world.run(20 * SECOND)
    assert slept == [3 * SECOND, 10 * SECOND]


def test_what_must_hold_when_it_goes_down_is_looked_at_then(host: Host) -> None:
    def check() -> None:
        raise AssertionError("somebody's work is not done")

    host.power.checks.append(check)
    with pytest.raises(AssertionError, match="not done"):
        host.power.go_down(1)
    assert host.power.suspends == 0


def test_one_who_restarts_while_it_is_down_begins_when_it_is_back(host: Host) -> None:
    began: list[int] = []
    a, world = host.program("a"), host.world
    a.node.start(lambda _: began.append(world.now_ns))
    a.kill(for_ns=SECOND)
    host.power.go_down(10 * SECOND)
    world.run(20 * SECOND)
    assert began == [0, 10 * SECOND]
