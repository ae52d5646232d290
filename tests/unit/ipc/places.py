"""What the tests of this room share: short places for sockets, counts, and waits for conditions."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct
import time
import warnings
from collections.abc import Callable

PATIENCE_S = 40.0  # for what must happen: a bound for liveness, never a measure


def descriptors_open() -> int:
    """How many descriptors this process has, without those that only wait for the collector."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def descriptors_now() -> int:
    """The same at once, for those who wait until there are no more than before."""
    return len(os.listdir("/proc/self/fd"))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def until(condition: Callable[[], object], what: str = "what was waited for") -> None:
    """Wait until it is so."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, f"{what} did not come"
        await asyncio.sleep(0.002)


def until_now(condition: Callable[[], object], what: str = "what was waited for") -> None:
    """The same without an event loop."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up, f"{what} did not come"
        time.sleep(0.002)


def read_all(sock: socket.socket) -> bytes:
    """What comes until the other side closes; a reset is an end, too."""
    sock.settimeout(PATIENCE_S)
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def rights(*descriptors: int) -> list[tuple[int, int, bytes]]:
    """Control data by which descriptors are sent."""
    packed = struct.pack(f"{len(descriptors)}i", *descriptors)
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)]


def in_a_child(function: Callable[[], str]) -> tuple[int, int]:
    """Call it in a fork of this process: the child's number, and where its answer can be read."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Later versions warn of a fork beside threads. The child calls one function and ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            answer = function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test wants to know
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    return child, reading


def answer_of(child: int, reading: int) -> str:
    """What the child has answered; waits for its end."""
    with open(reading, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer
