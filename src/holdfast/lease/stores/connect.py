"""From a URL to a store: what opens connections to it, as many as are needed."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from holdfast.errors import InvalidArgument
from holdfast.lease.record import check_word
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.lease.stores import Store

__all__ = ["opener"]

_memories: dict[str, MemoryDatabase] = {}
_memories_lock = threading.Lock()


def opener(url: str, namespace: str) -> Callable[[], Store]:
    """What opens a store, each time that it is called.

    Raises:
        InvalidArgument: There is no such kind of store, or the namespace is none.
        Unsupported: It needs what is not installed.
    """
    check_word(namespace, "namespace")
    if not isinstance(url, str):
        raise InvalidArgument(f"the URL of a store is no string: {url!r}", hint='use "local:"')
    scheme, colon, rest = url.partition(":")
    if not colon:
        raise InvalidArgument(
            f"no store: {url!r}",
            hint="use local:, sqlite:///PATH, postgresql+psycopg://…, or memory:",
        )
    match scheme.partition("+")[0]:
        case "memory":
            with _memories_lock:
                database = _memories.setdefault(rest, MemoryDatabase())
            return lambda: MemoryStore(database, namespace=namespace)
        case "local":
            from holdfast.lease.stores.local import LocalStore

            directory = _directory(url)
            return lambda: LocalStore(directory, namespace=namespace)
        case "sqlite" | "postgresql":
            from holdfast.lease.stores.sql import SqlStore

            fixed = _absolute(url)
            return lambda: SqlStore(fixed, namespace=namespace)
    raise InvalidArgument(
        f"no store is called {scheme!r}",
        on=url,
        hint="there are local:, sqlite:, postgresql+psycopg: and memory:",
    )


def _absolute(url: str) -> str:
    """The same file after a chdir, too: some connections are opened late."""
    before, slashes, after = url.partition("///")
    path, mark, options = after.partition("?")
    if not before.startswith("sqlite") or not path or path.startswith((":", "/", "file:")):
        return url
    return f"{before}{slashes}{os.path.abspath(path)}{mark}{options}"


def _directory(url: str) -> str | None:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    directory = options.pop("dir", None)
    if options or parts.path or parts.netloc or parts.fragment or directory == "":
        raise InvalidArgument(
            f"local: knows only the option dir, and not {url!r}", hint="local:?dir=/var/lib/app"
        )
    return None if directory is None else os.path.abspath(directory)
