"""Wake leases of real processes that are killed, forked, stopped and replaced."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.errors import GovernorGone, SuspendAborted
from holdfast.wake import Governor, connect, receive
from tests.kill.waking import GovernorProcess, Program, short_place
from tests.peer import PeerRaised
from tests.unit.ipc.places import PATIENCE_S, until_now


@pytest.fixture
def place() -> Iterator[Path]:
    with short_place() as place:
        yield place


@pytest.fixture
def server(place: Path) -> Iterator[GovernorProcess]:
    with GovernorProcess(place / "g") as server:
        yield server


@pytest.fixture
def governor(server: GovernorProcess) -> Iterator[Governor]:
    with connect(server.path) as governor:
        yield governor


@pytest.fixture
def program(place: Path, server: GovernorProcess) -> Iterator[Program]:
    with Program(place, server.path) as program:
        yield program


def held(governor: Governor) -> int:
    return governor.status().wake_lease_count


def released(governor: Governor) -> None:
    until_now(lambda: held(governor) == 0, "the release")


def test_the_lease_of_a_killed_process_is_released(governor: Governor, program: Program) -> None:
    program("leases = [governor.acquire(str(n)) for n in range(20)]")
    assert held(governor) == 20
    program.kill(reap=False)  # also of one that nobody has reaped
    released(governor)
    assert governor.suspend(PATIENCE_S) > 0


def test_a_forked_child_holds_on_until_it_ends(governor: Governor, program: Program) -> None:
    program("wl = governor.acquire('forked')")
    child = program("(lambda pid: pid or (signal.pause(), os._exit(0)))(os.fork())")
    program.kill()
    with pytest.raises(SuspendAborted) as caught:
        governor.suspend(0.02)
    assert caught.value.blockers == ("forked",)
    assert str(child) in governor.why()
    os.kill(child, signal.SIGKILL)
    released(governor)


def test_a_program_that_is_executed_does_not_hold_on(governor: Governor, program: Program) -> None:
    program("wl = governor.acquire('executed')")
    program.start("os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(60)'])")
    released(governor)
    os.kill(program.pid, 0)  # it lives


def test_one_that_is_passed_on_by_force_is_found(governor: Governor, program: Program) -> None:
    """What makes a leak: a descriptor that children inherit."""
    program("wl = governor.acquire('leaked')")
    program("os.set_inheritable(wl.fileno(), True)")
    child = program(
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " close_fds=False).pid"
    )
    program.kill()
    assert held(governor) == 1
    assert str(child) in governor.why()
    os.kill(child, signal.SIGKILL)
    released(governor)


def listening(place: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "l"))
    listener.listen()
    return listener


@pytest.mark.parametrize("then", ["received", "closed"])
def test_a_copy_in_a_message_that_nobody_has_received_counts(
    governor: Governor, program: Program, place: Path, then: str
) -> None:
    with listening(place) as listener:
        program(f"s = socket.socket(socket.AF_UNIX); s.connect({str(place / 'l')!r})")
        sock, _ = listener.accept()
        with sock:
            program("wl = governor.acquire('in flight')")
            program("wake.send(s, b'event', wl)")
            program.kill()  # with every copy that it had
            with pytest.raises(SuspendAborted) as caught:
                governor.suspend(0.02)
            assert caught.value.blockers == ("in flight",)
            assert "nobody has received" in governor.why()
            if then == "received":
                data, baton = receive(sock)
                assert data == b"event"
                assert baton is not None
                assert held(governor) == 1
                baton.close()
                released(governor)
        released(governor)


def test_plain_recv_loses_the_baton_and_receive_would_have_said_so(
    governor: Governor, program: Program, place: Path
) -> None:
    with listening(place) as listener:
        program(f"s = socket.socket(socket.AF_UNIX); s.connect({str(place / 'l')!r})")
        sock, _ = listener.accept()
        with sock:
            program("wl = governor.acquire('lost')")
            program("wake.send(s, b'event', wl); wl.close()")
            assert held(governor) == 1
            assert sock.recv(1000)
            released(governor)


def test_the_governor_is_killed_and_everybody_notices(
    server: GovernorProcess, governor: Governor, program: Program, place: Path
) -> None:
    program("wl = governor.acquire('upload')")
    wake_lease = governor.acquire("mine")
    assert not program("wl.orphaned")
    program.start("wl.wait_orphaned(60)")
    server.kill()
    assert program.result() is True
    assert wake_lease.wait_orphaned(PATIENCE_S)
    with pytest.raises(GovernorGone):
        governor.suspend()
    with pytest.raises(PeerRaised, match="GovernorGone"):
        program("governor.status()")
    # A new one replaces the dead one's socket, and knows nothing of its leases.
    with GovernorProcess(place / "g"):
        assert governor.status().wake_lease_count == 0
        assert program("governor.acquire('anew').name") == "anew"
        assert wake_lease.orphaned
    wake_lease.close()


def test_a_signal_ends_it_cleanly(place: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with GovernorProcess(place / "g") as server, connect(server.path) as governor:
            wake_lease = governor.acquire("upload")
            assert server.kill(number) == 0
            assert not (place / "g").exists()
            assert wake_lease.wait_orphaned(PATIENCE_S)
            wake_lease.close()


LISTEN = """
async def listen():
    async with wake.connect_async(governor.path) as own:
        async def before():
            print("asked", file=sys.stderr)
            os.write(told, b"x")
            await asyncio.sleep(60)
        await own.listen(before, name="slow", timeout={timeout}, on_timeout={on_timeout!r})
        os.write(told, b"x")
        await asyncio.sleep(60)
"""


def a_listener(program: Program, place: Path, timeout: object, on_timeout: str) -> socket.socket:
    """A program that listens and never answers; readable when it has registered, and when asked."""
    with listening(place) as listener:
        program(f"s = socket.socket(socket.AF_UNIX); s.connect({str(place / 'l')!r})")
        program("told = s.fileno()")
        program(LISTEN.format(timeout=timeout, on_timeout=on_timeout))
        program.start("asyncio.run(listen())")
        sock, _ = listener.accept()
    sock.settimeout(PATIENCE_S)
    assert sock.recv(1) == b"x"
    return sock


def test_a_listener_that_is_killed_while_it_is_asked_has_answered(
    governor: Governor, program: Program, place: Path
) -> None:
    with a_listener(program, place, None, "abort") as sock, connect(governor.path) as other:
        stream = other.watch()
        with pytest.raises(SuspendAborted):
            governor.suspend(0.02)  # it is waited for, as long as it lives
        assert sock.recv(1) == b"x"
        program.kill()
        assert governor.suspend(PATIENCE_S) > 0
        assert governor.status().listeners == ()
        stream.close()  # type: ignore[attr-defined]


def test_a_listener_that_is_stopped_is_evicted_when_its_time_is_over(
    governor: Governor, program: Program, place: Path
) -> None:
    with a_listener(program, place, 0.05, "evict"):
        os.kill(program.pid, signal.SIGSTOP)
        assert governor.suspend(PATIENCE_S) > 0
        assert governor.status().listeners == ()
        os.kill(program.pid, signal.SIGCONT)


def test_who_wanted_a_suspend_and_was_killed_gets_none(
    governor: Governor, program: Program
) -> None:
    with governor.acquire("upload"):
        program.start("governor.suspend()")
        until_now(lambda: governor.status().requests == 1, "the request")
        program.kill()
        until_now(lambda: governor.status().requests == 0, "the withdrawal")
    released(governor)
    assert governor.status().suspends == 0


def test_a_stopped_client_stalls_nobody(governor: Governor, program: Program) -> None:
    program("wl = governor.acquire('stopped')")
    os.kill(program.pid, signal.SIGSTOP)
    for number in range(50):
        governor.acquire(str(number)).close()
    until_now(lambda: held(governor) == 1, "the release")
    assert "stopped" in governor.why()
    os.kill(program.pid, signal.SIGCONT)
    program("wl.close()")
    released(governor)


def test_the_governor_has_as_many_descriptors_after_as_before(
    server: GovernorProcess, governor: Governor, place: Path
) -> None:
    governor.suspend(PATIENCE_S)
    before = server.descriptors
    for _ in range(2):
        with Program(place, server.path) as program:
            program("leases = [governor.acquire(str(n)) for n in range(200)]")
            program("copies = [wl.dup() for wl in leases[::2]]")
            program.start("governor.suspend()")
            until_now(lambda: governor.status().requests == 1, "the request")
            program.kill()
    released(governor)
    until_now(lambda: server.descriptors <= before, "the end of its descriptors")
