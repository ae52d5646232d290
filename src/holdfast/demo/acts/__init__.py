"""The acts of the demo; one that is added here is played, shown and judged with the others.

==================  ============================================================================
`sampling`          one process writes what the host does, others read it at will and on change;
                    the writer is killed, another takes over
`counting`          several processes change the same numbers; some are killed while they commit
`rallying`          two processes wait for each other, thousands of times; some are killed
==================  ============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.demo.acts import counting, rallying, sampling

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.demo.acts.act import Act
    from holdfast.demo.player import Part
    from holdfast.demo.stage import Stage

__all__ = ["ACTS", "ROLES", "SABOTAGE"]

ACTS: tuple[Callable[[Stage], Act], ...] = (
    sampling.Sampling,
    counting.Counting,
    rallying.Rallying,
)

ROLES: dict[str, Callable[[Part], None]] = {
    "sampler": sampling.play_sampler,
    "reader": sampling.play_reader,
    "watcher": sampling.play_watcher,
    "counter": counting.play_counter,
    "rally": rallying.play_rally,
}

# What can be spoilt on purpose: for each promise, one way to break it.
SABOTAGE: dict[str, str] = {
    **sampling.SABOTAGE,
    **counting.SABOTAGE,
    **rallying.SABOTAGE,
    "litter": "a state is retained, and so left behind",
}
