"""Who belongs to COMMAND: the members of its process group, and those of its descent that left it.

Descendants are found because the supervisor is a *subreaper* (prctl(2)): who loses his parent
becomes its child, and not a child of init. Looking means to read all of /proc, so it is done only
when it matters. A process that changes its parent between two lines of /proc can be missed; the
next look finds it.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass

from holdfast.supervise.launcher import PR_SET_CHILD_SUBREAPER, prctl

__all__ = ["Family", "Kin", "is_alone"]


@dataclass(frozen=True, slots=True)
class Kin:
    """One process, as /proc shows it."""

    pid: int
    parent: int
    group: int
    state: str

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return self.state not in "ZX"


class Family:
    """The processes of one COMMAND.

    Make it before COMMAND is started: whoever is our child already is a stranger.
    """

    def __init__(self) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        ours = os.getpid()
        self._strangers = {kin.pid for kin in _processes() if kin.parent == ours}
        self.leader = 0
        self.guard = 0

    def living(self, *, wide: bool) -> list[int]:
        """The pids of those in the group that live, and if `wide`, of all descendants."""
        seen = list(_processes())
        found = {kin.pid for kin in seen if kin.group == self.leader}
        if wide:
            found |= self._descendants(seen)
        return sorted(kin.pid for kin in seen if kin.pid in found and kin.alive)

    def signal_group(self, number: int) -> None:
        """Send a signal to the group. The leader's entry keeps its number from being given anew."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.leader, number)

    def signal_leader(self, number: int) -> None:
        """Send a signal to COMMAND alone."""
        with suppress(ProcessLookupError, PermissionError):
            os.kill(self.leader, number)

    def signal_all(self, number: int) -> None:
        """Send a signal to the group, and to each descendant that has left it."""
        self.signal_group(number)
        members = set(self.living(wide=False))
        for pid in self.living(wide=True):
            if pid not in members:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)

    def reap(self) -> None:
        """Take away the entries of the dead that became our children; the leader's stays."""
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None or dead.si_pid == self.leader:
                return
            with suppress(ChildProcessError):
                os.waitpid(dead.si_pid, os.WNOHANG)

    def bury(self) -> None:
        """The end: the guard is sent home, and the leader's entry is taken away."""
        for pid in (self.guard, self.leader):
            if pid:
                if pid == self.guard:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    # The leader may live still, if it could not be killed: then nobody waits.
                    os.waitpid(pid, os.WNOHANG if pid == self.leader else 0)
        self.guard = self.leader = 0

    def _descendants(self, seen: list[Kin]) -> set[int]:
        found: set[int] = set()
        parents = {os.getpid()}
        while parents:
            children = {kin.pid for kin in seen if kin.parent in parents} - found
            children -= self._strangers | {self.guard}
            found |= children
            parents = children
        return found


def is_alone() -> bool:
    """Whether nobody but us is in our own process group."""
    ours = os.getpgrp()
    return all(kin.group != ours or kin.pid == os.getpid() for kin in _processes() if kin.alive)


def _processes() -> list[Kin]:
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                line = file.read()
        except OSError:
            continue  # it has ended since
        # The name stands in parentheses and may hold some itself, proc_pid_stat(5).
        state, parent, group = line[line.rindex(b")") + 2 :].split(maxsplit=3)[:3]
        found.append(Kin(int(name), int(parent), int(group), state.decode("ascii")))
    return found
