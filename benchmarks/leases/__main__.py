"""``python -m benchmarks.leases``: leases beside their peers; JSON, a picture, a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks import peers, postgresql, program
from benchmarks.leases import questions
from benchmarks.leases.bars import BARS

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARK = program.Benchmark(
    "leases",
    __doc__,
    "fewer samples, and fewer leases to be renewed",
    questions.groups,
    BARS,
    peers.versions(peers.LEASES) | {"postgresql": postgresql.version},
)


def main(words: Sequence[str] | None = None) -> int:
    """Run it."""
    return program.main(BENCHMARK, words)


if __name__ == "__main__":
    sys.exit(main())
