"""Processes that hold on to a pipe, in all the ways there are; they end with the test."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PATIENCE_S = 40.0


def until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    poll = select.poll()
    poll.register(child.stdout, select.POLLIN)
    assert poll.poll(PATIENCE_S * 1000), "it says nothing"
    return child.stdout.readline().rstrip("\n")


def state_of(pid: int) -> str:
    """The state letter of a process; "" when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return chr(stat[stat.rindex(b")") + 2])


class Crowd:
    """Children, and descriptors, that are given back at the end."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[str]] = []
        self._grandchildren: list[int] = []
        self.descriptors: list[int] = []

    def pipe(self) -> tuple[int, int, int]:
        """The read end, the write end, and the inode."""
        read, write = os.pipe()
        self.descriptors += [read, write]
        return read, write, os.fstat(write).st_ino

    def drop(self, fd: int) -> None:
        self.descriptors.remove(fd)
        os.close(fd)

    def start(
        self, *argv: str, fds: tuple[int, ...] = (), session: bool = False
    ) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=fds,
            start_new_session=session,
        )
        self._children.append(child)
        return child

    def program(self, source: str, *argv: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-c", source, *argv, fds=fds)

    def sleeper(self, *fds: int) -> subprocess.Popen[str]:
        """One that sleeps. A child that was just started need not be that program yet."""
        child = self.start("sleep", "1000", fds=fds)
        command = Path(f"/proc/{child.pid}/cmdline")
        assert until(
            lambda: command.read_bytes() == b"sleep\x001000\x00" and state_of(child.pid) == "S"
        )
        return child

    def adopt(self, pid: int) -> int:
        """End that process too, which is not a child of ours."""
        self._grandchildren.append(pid)
        return pid

    def close(self) -> None:
        for pid in self._grandchildren:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for child in self._children:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            child.wait()
        for fd in self.descriptors:
            os.close(fd)


@contextlib.contextmanager
def crowd_of_a_test() -> Iterator[Crowd]:
    with contextlib.closing(Crowd()) as crowd:
        yield crowd
