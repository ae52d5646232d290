"""Single-stepping a child with ptrace(2), to kill or stop it at a chosen instruction."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long] * 4

_TRACEME, _PEEKTEXT, _POKETEXT, _CONT, _SINGLESTEP, _DETACH = 0, 1, 4, 7, 9, 17
_SYSCALL, _SETOPTIONS, _GETREGSET, _SETREGSET = 24, 0x4200, 0x4204, 0x4205
_TRACESYSGOOD = 1
_EXITKILL = 0x00100000
_NT_PRSTATUS = 1
_PR_SET_PDEATHSIG = 1

# Where they stand among the general registers (struct user_regs_struct of x86-64).
_PROGRAM_COUNTER = 16
_STACK_POINTER = 19


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def supported() -> bool:
    """Whether this machine can be single-stepped and we know its registers."""
    return platform.machine() == "x86_64"


def _ptrace(request: int, pid: int, address: int, data: int) -> int:
    ctypes.set_errno(0)
    answer = int(_libc.ptrace(request, pid, address, data))
    if answer == -1 and ctypes.get_errno():
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


class Exited(Exception):
    """The child has ended; its exit code, or the negative number of the signal."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Tracee:
    """A forked child that runs `body` and stops where `body` calls `pause()`.

    The child ends with 0, or with what `body` returns.
    """

    def __init__(self, body: Callable[[Callable[[], None]], int | None]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # stopped or not
                _ptrace(_TRACEME, 0, 0, 0)
                code = body(_pause) or 0
            finally:
                os._exit(code)
        self._registers = (ctypes.c_uint64 * 64)()
        self.wait_for_pause()
        _ptrace(_SETOPTIONS, self.pid, 0, _EXITKILL | _TRACESYSGOOD)

    def _wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSTOPPED(status):
            return os.WSTOPSIG(status)
        raise Exited(os.waitstatus_to_exitcode(status))

    def wait_for_pause(self) -> None:
        """Wait until the child has called pause()."""
        while (caught := self._wait()) != signal.SIGSTOP:
            _ptrace(_CONT, self.pid, 0, caught)

    def step(self) -> bool:
        """Execute one instruction; False if it was the one that pauses.

        Raises:
            Exited: The child has ended.
        """
        _ptrace(_SINGLESTEP, self.pid, 0, 0)
        caught = self._wait()
        if caught == signal.SIGSTOP:
            return False
        assert caught == signal.SIGTRAP, f"the child got signal {caught}"
        return True

    def step_system_call(self) -> bool:
        """Go on to the beginning or the end of a system call; False if the child pauses.

        Raises:
            Exited: The child has ended.
        """
        _ptrace(_SYSCALL, self.pid, 0, 0)
        caught = self._wait()
        if caught == signal.SIGSTOP:
            return False
        assert caught == signal.SIGTRAP | 0x80, f"the child got signal {caught}"
        return True

    def program_counter(self) -> int:
        """The address of the next instruction."""
        self._read_registers()
        return int(self._registers[_PROGRAM_COUNTER])

    def stack_pointer(self) -> int:
        """The top of the stack; once a function has returned, above where it was at its entry."""
        self._read_registers()
        return int(self._registers[_STACK_POINTER])

    def _read_registers(self) -> _Vector:
        vector = _Vector(ctypes.addressof(self._registers), ctypes.sizeof(self._registers))
        _ptrace(_GETREGSET, self.pid, _NT_PRSTATUS, ctypes.addressof(vector))
        return vector

    def run_to(self, address: int) -> None:
        """Go on to an instruction that is yet to come, by a breakpoint.

        Raises:
            Exited: It did not come.
        """
        word = _ptrace(_PEEKTEXT, self.pid, address, 0)
        _ptrace(_POKETEXT, self.pid, address, (word & ~0xFF) | 0xCC)  # int3
        _ptrace(_CONT, self.pid, 0, 0)
        caught = self._wait()
        assert caught == signal.SIGTRAP, f"the child got signal {caught}"
        _ptrace(_POKETEXT, self.pid, address, word)
        vector = self._read_registers()
        self._registers[_PROGRAM_COUNTER] = address
        _ptrace(_SETREGSET, self.pid, _NT_PRSTATUS, ctypes.addressof(vector))

    def text_of(self, library: str) -> range:
        """The addresses of the child's executable mapping of a library."""
        with open(f"/proc/{self.pid}/maps") as maps:
            for line in maps:
                fields = line.split()
                if len(fields) > 5 and fields[5] == library and "x" in fields[1]:
                    start, end = (int(bound, 16) for bound in fields[0].split("-"))
                    return range(start, end)
        raise LookupError(library)

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        os.kill(self.pid, signal.SIGKILL)
        try:
            while True:
                self._wait()
        except Exited:
            pass

    def leave_stopped(self) -> None:
        """Stop tracing, but leave the child stopped as SIGSTOP does."""
        _ptrace(_DETACH, self.pid, 0, signal.SIGSTOP)

    def resume(self) -> int:
        """Let a child that was left stopped go on to its end; its exit code."""
        while True:
            os.kill(self.pid, signal.SIGCONT)
            _, status = os.waitpid(self.pid, os.WUNTRACED)  # it may pause() once more on its way
            if not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)


def _pause() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def pack(value: int, size: int) -> bytes:
    """`size` bytes in which a torn copy shows: one number, again and again."""
    return struct.pack("<Q", value) * (size // 8)


def unpack(data: bytes) -> int:
    """The number in the bytes.

    Raises:
        ValueError: They are torn.
    """
    words = set(struct.unpack(f"<{len(data) // 8}Q", data))
    if len(words) != 1:
        raise ValueError(f"torn: {sorted(words)}")
    return int(words.pop())
