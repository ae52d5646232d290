"""Where stores are kept while they are measured: one directory in memory, one on a disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Self

from holdfast.closing import Closing

__all__ = ["Directories", "file_system"]

_CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}


class Directories(Closing):
    """Made when it is entered, and removed with all that is in them.

    Attributes:
        memory: On /dev/shm, where there is one.
        disk: In the system's directory for temporary files (``TMPDIR``); where that is in memory,
            too, in ``build`` of the checkout.
    """

    def __init__(self) -> None:
        self.memory = ""
        self.disk = ""

    def __enter__(self) -> Self:
        shm = "/dev/shm"
        self.memory = _made(shm if os.path.isdir(shm) else tempfile.gettempdir())
        temporary = tempfile.gettempdir()
        if file_system(temporary) in _IN_MEMORY:
            temporary = os.path.join(_CHECKOUT, "build")
            os.makedirs(temporary, exist_ok=True)
        self.disk = _made(temporary)
        return self

    def close(self) -> None:
        """Remove both, with all that is in them."""
        for directory in (self.memory, self.disk):
            shutil.rmtree(directory, ignore_errors=True)

    def describe(self) -> dict[str, str]:
        """The file systems, by name."""
        return {"memory": file_system(self.memory), "disk": file_system(self.disk)}


def _made(parent: str) -> str:
    return tempfile.mkdtemp(prefix="holdfast-bench-", dir=parent)


def file_system(path: str) -> str:
    """The kind of file system that a path lies on: proc_pid_mountinfo(5)."""
    real = os.path.join(os.path.realpath(path), "")
    best, kind = "", "unknown"
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            point = os.path.join(words[4], "")
            if real.startswith(point) and len(point) >= len(best):
                best, kind = point, words[words.index("-") + 1]
    return kind
