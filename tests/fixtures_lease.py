"""Fixtures for whatever uses leases: places of each kind, a clock by hand, stores that fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast import lease
from holdfast.lease import Held, Leases, Record
from holdfast.lease.stores import Store
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore
from tests.peer import python_path

PATIENCE_S = 30.0  # a bound for liveness, never a measure

Open = Callable[..., Leases]
RunProgram = Callable[..., str]


def place_of(kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of a place of that kind that nobody else uses."""
    match kind:
        case "memory":
            return f"memory:{uuid.uuid4().hex}"
        case "local":
            return f"local:?dir={request.getfixturevalue('directory')}"
        case "sqlite":
            return f"sqlite:///{request.getfixturevalue('tmp_path')}/leases.db"
        case "postgresql":
            return str(request.getfixturevalue("postgres").url)
    raise AssertionError(kind)


KINDS = ["memory", "local", "sqlite", "postgresql"]
SHARED_KINDS = KINDS[1:]  # those that another process can reach


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    """A place for leases of each kind, empty."""
    return place_of(request.param, request)


@pytest.fixture(params=SHARED_KINDS)
def shared_url(request: pytest.FixtureRequest) -> str:
    """A place of each kind that other processes can reach."""
    return place_of(request.param, request)


@pytest.fixture
def open_leases() -> Iterator[Open]:
    """Opens leases, and closes them after the test."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **settings: Any) -> Leases:
            return stack.enter_context(lease.open(url, **settings))

        yield make


@pytest.fixture
def leases(url: str, open_leases: Open) -> Leases:
    """The leases of such a place."""
    return open_leases(url)


@pytest.fixture
def others(url: str, open_leases: Open) -> Leases:
    """The same, opened by somebody else."""
    return open_leases(url)


def until(condition: Callable[[], object], patience_s: float = PATIENCE_S) -> bool:
    """Wait for something that has to happen."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())


def renewed(held: Held, since_ns: int) -> bool:
    """Wait until it is believed in for longer than until then."""
    return until(lambda: held.deadline_ns > since_ns)


def threads_of_leases() -> set[threading.Thread]:
    """The threads that leases have started and that still run."""
    return {one for one in threading.enumerate() if one.name.startswith("holdfast-lease")}


def program(source: str, *arguments: str, warnings: str = "error", timeout: float = 50) -> str:
    """Run source in an interpreter of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", textwrap.dedent(source), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": python_path()},
        timeout=timeout,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.stderr == ""
    return done.stdout.strip()


class Going(threading.Thread):
    """A thread that somebody asks for its outcome."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.value: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.value = self.work()
        except BaseException as error:  # noqa: BLE001 - the test wants to know of any
            self.error = error

    def outcome(self) -> Any:
        self.join(PATIENCE_S)
        assert not self.is_alive(), "it has not ended"
        if self.error is not None:
            raise self.error
        return self.value


class Hands:
    """A clock that is moved by hand."""

    def __init__(self, now_ns: int = 10**12) -> None:
        self.now_ns = now_ns

    def boottime_ns(self) -> int:
        return self.now_ns

    monotonic_ns = realtime_ns = boottime_ns

    def pass_s(self, seconds: float) -> bool:
        """Move on. False, so that it can stand in a condition that is waited for."""
        self.now_ns += round(seconds * 1e9)
        return False


class Faulty:
    """A store between which and its user something can happen.

    Attributes:
        calls: How often each operation was called.
        before: For an operation, what happens instead of the call; what it returns is not used, and
            then the call is made all the same.
        after: For an operation, what happens when it was done, before the caller hears of it.
    """

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.calls: dict[str, int] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            if name in self.before:
                self.before[name]()
            answer = found(*arguments, **more)
            if name in self.after:
                self.after[name]()
            return answer

        return call


class Bench:
    """A `Leases` over memory whose two connections can be made to fail.

    Attributes:
        database: The place.
        ours: What the callers use.
        theirs: What the renewer uses.
        clock: Moved by hand.
        leases: What is under test.
    """

    def __init__(
        self, clock: Hands | None = None, *, kind: type[MemoryStore] = MemoryStore
    ) -> None:
        self.database = MemoryDatabase()
        self.kind = kind
        self.opened: list[Faulty] = []
        self.clock = clock
        self.leases = Leases(self._open, clock=clock)

    def _open(self) -> Any:
        made = Faulty(self.kind(self.database))
        self.opened.append(made)
        return made

    @property
    def ours(self) -> Faulty:
        return self.opened[0]

    @property
    def theirs(self) -> Faulty:
        # Opened is not all: if its first look at the clock fails, the renewer opens another.
        assert until(lambda: self.leases.renewer._driver), "the renewer has opened no store"
        return self.opened[1]

    def record(self, name: str) -> Record | None:
        """What the place shows."""
        return self.database.held.get(("default", name))

    def close(self) -> None:
        self.leases.close()


def raising(error: BaseException) -> Callable[[], object]:
    """What fails."""

    def fail() -> object:
        raise error

    return fail


def names(listing: Sequence[Record]) -> list[str]:
    """Of which leases."""
    return [record.name for record in listing]


def executable(source: str, directory: Path) -> Path:
    """A program in a file, for those who start several processes of it."""
    path = directory / "program.py"
    path.write_text(textwrap.dedent(source))
    return path
