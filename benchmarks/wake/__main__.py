"""``python -m benchmarks.wake``: wake leases beside logind; JSON, a picture, a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks import program
from benchmarks.peers import OURS, peer
from benchmarks.wake import logind, questions
from benchmarks.wake.bars import BARS

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARK = program.Benchmark(
    "wake",
    __doc__,
    "fewer samples",
    questions.groups,
    BARS,
    {OURS: lambda: peer(OURS).version(), logind.NAME: logind.version},
)


def main(words: Sequence[str] | None = None) -> int:
    """Run it."""
    return program.main(BENCHMARK, words)


if __name__ == "__main__":
    sys.exit(main())
