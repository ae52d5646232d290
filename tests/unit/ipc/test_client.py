"""Clients that block, over a service in another thread."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from holdfast.errors import Closed, GovernorGone, NotFound, SuspendAborted, Unavailable
from holdfast.ipc import Client
from holdfast.ipc.client import Line
from tests.unit.ipc.places import PATIENCE_S, answer_of, descriptors_open, in_a_child, until_now
from tests.unit.ipc.services import ServiceThread, Text


@pytest.fixture
def service(place: Path) -> Iterator[ServiceThread]:
    with ServiceThread(place / "s") as thread:
        yield thread


@pytest.fixture
def client(place: Path, service: ServiceThread) -> Iterator[Client]:
    with Client(str(place / "s"), service="governor", gone=GovernorGone) as client:
        yield client


def echo(client: Client, text: str) -> str:
    return client.call("org.example.Echo", Text(text), Text)[0].text


def test_calls_share_one_connection(client: Client, service: ServiceThread) -> None:
    assert [echo(client, str(number)) for number in range(10)] == [str(n) for n in range(10)]
    assert len(service.service.opened) == 1


def test_errors_descriptors_and_streams_arrive(client: Client) -> None:
    echo(client, "connected")
    before = descriptors_open()
    with pytest.raises(SuspendAborted) as caught:
        client.call("org.example.Fail", {}, Text)
    assert caught.value.blockers == ("a", "b")
    _, came = client.call("org.example.Give", {}, Text)
    assert len(came) == 1
    came.close()
    # What is sent is a duplicate: ours stays open.
    fd = os.memfd_create("x")
    answer, _ = client.call("org.example.Take", {}, Text, [fd])
    assert answer.text == str(os.fstat(fd).st_ino)
    os.close(fd)
    assert [one.text for one in client.stream("org.example.Count", {}, Text)] == ["0", "1", "2"]
    client.tell("org.example.Tell", Text("news"))
    assert echo(client, "after") == "after"
    until_now(lambda: descriptors_open() <= before, "the end of the stream's connection")


def test_a_call_that_waits_keeps_no_other_thread_from_calling(
    client: Client, service: ServiceThread
) -> None:
    with ThreadPoolExecutor() as threads:
        waits = threads.submit(client.call, "org.example.Wait", Text("w"), Text)
        until_now(lambda: service.service.waiting)
        assert list(threads.map(lambda n: echo(client, str(n)), range(50))) == [
            str(number) for number in range(50)
        ]
        assert not waits.done()
        service.soon(service.service.waiting[0].answer, Text("now"))
        assert waits.result(PATIENCE_S)[0] == Text("now")


def test_a_signal_that_raises_gives_the_call_up(client: Client, service: ServiceThread) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        main = threading.main_thread().ident
        assert main

        def kill() -> None:
            until_now(lambda: service.service.waiting)
            signal.pthread_kill(main, signal.SIGUSR1)

        with ThreadPoolExecutor() as threads:
            done = threads.submit(kill)
            with pytest.raises(Interrupted):
                client.call("org.example.Wait", Text("w"), Text)
            done.result(PATIENCE_S)
    finally:
        signal.signal(signal.SIGUSR1, before)
    until_now(lambda: service.service.withdrawn == ["w"], "the withdrawal")
    assert echo(client, "after") == "after"


def test_a_call_that_is_given_up_before_its_answer_is_waited_for_is_withdrawn(
    client: Client, service: ServiceThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may come at any instant, and also just then."""

    class Interrupted(Exception):
        pass

    def interrupted(*_: object) -> None:
        until_now(lambda: service.service.waiting)
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Line, "_answer", interrupted)
        with pytest.raises(Interrupted):
            client.call("org.example.Wait", Text("w"), Text)
    until_now(lambda: service.service.withdrawn == ["w"], "the withdrawal")
    assert echo(client, "after") == "after"


def test_who_has_gone_is_said_once_and_then_tried_again(place: Path) -> None:
    client = Client(str(place / "s"), service="governor", gone=GovernorGone)
    with pytest.raises(NotFound, match="no governor"):
        client.connect()
    with ServiceThread(place / "s"):
        client.connect()
        assert echo(client, "x") == "x"
    with ServiceThread(place / "s"):
        with pytest.raises(GovernorGone):
            echo(client, "y")
        assert echo(client, "y") == "y"
    client.close()
    client.close()
    with pytest.raises(Closed):
        echo(client, "z")


def test_a_call_may_wait_for_a_limited_time(client: Client, service: ServiceThread) -> None:
    echo(client, "connected")
    with pytest.raises(Unavailable, match=r"has not answered for 0\.05 s") as caught:
        client.call("org.example.Wait", Text("w"), Text, timeout_s=0.05)
    assert not isinstance(caught.value, GovernorGone)
    assert caught.value.hint is not None
    until_now(lambda: service.service.withdrawn == ["w"], "the withdrawal")
    assert echo(client, "after") == "after"  # by a new connection, and without a limit again
    assert len(service.service.opened) == 2
    # A limit is a call's, and not its connection's.
    client.call("org.example.Echo", Text("in time"), Text, timeout_s=PATIENCE_S)
    with ThreadPoolExecutor() as threads:
        waits = threads.submit(client.call, "org.example.Wait", Text("x"), Text)
        until_now(lambda: len(service.service.waiting) == 2)
        service.service.waiting[1].connection.loop.call_soon_threadsafe(
            service.service.waiting[1].answer, Text("at last")
        )
        assert waits.result(PATIENCE_S)[0].text == "at last"


def test_a_call_that_waits_hears_that_the_service_ends(place: Path) -> None:
    with ServiceThread(place / "s") as service, ThreadPoolExecutor() as threads:
        client = Client(str(place / "s"), gone=GovernorGone)
        waits = threads.submit(client.call, "org.example.Wait", Text("w"), Text)
        until_now(lambda: service.service.waiting)
        service.close()
        with pytest.raises(GovernorGone, match="closed"):
            waits.result(PATIENCE_S)
        client.close()


def test_who_is_one_too_many_hears_it(place: Path) -> None:
    with (
        ServiceThread(place / "s", connections_max=1),
        Client(str(place / "s")) as first,
        Client(str(place / "s"), gone=GovernorGone) as second,
    ):
        echo(first, "x")
        with pytest.raises(Unavailable, match="all 1 connections"):
            echo(second, "y")
        assert echo(first, "x") == "x"


def test_a_child_after_a_fork_has_connections_of_its_own(
    client: Client, service: ServiceThread
) -> None:
    echo(client, "parent")
    with client._guard:  # as if another thread had it
        child = in_a_child(lambda: echo(client, "child"))
    assert echo(client, "parent") == "parent"
    assert answer_of(*child) == "child"
    assert len(service.service.opened) == 2
