"""Who an owner is: enough facts to name a process, and to tell whether it still lives.

A pid alone says little: it is reused, it means another process in another container, and it
outlives a reboot in a file. The boot id, the pid namespace and the start time close these gaps.
Sources: proc_pid_stat(5) field 22, random(4) on boot_id, pid_namespaces(7).
"""

from __future__ import annotations

import enum
import functools
import os
import pwd
import shlex
import socket
import sys
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from holdfast.clock import NS_PER_S, SystemClock
from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ARGV_CHARS_MAX", "Liveness", "Owner", "boot_id"]

# A record of an owner must fit beside other things into one page of shared memory.
ARGV_CHARS_MAX = 512


class Liveness(enum.Enum):
    """Whether a process is alive, as seen from here. UNKNOWN must never count as dead."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Owner:
    """The facts about a process that holds something, as they were when it took hold.

    Attributes:
        host: The host's name.
        boot_id: The kernel's random id of this boot; "" where there is none.
        pid: The process id, in its own pid namespace.
        pid_namespace: Which pid namespace that is; 0 where there is none.
        start_ticks: When the process started, in clock ticks since boot.
        uid: The effective user id.
        argv: The command line, cut off after `ARGV_CHARS_MAX` characters.
        why: What it holds on for, in the words of its author, or None.
        since_ns: When it took hold, in nanoseconds of CLOCK_REALTIME. For people to read.
    """

    host: str
    boot_id: str
    pid: int
    pid_namespace: int
    start_ticks: int
    uid: int
    argv: tuple[str, ...]
    why: str | None
    since_ns: int

    @classmethod
    def current(cls, *, why: str | None = None, since_ns: int | None = None) -> Self:
        """This process, now (or since `since_ns` of CLOCK_REALTIME)."""
        pid = os.getpid()
        seen = _process_facts(pid)
        return cls(
            host=socket.gethostname(),
            boot_id=boot_id(),
            pid=pid,
            pid_namespace=_pid_namespace(),
            start_ticks=seen[1] if seen else 0,
            uid=os.geteuid(),
            argv=_shortened(sys.orig_argv),
            why=why,
            since_ns=SystemClock().realtime_ns() if since_ns is None else since_ns,
        )

    def alive(self) -> Liveness:
        """Whether the process still runs.

        NO is certain: it ended, or is a zombie, or its pid belongs to a later process. A process
        of another boot id may run on another machine, and one of another pid namespace cannot be
        looked at from here: both are UNKNOWN.
        """
        if not self.boot_id or self.boot_id != boot_id():
            return Liveness.UNKNOWN
        if self.pid_namespace != _pid_namespace():
            return Liveness.UNKNOWN
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return Liveness.NO
        except PermissionError:
            pass  # it exists, and belongs to somebody else
        seen = _process_facts(self.pid)
        if seen is None:
            # It ended since, or /proc is mounted with hidepid and shows it to its user only.
            return Liveness.UNKNOWN
        state, start_ticks = seen
        gone = state in "ZX" or start_ticks != self.start_ticks
        return Liveness.NO if gone else Liveness.YES

    def describe(self, *, now_ns: int | None = None) -> str:
        """The owner in words: ``alice@web2 pid 4711 (./migrate.sh) for 12 s, why: schema 42``.

        Args:
            now_ns: CLOCK_REALTIME now; with it, the sentence says for how long.
        """
        text = f"{self._user()}@{self.host} pid {self.pid} ({shlex.join(self.argv)})"
        if now_ns is not None:
            text += f" for {max(0, now_ns - self.since_ns) // NS_PER_S} s"
        return text if self.why is None else f"{text}, why: {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON or a database."""
        return asdict(self) | {"argv": list(self.argv)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The owner that `to_dict` made `values` of; unknown keys are ignored.

        Raises:
            InvalidArgument: A field is missing or of the wrong type.
        """
        kept: dict[str, Any] = {}
        for field in fields(cls):
            value = values.get(field.name)
            if not _fits(field.name, value):
                raise InvalidArgument(
                    f"not the record of an owner: {field.name} is {value!r}",
                    hint="it was written by something else, or by a later version",
                )
            kept[field.name] = tuple(value) if isinstance(value, list | tuple) else value
        return cls(**kept)

    def _user(self) -> str:
        # The names of users are the business of each machine.
        if self.boot_id == boot_id():
            try:
                return pwd.getpwuid(self.uid).pw_name
            except KeyError:
                pass
        return f"uid {self.uid}"


@functools.cache
def boot_id() -> str:
    """The kernel's random id of this boot, or "" where the kernel has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pid_namespace() -> int:
    # Not cached: unshare(2) can change it for the children of a fork.
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _process_facts(pid: int) -> tuple[str, int] | None:
    """The state letter and the start time in ticks of a process, or None if it shows neither."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses: count from the
    # last one. Field 3 is the state and field 22 the start time, proc_pid_stat(5).
    rest = line[line.rindex(b")") + 2 :].split()
    return rest[0].decode("ascii"), int(rest[19])


def _shortened(argv: list[str]) -> tuple[str, ...]:
    kept: list[str] = []
    room = ARGV_CHARS_MAX
    for word in argv:
        if len(word) > room:
            kept.append(word[:room] + "...")
            break
        kept.append(word)
        room -= len(word)
    return tuple(kept)


def _fits(name: str, value: object) -> bool:
    match name:
        case "host" | "boot_id":
            return isinstance(value, str)
        case "why":
            return value is None or isinstance(value, str)
        case "argv":
            return isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)
        case _:
            return isinstance(value, int) and not isinstance(value, bool)
