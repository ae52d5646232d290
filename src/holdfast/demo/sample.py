"""The record that the sampler writes: this host's counters from ``/proc``, and what guards them.

======================  ======================================================================
field                   from
======================  ======================================================================
sequence                the version as which the record was committed
generation, pid         which sampler, counted from 0; its process
time_ns                 CLOCK_BOOTTIME
cpu (8 numbers)         ``/proc/stat``: user, nice, system, idle, iowait, irq, softirq, steal, in
                        ticks since boot, over all processors
tasks (5 numbers)       ``/proc/stat``: interrupts, context switches and forks since boot; tasks
                        running and blocked now
memory (3 numbers)      ``/proc/meminfo``: total, free, available, in KiB
network (4 numbers)     ``/proc/net/dev``: bytes and packets received, then sent, all interfaces
load (3 numbers)        ``/proc/loadavg``: over 1, 5 and 15 minutes
checksum                CRC-32 of all of the above
======================  ======================================================================

A mixture of two records has the wrong checksum, but for one case in four thousand million.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import NamedTuple

__all__ = ["SIZE", "Host", "Sample", "Torn"]

_BODY = struct.Struct("<4Q 8Q 5Q 3Q 4Q 3d")
_CHECKSUM = struct.Struct("<Q")
SIZE = _BODY.size + _CHECKSUM.size

_TASKS = (b"intr ", b"ctxt ", b"processes ", b"procs_running ", b"procs_blocked ")
_MEMORY = (b"MemTotal:", b"MemFree:", b"MemAvailable:")

_READ_MAX = 1 << 18  # /proc/stat grows with processors and interrupts


class Torn(ValueError):
    """The bytes are not one record."""


class Sample(NamedTuple):
    """One record; see the table at the top of this module."""

    sequence: int
    generation: int
    pid: int
    time_ns: int
    cpu: tuple[int, ...]
    tasks: tuple[int, ...]
    memory: tuple[int, ...]
    network: tuple[int, ...]
    load: tuple[float, ...]

    def pack(self) -> bytes:
        """The record as bytes."""
        body = _BODY.pack(
            *self[:4], *self.cpu, *self.tasks, *self.memory, *self.network, *self.load
        )
        return body + _CHECKSUM.pack(zlib.crc32(body))

    @classmethod
    def unpack(cls, data: bytes) -> Sample:
        """The record in the bytes.

        Raises:
            Torn: They are not one record, whole.
        """
        body = data[: _BODY.size]
        if len(data) != SIZE or _CHECKSUM.unpack_from(data, _BODY.size)[0] != zlib.crc32(body):
            raise Torn("the checksum is wrong")
        words = _BODY.unpack(body)
        sequence, generation, pid, time_ns = words[:4]
        cpu, tasks, memory, network = words[4:12], words[12:17], words[17:20], words[20:24]
        return cls(sequence, generation, pid, time_ns, cpu, tasks, memory, network, words[24:])


class Host:
    """The counters of this machine, by files that stay open. What a kernel lacks reads as 0."""

    def __init__(self) -> None:
        self._stat = _opened("/proc/stat")
        self._memory = _opened("/proc/meminfo")
        self._network = _opened("/proc/net/dev")
        self._load = _opened("/proc/loadavg")

    def sample(self, sequence: int, generation: int, pid: int, time_ns: int) -> Sample:
        """The counters now."""
        stat = _content(self._stat)
        memory = _content(self._memory)
        load = _content(self._load).split(None, 3)[:3]
        return Sample(
            sequence,
            generation,
            pid,
            time_ns,
            cpu=_numbers(stat, b"cpu ", 8),
            tasks=tuple(_numbers(stat, key, 1)[0] for key in _TASKS),
            memory=tuple(_numbers(memory, key, 1)[0] for key in _MEMORY),
            network=_traffic(_content(self._network)),
            load=tuple(map(float, load)) if len(load) == 3 else (0.0, 0.0, 0.0),
        )


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _content(fd: int) -> bytes:
    try:
        return b"" if fd < 0 else os.pread(fd, _READ_MAX, 0)
    except OSError:
        return b""


def _numbers(text: bytes, key: bytes, count: int) -> tuple[int, ...]:
    """The numbers that follow a key at the beginning of a line; zeros where there are none."""
    at = 0 if text.startswith(key) else text.find(b"\n" + key) + 1
    found: list[int] = []
    if at or text.startswith(key):
        start = at + len(key)
        line = text[start : start + 200].split(b"\n", 1)[0]
        found = [int(word) for word in line.split()[:count] if word.isdigit()]
    return tuple(found + [0] * (count - len(found)))


def _traffic(text: bytes) -> tuple[int, ...]:
    received = sent = received_packets = sent_packets = 0
    for line in text.splitlines()[2:]:  # two lines of headings
        words = line.partition(b":")[2].split()
        if len(words) >= 10:
            received += int(words[0])
            received_packets += int(words[1])
            sent += int(words[8])
            sent_packets += int(words[9])
    return received, received_packets, sent, sent_packets
