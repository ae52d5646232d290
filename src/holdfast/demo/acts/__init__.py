"""The acts of the demo; one that is added here is played, shown and judged with the others.

==================  ============================================================================
`sampling`          one process writes what the host does, others read it at will and on change;
                    the writer is killed, another takes over
`counting`          several processes change the same numbers; some are killed while they commit
`rallying`          two processes wait for each other, thousands of times; some are killed
`pairing`           several processes commit two states together; some are killed in between
`leading`           three candidates for one lease; the leader is killed, or stopped and woken
`pacing`            a throttled display of what somebody writes in bursts; the writer is killed
`vanishing`         states whose only subscriber closes, exits or is killed
`gathering`         five hosts know of each other over UDP, and a lease says which of them samples;
                    that one is killed, or stopped and woken
==================  ============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.demo.acts import (
    counting,
    gathering,
    hosting,
    leading,
    pacing,
    pairing,
    rallying,
    sampling,
    vanishing,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.demo.acts.act import Act
    from holdfast.demo.player import Part
    from holdfast.demo.stage import Stage

__all__ = ["ACTS", "ROLES", "SABOTAGE"]

ACTS: dict[str, Callable[[Stage], Act]] = {
    "sampling": sampling.Sampling,
    "counting": counting.Counting,
    "rallying": rallying.Rallying,
    "pairing": pairing.Pairing,
    "leading": leading.Leading,
    "pacing": pacing.Pacing,
    "vanishing": vanishing.Vanishing,
    "gathering": gathering.Gathering,
}

ROLES: dict[str, Callable[[Part], None]] = {
    "sampler": sampling.play_sampler,
    "reader": sampling.play_reader,
    "watcher": sampling.play_watcher,
    "counter": counting.play_counter,
    "rally": rallying.play_rally,
    "pair writer": pairing.play_pair_writer,
    "pair reader": pairing.play_pair_reader,
    "candidate": leading.play_candidate,
    "gauge": pacing.play_gauge,
    "display": pacing.play_display,
    "mayflies": vanishing.play_mayflies,
    "host": hosting.play_host,
}

# What can be spoilt on purpose: for each promise, one way to break it.
SABOTAGE: dict[str, str] = {
    **sampling.SABOTAGE,
    **counting.SABOTAGE,
    **rallying.SABOTAGE,
    **pairing.SABOTAGE,
    **leading.SABOTAGE,
    **pacing.SABOTAGE,
    **vanishing.SABOTAGE,
    **gathering.SABOTAGE,
    "litter": "a state is retained, and so left behind",
}
