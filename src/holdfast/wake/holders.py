"""Who holds a wake lease now: a look at the descriptors of all processes.

A wake lease is the write end of a pipe, and its holders are the processes that have that pipe open
for writing: ``/proc/PID/fd`` shows which descriptor is of which pipe, ``/proc/PID/fdinfo`` how it
was opened (proc_pid_fd(5), proc_pid_fdinfo(5)). A copy in a message that nobody has received is in
no process; the kernel tells only in which sockets descriptors wait (``scm_fds``, since Linux 5.6).

Processes come and go meanwhile. Each is opened once, as a directory, and all is read through that:
if its pid is given to another, what is read is an error and not the other's. A copy that changes
hands while we look can be missed in both; so if a lease has no holder, a second look follows.

Not seen are descriptors of a thread that has a table of its own (unshare(2), CLONE_FILES).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from holdfast.wake.hops import Process
from holdfast.wake.whereabouts import Halt, Holder, HoldState, Mailbox, Scan, command_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["look", "scan"]

PROCESSES_MAX: Final = 8192
DESCRIPTORS_MAX: Final = 500_000
_ARGV_BYTES_MAX: Final = 1024
_FOREBEARS_MAX: Final = 64
_KERNEL_THREAD: Final = 0x0020_0000  # PF_KTHREAD of the kernel's sched.h, stable since 2.6.27
_FIRST_PID_NAMESPACE: Final = 0xEFFF_FFFC  # PROC_PID_INIT_INO, the kernel's proc_ns.h
_LOOKS: Final = 3
_BETWEEN_LOOKS_S: Final = 0.002
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def scan(
    inodes: Iterable[int],
    *,
    first: Iterable[int] = (),
    processes_max: int = PROCESSES_MAX,
    descriptors_max: int = DESCRIPTORS_MAX,
    proc: str = "/proc",
    cgroups: str = "/sys/fs/cgroup",
) -> Scan:
    """Find who has these pipes open for writing, all in one go.

    It takes about 2 us for each descriptor on the machine, and blocks so long.

    Args:
        inodes: The pipes' inodes (`os.fstat` of any of its descriptors).
        first: Processes that are likely holders: they are looked into before the limits count.
        processes_max: Look into no more processes than that.
        descriptors_max: And at no more descriptors, all together.
        proc: Where proc(5) is mounted.
        cgroups: Where cgroups(7) are mounted.
    """
    wanted = set(inodes)
    look_at = _Look(proc, cgroups, wanted, processes_max, descriptors_max)
    if wanted:
        look_at.all_processes(first)
        if look_at.narrow():
            look_at.all_processes(first)
        if look_at.narrow():
            look_at.mailboxes_of_all(first)
    return Scan(
        holders={
            inode: tuple(sorted(look_at.found.get(inode, {}).values(), key=lambda one: one.pid))
            for inode in wanted
        },
        mailboxes=tuple(look_at.mailboxes),
        processes=look_at.processes,
        denied=look_at.denied,
        skipped=look_at.skipped,
        hidden=not os.path.exists(f"{proc}/1"),  # there always is one
        outside=_inode(f"{proc}/self/ns/pid") != _FIRST_PID_NAMESPACE,
    )


def look(pid: int, *, proc: str = "/proc") -> Process:
    """Which process has that number now, with what is known of it; never fails."""
    try:
        with _Place(f"{proc}/{pid}") as place:
            facts = _facts(place)
            return Process(
                pid, facts.start_ticks, facts.session, command_of(_argv(place, facts.name))
            )
    except (OSError, ValueError):
        return Process(pid)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What ``/proc/PID/stat`` says, proc_pid_stat(5)."""

    pid: int
    name: str
    state: str
    parent: int
    session: int
    flags: int
    threads: int
    start_ticks: int

    @property
    def holds_nothing(self) -> bool:
        """A thread of the kernel, or a zombie; but not one whose other threads live on."""
        zombie = self.state in "ZX" and self.threads <= 1
        return zombie or bool(self.flags & _KERNEL_THREAD)


class _Place:
    """``/proc/PID``, held open: what is read through it is that process's, or an error."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, _DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def names(self, name: str) -> list[str]:
        inner = os.open(name, _DIRECTORY, dir_fd=self.fd)
        try:
            return os.listdir(inner)
        finally:
            os.close(inner)

    def read(self, name: str, size: int = 4096) -> bytes:
        inner = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return os.read(inner, size)
        finally:
            os.close(inner)

    def target(self, name: str) -> str:
        return os.readlink(name, dir_fd=self.fd)


class _Look:
    def __init__(
        self,
        proc: str,
        cgroups: str,
        wanted: set[int],
        processes_max: int,
        descriptors_max: int,
    ) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._links = {f"pipe:[{inode}]": inode for inode in wanted}
        self._processes_max = processes_max
        self._descriptors_max = descriptors_max
        self._known: dict[int, _Facts | None] = {}
        self._descriptors = 0
        self.found: dict[int, dict[int, Holder]] = {}
        self.mailboxes: list[Mailbox] = []
        self.processes = self.denied = self.skipped = 0

    def narrow(self) -> bool:
        """Look only for those that have no holder yet; whether there are any."""
        self._links = {
            link: inode for link, inode in self._links.items() if inode not in self.found
        }
        return bool(self._links)

    def all_processes(self, first: Iterable[int]) -> None:
        """Look into each for the pipes."""
        self._begin()
        for pid in self._pids(first):
            self._visit(pid, self._holds)

    def mailboxes_of_all(self, first: Iterable[int]) -> None:
        """Look into each for sockets in which descriptors wait."""
        self._begin()
        for pid in self._pids(first):
            self._visit(pid, self._waits)

    def _begin(self) -> None:
        self._known = {}
        self._descriptors = self.processes = self.denied = self.skipped = 0

    def _pids(self, first: Iterable[int]) -> Iterator[int]:
        likely = dict.fromkeys(first)
        yield from likely
        # The newest first: those that inherited something are among them.
        rest = sorted(
            (int(name) for name in os.listdir(self._proc) if name.isdigit()), reverse=True
        )
        for pid in rest:
            if pid in likely:
                continue
            if self.processes >= self._processes_max or self._descriptors >= self._descriptors_max:
                self.skipped += 1
            else:
                yield pid

    def _visit(self, pid: int, see: _See) -> None:
        try:
            with _Place(f"{self._proc}/{pid}") as place:
                try:
                    see(place, pid)
                    self.processes += 1
                except PermissionError:
                    # Not ours; or it holds nothing, and then it belongs to root as well.
                    if not _facts(place).holds_nothing:
                        self.denied += 1
        except (OSError, ValueError):
            return  # it has ended since

    def _descriptors_of(self, place: _Place) -> Iterator[str]:
        """The paths of its descriptors. The first thread's table is that of all, while it lives."""
        directory = "fd"
        names: list[str] = []
        denied: PermissionError | None = None
        try:
            names = place.names(directory)
        except PermissionError as error:
            denied = error
        if not names:
            # Of a dead first thread it is empty, and root's.
            facts = _facts(place)
            if facts.state in "ZX" and facts.threads > 1:
                denied = None
                for thread in place.names("task"):
                    directory = f"task/{thread}/fd"
                    if thread != str(facts.pid) and (names := place.names(directory)):
                        break
        if denied is not None:
            raise denied
        self._descriptors += len(names)
        for name in names:
            yield f"{directory}/{name}"

    def _holds(self, place: _Place, pid: int) -> None:
        mine: dict[int, list[int]] = {}
        for path in self._descriptors_of(place):
            try:
                inode = self._links.get(place.target(path))
                if inode is not None and _writes(place, path):
                    mine.setdefault(inode, []).append(int(path.rpartition("/")[2]))
            except FileNotFoundError:
                continue  # closed since
        for inode, fds in mine.items():
            self.found.setdefault(inode, {})[pid] = self._holder(place, pid, fds)

    def _waits(self, place: _Place, pid: int) -> None:
        sockets: list[int] = []
        waiting = 0
        for path in self._descriptors_of(place):
            try:
                if place.target(path).startswith("socket:"):
                    count = _info(place, path).get("scm_fds", "0")
                    if count != "0":
                        waiting += int(count)
                        sockets.append(int(path.rpartition("/")[2]))
            except FileNotFoundError:
                continue
        if sockets:
            facts = _facts(place)
            uid = os.fstat(place.fd).st_uid
            argv = _argv(place, facts.name)
            self.mailboxes.append(
                Mailbox(pid, facts.start_ticks, uid, argv, tuple(sorted(sockets)), waiting)
            )

    def _holder(self, place: _Place, pid: int, fds: list[int]) -> Holder:
        facts = _facts(place)
        halt = self._halt(place, facts)
        parents = tuple(self._parents(facts))
        above = self._known.get(facts.parent)
        return Holder(
            pid=pid,
            start_ticks=facts.start_ticks,
            uid=os.fstat(place.fd).st_uid,
            argv=_argv(place, facts.name),
            fds=tuple(sorted(fds)),
            state=HoldState.HOLDING if halt is None else HoldState.FROZEN,
            halt=halt,
            parents=parents,
            session=facts.session,
            orphan=facts.session != pid and _adopted(above, facts.session),
        )

    def _parents(self, facts: _Facts) -> Iterator[Process]:
        child = facts
        for _ in range(_FOREBEARS_MAX):
            parent = self._facts_of(child.parent)
            # A parent is older than its child: another has its number now.
            if parent is None or parent.start_ticks > child.start_ticks:
                return
            yield Process(parent.pid, parent.start_ticks, parent.session, parent.name)
            child = parent

    def _facts_of(self, pid: int) -> _Facts | None:
        if pid not in self._known:
            self._known[pid] = None
            try:
                with _Place(f"{self._proc}/{pid}") as place:
                    self._known[pid] = _facts(place)
            except (OSError, ValueError):
                pass
        return self._known[pid]

    def _halt(self, place: _Place, facts: _Facts) -> Halt | None:
        if facts.state == "T":
            return Halt.STOPPED
        if facts.state == "t":
            return Halt.TRACED
        if self._is_in_a_frozen_group(place):
            return Halt.FROZEN
        for _ in range(_LOOKS):
            if facts.state != "D":
                return None
            time.sleep(_BETWEEN_LOOKS_S)  # whoever reads a file is there for a moment, too
            facts = _facts(place)
        return Halt.KERNEL

    def _is_in_a_frozen_group(self, place: _Place) -> bool:
        """Whether its cgroup is frozen, by either version of cgroups(7)."""
        try:
            lines = place.read("cgroup").decode(errors="surrogateescape").splitlines()
        except OSError:
            return False
        for line in lines:
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0":
                states = [f"{top}{path}/cgroup.events" for top in ("", "/unified")]
            elif "freezer" in controllers.split(","):
                states = [f"/freezer{path}/freezer.state"]
            else:
                continue
            for state in states:
                try:
                    with open(self._cgroups + state, encoding="ascii") as file:
                        words = file.read().split()
                except OSError:
                    continue
                if words[:1] in (["FROZEN"], ["FREEZING"]) or "frozen 1" in " ".join(words):
                    return True
        return False


if TYPE_CHECKING:
    from collections.abc import Callable

    _See = Callable[[_Place, int], None]


def _facts(place: _Place) -> _Facts:
    line = place.read("stat")
    # The name stands in parentheses and may itself hold spaces and parentheses: to the last one.
    head, _, tail = line.rpartition(b")")
    pid, _, name = head.partition(b"(")
    words = tail.split()
    return _Facts(
        pid=int(pid),
        name=name.decode(errors="replace"),
        state=words[0].decode("ascii"),
        parent=int(words[1]),
        session=int(words[3]),
        flags=int(words[6]),
        threads=int(words[17]),
        start_ticks=int(words[19]),
    )


def _adopted(above: _Facts | None, session: int) -> bool:
    """Whether a parent is one that takes in the children of the dead, as far as can be seen.

    That is the first process, or a subreaper, prctl(2). Either mostly has a session of its own; the
    first process of a container does not.
    """
    return above is None or above.pid == 1 or above.session != session


def _argv(place: _Place, name: str) -> tuple[str, ...]:
    """The command line, or the short name of who has none."""
    data = place.read("cmdline", _ARGV_BYTES_MAX)
    words = data.decode(errors="replace").split("\0")
    if words and not words[-1]:
        words.pop()
    return tuple(words) or (name,)


def _writes(place: _Place, path: str) -> bool:
    """Whether the descriptor keeps the pipe's write end open."""
    flags = int(_info(place, path).get("flags", "0"), 8)
    return flags & os.O_ACCMODE in {os.O_WRONLY, os.O_RDWR}


def _info(place: _Place, path: str) -> dict[str, str]:
    text = place.read(path.replace("fd/", "fdinfo/", 1)).decode("ascii", errors="replace")
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
