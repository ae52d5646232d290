"""``python -m benchmarks.state``: shared state beside its peers; JSON, a picture, a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks import peers, program
from benchmarks.state import questions
from benchmarks.state.bars import BARS

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARK = program.Benchmark(
    "state",
    __doc__,
    "256 bytes only, fewer samples",
    questions.groups,
    BARS,
    peers.versions(peers.STATES),
)


def main(words: Sequence[str] | None = None) -> int:
    """Run it."""
    return program.main(BENCHMARK, words)


if __name__ == "__main__":
    sys.exit(main())
