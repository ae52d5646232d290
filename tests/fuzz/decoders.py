"""Broken packets for everything that reads packets, for as long as one likes.

::

    python -m tests.fuzz.decoders --seconds 60 --seed 7      from the corpus, changed at random
    python -m tests.fuzz.decoders --replay postcard:00ff…    one input; what a failure prints
    python -m tests.fuzz.decoders --record                   write the corpus anew

An input that is answered in a way not seen before joins those that are changed further. A failing
one is made as short as it can be, and printed with the line that replays it. What must be true is
said in `targets`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
POOL_MAX = 1000
# Where formats change their minds: markers and limits of varints, tags, flags, lengths.
STRANGE = bytes(
    [0, 1, 2, 3, 0x7F, 0x80, 0x81, 0xC0, 0xC4, 0xDC, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF]
)
LONGEST = 1500

Target = Callable[[bytes], str]


@dataclass(frozen=True)
class Failure:
    """An input that was answered as it must not be."""

    target: str
    data: bytes
    error: str

    def __str__(self) -> str:
        return (
            f"{self.target}: {self.error}\n"
            f"replay: python -m tests.fuzz.decoders --replay {self.target}:{self.data.hex()}"
        )


@dataclass
class Report:
    """What came of a run."""

    inputs: Counter[str] = field(default_factory=Counter)
    answers: dict[str, int] = field(default_factory=dict)
    failure: Failure | None = None

    def __str__(self) -> str:
        return "\n".join(
            f"{name}: {count:,} inputs, {self.answers[name]:,} kinds of answers"
            for name, count in self.inputs.items()
        )


def corpus(name: str) -> list[bytes]:
    """The inputs that are kept for a target: in each line what it is, and its bytes."""
    lines = (CORPUS / f"{name}.txt").read_text().splitlines()
    return [bytes.fromhex(line.rpartition(" ")[2]) for line in lines]


def try_out(target: Target, data: bytes) -> tuple[str, str]:
    """The answer to an input, and what is wrong with it."""
    try:
        return target(data), ""
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return "", f"{type(error).__name__}: {error}"


def fuzz(
    targets: dict[str, Target],
    *,
    seed: int,
    seconds: float | None = None,
    rounds: int | None = None,
) -> Report:
    """Feed all targets in turn, until the time is over, or so many rounds, or one fails.

    The first round is made in any case, however soon the time is over.
    """
    rng, report = Random(seed), Report()
    pools = {name: corpus(name) for name in targets}
    whole = {name: len(pool) for name, pool in pools.items()}  # as it is, before all else
    seen: dict[str, set[str]] = {name: set() for name in targets}
    end = None if seconds is None else time.monotonic() + seconds
    number = 0
    while (rounds is None or number < rounds) and (
        end is None or number == 0 or time.monotonic() < end
    ):
        for name, target in targets.items():
            pool = pools[name]
            data = pool[number] if number < whole[name] else mutated(pool, rng)
            answer, wrong = try_out(target, data)
            report.inputs[name] += 1
            if wrong:
                report.failure = Failure(name, *shortest(target, data, wrong))
                break
            if answer not in seen[name]:
                seen[name].add(answer)
                if len(pool) < POOL_MAX:
                    pool.append(data)
        if report.failure is not None:
            break
        number += 1
    report.answers = {name: len(answers) for name, answers in seen.items()}
    return report


def mutated(pool: list[bytes], rng: Random) -> bytes:
    """One of them, changed here and there."""
    data = bytearray(rng.choice(pool))
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 5, 9])):
        at = rng.randrange(len(data) + 1)
        long = rng.choice([1, 1, 1, 2, 4, 8, rng.randrange(1, 64)])
        match rng.randrange(8):
            case 0:
                del data[at : at + long]
            case 1:
                data[at:at] = rng.randbytes(long)
            case 2:
                data[at : at + 1] = bytes([rng.choice(STRANGE)])
            case 3:
                if data:
                    data[at % len(data)] ^= 1 << rng.randrange(8)
            case 4:
                data[at:at] = data[at : at + long]
            case 5:
                other = rng.choice(pool)
                start = rng.randrange(len(other) + 1)
                data[at : at + rng.choice([0, long])] = other[start : start + long]
            case 6:
                data[at:at] = bytes([rng.choice(STRANGE)]) * long
            case 7:
                del data[at:]
    return bytes(data[:LONGEST])


def shortest(target: Target, data: bytes, wrong: str) -> tuple[bytes, str]:
    """The shortest part of an input that is wrong for a reason of the same kind, and the reason."""
    kind, size = wrong.partition(":")[0], max(1, len(data) // 2)
    while True:
        at = 0
        while at < len(data):
            less = data[:at] + data[at + size :]
            reason = try_out(target, less)[1]
            if reason.partition(":")[0] == kind:
                data, wrong = less, reason
            else:
                at += size
        if size == 1:
            return data, wrong
        size //= 2


def replay(given: str) -> str:
    """Feed one input, ``target:hex``; what is wrong with the answer is raised."""
    name, _, digits = given.partition(":")
    return TARGETS[name](bytes.fromhex(digits))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.decoders", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--target", choices=list(TARGETS), action="append")
    parser.add_argument("--replay", metavar="TARGET:HEX")
    parser.add_argument("--record", action="store_true", help="write the corpus anew")
    given = parser.parse_args(arguments)
    if given.replay:
        print(replay(given.replay))
        return 0
    if given.record:
        from tests.fuzz.recording import record

        record(CORPUS)
        return 0
    seed = Random().randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    report = fuzz(
        {name: TARGETS[name] for name in given.target or TARGETS},
        seed=seed,
        seconds=given.seconds if given.minutes is None else given.minutes * 60,
    )
    print(report)
    if report.failure is not None:
        print(report.failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
