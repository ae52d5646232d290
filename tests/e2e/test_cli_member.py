"""``holdfast member`` as a user meets it: members in processes of their own, killed and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest

from holdfast.cli.main import run
from holdfast.membership import look
from tests.addresses import ANY_PORT, no_name_server

PROGRAM = [sys.executable, "-m", "holdfast"]
PATIENCE_S = 40.0
# A death is noticed soon; so is a stall, and who is taken for dead comes back.
QUICK = ("--period", "300ms")
# However long a process stalls, nobody suspects it.
SLOW = ("--period", "60s")
ASK = ("--timeout", f"{PATIENCE_S:.0f}s")


class Running:
    """A member in a process of its own, that tells in JSON what it sees."""

    def __init__(self, name: str, *arguments: str, program: list[str] = PROGRAM) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [*program, "member", "run", name, "--bind", ANY_PORT, *arguments, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # what was read ahead would be hidden from select
        )
        self.address: str = self.line("started")["member"]["address"]

    def line(self, what: str, name: str | None = None) -> dict[str, Any]:
        """The next line of that kind, about that member.

        Who is slow to say its name has joined before, without one, and is updated then.
        """
        kinds = ("joined", "updated") if what == "joined" and name else (what,)
        out = self._process.stdout
        assert out is not None
        end = time.monotonic() + PATIENCE_S
        while True:
            ready, _, _ = select.select([out], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{self.name} does not say {what!r} of {name!r}"
            text = out.readline()
            assert text, self._process.communicate()
            line: dict[str, Any] = json.loads(text)
            if line["what"] in kinds and name in (None, line["member"]["name"]):
                return line

    def sees(self, *names: str) -> None:
        """Wait until it lists these members, and all of them alive."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = sorted((one.name, one.state) for one in look(self.address, timeout=PATIENCE_S))
            if found == [(name, "alive") for name in sorted(names)]:
                return
            assert time.monotonic() < end, found
            time.sleep(0.05)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(PATIENCE_S)

    def rest(self) -> tuple[list[dict[str, Any]], bytes]:
        """All that it says until its end."""
        out, err = self._process.communicate(timeout=PATIENCE_S)
        return [json.loads(line) for line in out.splitlines()], err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def holdfast(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | more,
        timeout=PATIENCE_S,
    )


def three(*settings: str) -> Iterator[list[Running]]:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Running("n0", *settings, "--tag", "role=first"))
        join = ("--join", first.address)
        others = [stack.enter_context(Running(f"n{at}", *settings, *join)) for at in (1, 2)]
        for one, other in zip(others, ("n2", "n1"), strict=True):
            one.sees("n0", "n1", "n2")
            one.line("joined", other)
        first.sees("n0", "n1", "n2")
        yield [first, *others]


@pytest.fixture
def trio() -> Iterator[list[Running]]:
    """Three members that know each other, and find out soon who is dead."""
    yield from three(*QUICK)


@pytest.fixture
def patient() -> Iterator[list[Running]]:
    """Three that know each other, and take nobody for dead."""
    yield from three(*SLOW)


def test_a_process_that_is_killed_has_failed_and_its_next_life_is_let_in(
    trio: list[Running],
) -> None:
    first, second, third = trio
    second.send(signal.SIGKILL)
    second.wait()
    for one in (first, third):
        line = one.line("failed", "n1")
        assert line["member"]["address"] == second.address
    with Running("n1", *QUICK, "--bind", second.address, "--join", third.address) as again:
        for one in (first, third):
            assert one.line("joined", "n1")["member"]["address"] == second.address
        again.line("joined", "n0")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_makes_it_leave_in_good_order(patient: list[Running], number: int) -> None:
    first, second, third = patient
    third.send(number)
    assert third.wait() == 0
    assert first.line("left", "n2")["member"]["state"] == "left"
    assert second.line("left", "n2")
    assert third.rest()[1] == b""


PATIENT = """
import sys
from holdfast.cli.main import main
from holdfast.membership.cluster import node
node.LINGER_NS = 10**11
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_a_second_signal_ends_it_at_once(number: int, code: int) -> None:
    program = [sys.executable, "-c", PATIENT]
    with (
        Running("a", *SLOW) as a,
        Running("b", *SLOW, "--join", a.address, program=program) as b,
    ):
        a.line("joined", "b")
        b.line("joined", "a")
        b.send(number)
        a.line("left", "b")
        b.send(number)
        assert b.wait() == code


def test_a_stopped_process_is_suspected_and_comes_back(trio: list[Running]) -> None:
    first, second, third = trio
    second.send(signal.SIGSTOP)
    try:
        first.line("failed", "n1")
    finally:
        second.send(signal.SIGCONT)
    assert first.line("joined", "n1")
    third.sees("n0", "n1", "n2")


def test_ls_and_watch_see_who_is_there_and_nobody_sees_them(patient: list[Running]) -> None:
    first, _, third = patient
    listed = holdfast("member", "ls", "--ask", third.address, *ASK, "--json")
    members = {one["name"]: one for one in json.loads(listed.stdout)}
    assert sorted(members) == ["n0", "n1", "n2"]
    assert members["n0"]["tags"] == {"role": "first"}
    assert members["n0"]["address"] == first.address
    assert [one["me"] for one in members.values()].count(True) == members["n2"]["me"] == 1
    columns = holdfast("members", *ASK, HOLDFAST_MEMBER=first.address).stdout.splitlines()
    rows = [line.split("\t") for line in columns]
    assert sorted(row[0] for row in rows) == ["n0", "n1", "n2"]
    watch = ("--ask", first.address, *ASK, "--every", "100ms", "--count", "4")
    watching = subprocess.Popen(
        [*PROGRAM, "member", "watch", *watch],
        stdout=subprocess.PIPE,
        text=True,
    )
    with watching:
        assert watching.stdout is not None
        for _ in range(3):
            assert watching.stdout.readline().split("\t")[1] == "present"
        third.send(signal.SIGINT)
        what, name = watching.stdout.readline().split("\t")[1:3]
        assert (what, name) == ("gone", "n2")
        assert watching.wait(PATIENCE_S) == 0
    first.send(signal.SIGINT)
    told, _ = first.rest()
    assert {line["member"]["name"] for line in told} <= {"n1", "n2"}


def test_ls_where_nobody_is_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["member", "ls", "--ask", "127.0.0.1:9", "--timeout", "100ms"]) == 69
    out, err = capsys.readouterr()
    assert out == ""
    assert "running member" in err


def test_it_leaves_when_its_time_is_over_or_its_lines_are_printed() -> None:
    for limit in (("--timeout", "200ms"), ("--count", "1")):
        done = holdfast("member", "run", "alone", "--bind", ANY_PORT, *limit)
        assert (done.returncode, done.stderr) == (0, "")
        time_, what, name, address, tags = done.stdout.rstrip("\n").split("\t")
        assert (what, name, tags) == ("started", "alone", "-")
        assert time_.endswith("Z")
        assert address.startswith(ANY_PORT.removesuffix("0"))


def test_nodes_on_the_wire_of_the_crate_meet() -> None:
    wire = (*SLOW, "--wire", "foca", "--codec", "bincode")
    with Running("a", *wire) as a, Running("b", *wire, "--join", a.address) as b:
        assert a.line("joined")["member"]["name"] == b.address
        assert b.line("joined")["member"]["name"] == a.address


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--bind", "nowhere"], 2),
        (["--bind", "127.0.0.1:0", "--join", "nowhere"], 2),
        (["--bind", "127.0.0.1:0", "--tag", "role"], 2),
        (["--bind", "127.0.0.1:0", "--period", "soon"], 2),
        (["--bind", "0.0.0.0:0"], 77),
        (["--bind", "no-such-host.invalid:1"], 69),
    ],
)
def test_wrong_arguments_have_their_codes(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_name_server():
        assert run(["member", "run", "a", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")


def test_nobody_reads_any_more_and_it_leaves() -> None:
    with Running("a", *SLOW) as a, Running("b", *SLOW, "--join", a.address) as b:
        a.line("joined", "b")
        assert b._process.stdout is not None
        b.line("joined", "a")
        b._process.stdout.close()
        with Running("c", *SLOW, "--join", a.address):
            assert b.wait() == 141
        assert a.line("left", "b")
