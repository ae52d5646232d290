"""``python -m benchmarks.membership``: membership; JSON, pictures, a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks import program
from benchmarks.membership import crate, curves, questions
from benchmarks.membership.bars import BARS
from benchmarks.peers import OURS, peer

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARK = program.Benchmark(
    "membership",
    __doc__,
    "small clusters only, and fewer samples",
    questions.groups,
    BARS,
    {OURS: lambda: peer(OURS).version(), crate.NAME: crate.version},
    (curves.publish,),
)


def main(words: Sequence[str] | None = None) -> int:
    """Run it."""
    return program.main(BENCHMARK, words)


if __name__ == "__main__":
    sys.exit(main())
