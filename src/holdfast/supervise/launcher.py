"""What becomes COMMAND: it ties itself to the supervisor's life, waits for the word, and executes.

It is run by its path in an isolated interpreter (``python -I -S launcher.py``), and so imports
nothing of ours. Four numbers are its arguments: the supervisor's pid, and the descriptors of

- *life*, a pipe whose other end only the supervisor has: its end is the end of the supervisor;
- *status*, where it writes the guard's pid, and later the errno if COMMAND cannot be executed; that
  it is closed without one says that COMMAND runs;
- *order*, a file with COMMAND's path and arguments, each followed by a zero byte. They are not
  among its own arguments, or who looks for COMMAND by its name would find the guard too.

Two things keep COMMAND from running on when the supervisor was killed with SIGKILL. The kernel
kills COMMAND itself (prctl(2), PR_SET_PDEATHSIG): at once, but nobody else, and not if COMMAND is
set-user-ID. The *guard*, a fork of the launcher in a session of its own, kills the whole group.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
from contextlib import suppress

__all__ = ["GO", "PR_SET_CHILD_SUBREAPER", "main", "prctl"]

GO = b"g"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
BROKE, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


def prctl(option: int, value: int) -> bool:
    """Have the kernel treat this process in a special way; whether it does.

    Source: prctl(2).
    """
    try:
        import ctypes

        call = ctypes.CDLL(None).prctl
        zero = ctypes.c_ulong(0)
        return bool(call(option, ctypes.c_ulong(value), zero, zero, zero) == 0)
    except (ImportError, OSError, AttributeError):
        return False  # an interpreter without ctypes, a system without the call


def main(arguments: list[str]) -> None:
    """Become COMMAND, or end."""
    parent, life, status, order = (int(text) for text in arguments)
    # The interpreter ignores these two, and what is ignored stays so across an exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(BROKE)  # it died before the call above: no signal will come
    _post_guard(life, status)
    if os.read(life, 1) != GO:
        os._exit(BROKE)
    with open(order, "rb") as file:
        path, *argv = file.read().split(b"\0")[:-1]
    os.close(life)
    os.set_inheritable(status, False)  # noqa: FBT003 - it takes no keywords
    code = _execute(path, argv)
    os.write(status, b"%d\n" % code)
    os._exit(NOT_FOUND if code in {errno.ENOENT, errno.ENOTDIR} else NOT_EXECUTABLE)


def _execute(path: bytes, argv: list[bytes]) -> int:
    try:
        os.execv(path, argv)  # noqa: S606 - that is what it is for
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            return error.errno or errno.EINVAL
    try:  # a script without its first line is the shell's, execvp(3)
        os.execv(b"/bin/sh", [b"/bin/sh", path, *argv[1:]])  # noqa: S606
    except OSError as error:
        return error.errno or errno.EINVAL


def _post_guard(life: int, status: int) -> None:
    """Fork twice: the guard shall not be a child of COMMAND, which may wait for all it has."""
    group = os.getpid()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError):  # the C library keeps some for itself
            signal.signal(number, signal.SIG_IGN)
    os.write(status, b"%d\n" % os.getpid())
    _let_go_of_all_but(life)
    poll = select.poll()
    poll.register(life, 0)  # the hang-up is always told, and nothing else is wanted
    poll.poll()
    with suppress(ProcessLookupError):  # nobody is left: so it should be
        os.killpg(group, signal.SIGKILL)
    os._exit(0)


def _let_go_of_all_but(life: int) -> None:
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != life:
            with suppress(OSError):  # one of them was the listing's own
                os.close(int(name))


if __name__ == "__main__":
    main(sys.argv[1:])
