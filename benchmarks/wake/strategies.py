"""``python -m benchmarks.wake.strategies``: what a message costs by each strategy, and by none.

One process sends, another receives, a third is the governor. A sample sends some messages at a
rate, waits until they are processed, and suspends the machine once. What is timed is the processor
time of all three together, divided by the messages; beside it is counted how many messages passed
in a second, and how many wake leases were taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

from benchmarks import program
from benchmarks.crowd import SPAWN
from benchmarks.measure import Measurement, by_turns
from benchmarks.peers import OURS, peer
from benchmarks.questions import Group, Question
from benchmarks.results import Bar, Counted
from benchmarks.wake.governor import governing
from benchmarks.wake.strategies_ends import (
    BATON,
    INTERLOCK,
    NONE,
    STRATEGIES,
    End,
    Optimistic,
    receive,
    sender,
)
from holdfast.wake import connect_async

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType

    from benchmarks.directories import Directories

__all__ = ["BENCHMARK", "main"]

A_SECOND = "messages a second"
A_MESSAGE = "wake leases a message"
AN_ATTEMPT = "wake leases an attempt"
_PATIENCE_S = 60.0
_SLOW = {BATON: 0.05, INTERLOCK: 0.05}  # of the messages of a sample: one costs as much as many
_PACED_S = 0.001  # what is due within that is sent at once


@dataclass(frozen=True, slots=True)
class _Scale:
    """How much is measured."""

    messages: int  # of a sample, flat out
    seconds: float  # of a sample, at a rate
    rounds: int
    rates: tuple[int, ...]


_FULL = _Scale(20_000, 0.5, 15, (10, 100, 1_000, 10_000, 100_000))
_QUICK = _Scale(400, 0.02, 2, (1_000,))


def processor_ns(pid: int) -> int:
    """Processor time of another process, as clock_getcpuclockid(3) finds its clock."""
    return time.clock_gettime_ns((~pid << 3) | 2)


class Pipeline:
    """One strategy: a sending end here, and a process that receives."""

    def __init__(
        self, name: str, directory: str, governor_path: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.name = name
        self.text = f"one message by {'optimistic leases' if name == OURS else name}"
        self._path = os.path.join(directory, name.replace(" ", "-"))
        self._governor_path = governor_path
        self._loop = loop
        self._pids: list[int] = []
        self.rate = 0
        self.n = 1
        self.begin()

    def begin(self) -> None:
        """Count from here."""
        self.sent = 0
        self.seconds = 0.0
        self.leases = 0
        self.attempts = 0

    def open(self) -> None:
        """Start the other process, and wait until it is there."""
        self._loop.run_until_complete(self._open())

    async def _open(self) -> None:
        self._governor = await connect_async(self._governor_path)
        self.end: End = sender(self.name, self._governor)
        await self.end.open(self._path)
        ours, theirs = SPAWN.Pipe()
        arguments = (self.name, self._path, self._governor_path, theirs)
        self._receiver = SPAWN.Process(target=receive, args=arguments, daemon=True)
        self._receiver.start()
        theirs.close()
        self._pipe: Connection = ours
        await asyncio.wait_for(self.end.ready(), _PATIENCE_S)
        assert self._receiver.pid is not None
        self._pids = [os.getpid(), self._receiver.pid, _peer(self._governor_path)]

    def sample(self) -> float:
        """Processor time a message, in nanoseconds."""
        before_ns = sum(map(processor_ns, self._pids))
        self._loop.run_until_complete(asyncio.wait_for(self._sample(), _PATIENCE_S))
        return (sum(map(processor_ns, self._pids)) - before_ns) / self.n

    async def _sample(self) -> None:
        leases, attempts = self.end.acquired, self._flushes()
        self._pipe.send(self.n)
        began = time.perf_counter()
        for number in range(self.n):
            if self.rate:
                ahead = began + number / self.rate - time.perf_counter()
                if ahead > _PACED_S:
                    await asyncio.sleep(ahead)
            await self.end.send()
        await self._processed()
        self.seconds += time.perf_counter() - began
        await self._governor.suspend()
        self.sent += self.n
        self.leases += self.end.acquired - leases
        self.attempts += self._flushes() - attempts

    async def _processed(self) -> None:
        told = asyncio.Event()
        self._loop.add_reader(self._pipe.fileno(), told.set)
        try:
            await told.wait()
        finally:
            self._loop.remove_reader(self._pipe.fileno())
        self._pipe.recv()

    def _flushes(self) -> int:
        return self.end.server.machine.flushes if isinstance(self.end, Optimistic) else 0

    def counts(self) -> dict[str, float]:
        """What was counted since `begin`."""
        found = {A_SECOND: round(self.sent / self.seconds), A_MESSAGE: self.leases / self.sent}
        if self.name == OURS:
            found[AN_ATTEMPT] = self.leases / max(self.attempts, 1)
        return found

    def close(self) -> None:
        """End the other process."""
        self._loop.run_until_complete(self.end.close())
        self._loop.run_until_complete(self._governor.close())
        self._pipe.close()
        self._receiver.join(10)
        if self._receiver.is_alive():
            self._receiver.kill()
            self._receiver.join()
        self._receiver.close()


def _peer(path: str) -> int:
    """The process that listens at a socket."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        ucred = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(ucred[:4], sys.byteorder)


class Pipelines:
    """All strategies, with one governor."""

    def __init__(self, names: set[str], directory: str) -> None:
        self.missing: dict[str, str] = {}
        self._directory = directory
        self._exits = contextlib.ExitStack()
        self.all: list[Pipeline] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            path = exits.enter_context(governing(self._directory))
            loop = asyncio.new_event_loop()  # of all: the governor asks each of them
            exits.callback(loop.close)
            for name in STRATEGIES:
                pipeline = Pipeline(name, self._directory, path, loop)
                pipeline.open()
                exits.callback(pipeline.close)
                self.all.append(pipeline)
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()


def _ask(pipelines: Pipelines, rate: int, scale: _Scale) -> list[Measurement]:
    for pipeline in pipelines.all:
        pipeline.begin()
        pipeline.rate = rate
        pipeline.n = round(scale.messages * _SLOW.get(pipeline.name, 1))
        if rate:
            pipeline.n = min(max(round(rate * scale.seconds), 1), pipeline.n)
    results = by_turns(pipelines.all, rounds=scale.rounds, turn=1)
    for pipeline, result in zip(pipelines.all, results, strict=True):
        result.passes = pipeline.n
        result.counts.update(pipeline.counts())
    return results


def groups(quick: bool, directories: Directories) -> list[Group[Pipelines]]:
    """All questions."""
    scale = _QUICK if quick else _FULL
    what = "processor time a message, of sender, receiver and governor"
    questions = [
        Question(
            "message.unpaced", "message", f"{what}; at any rate", partial(_ask, rate=0, scale=scale)
        )
    ]
    for rate in scale.rates:
        name, words = f"message.at{rate}", f"{what}; {rate:,} a second"
        questions.append(Question(name, "message", words, partial(_ask, rate=rate, scale=scale)))
    company = partial(Pipelines, directory=directories.memory)
    return [Group("strategies", tuple(questions), company)]


BENCHMARK = program.Benchmark(
    "wake.strategies",
    __doc__,
    "fewer samples, and one rate",
    groups,
    (
        Bar(
            14,
            "optimistic: CPU a message within 5 % of no leases",
            "message.unpaced",
            NONE,
            1 / 1.05,
        ),
        Counted(14, "optimistic: ≤ 1 wake lease an attempt", "message.unpaced", AN_ATTEMPT, 1),
    ),
    {OURS: lambda: peer(OURS).version()},
)


def main(words: Sequence[str] | None = None) -> int:
    """Run it."""
    return program.main(BENCHMARK, words)


if __name__ == "__main__":
    sys.exit(main())
