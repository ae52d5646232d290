"""Watching a child's system calls with ptrace(2), and killing it between two of them.

For single-threaded programs: the thread that forks is the one that traces.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_TRACEME, _SETOPTIONS, _SYSCALL, _SYSCALL_INFO = 0, 0x4200, 24, 0x420E
_SYSGOOD, _EXITKILL = 1, 1 << 20
_ENTRY = 1  # a stop at the entry of a call, as PTRACE_GET_SYSCALL_INFO reports it

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


class _Info(ctypes.Structure):
    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


@dataclass(frozen=True)
class Call:
    """The entry of a system call: its number on this machine and its first argument."""

    number: int
    first: int


def _ptrace(request: int, pid: int, address: int = 0, data: int | None = 0) -> int:
    result: int = _libc.ptrace(request, pid, address, data)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request}: {os.strerror(number)}")
    return result


def fork_traced(body: Callable[[], object]) -> int:
    """A child that is stopped before it runs `body` and exits; its process number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            body()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status)
    _ptrace(_SETOPTIONS, pid, 0, _SYSGOOD | _EXITKILL)
    return pid


def calls(pid: int) -> Iterator[Call]:
    """Let the child run from one system call to the next, stopped at the entry of each.

    Ends with the child, which is reaped then; raises if it has failed.
    """
    deliver = 0
    while True:
        _ptrace(_SYSCALL, pid, 0, deliver)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSTOPPED(status):
            assert status == 0, f"the traced child has failed: {status}"
            return
        number = os.WSTOPSIG(status)
        deliver = 0 if number == signal.SIGTRAP | 0x80 else number
        if deliver == 0:
            info = _Info()
            _ptrace(_SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.addressof(info))
            if info.op == _ENTRY:
                yield Call(info.number, info.arguments[0])


def kill(pid: int) -> None:
    """SIGKILL a stopped child before its system call, and reap it."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


MARK = 0x7F5A0001  # no descriptor: close(2) of it does nothing but show up in the trace


def mark() -> None:
    """Make a system call that the tracer recognises."""
    _libc.close(MARK)


def between_marks(body: Callable[[], object]) -> list[Call]:
    """The system calls that a child makes between its first and its second `mark`."""
    found: list[Call] = []
    marks = 0
    for call in calls(fork_traced(body)):
        if call.first == MARK:
            marks += 1
        elif marks == 1:
            found.append(call)
    assert marks == 2
    return found
