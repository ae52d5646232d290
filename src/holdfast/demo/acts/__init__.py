"""The acts of the demo; what is in `playbill` is played, shown and judged.

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
`waking`            a machine that suspends again and again amid a pipeline that takes no wake
                    leases; a worker or the head of it is killed
==================  ============================================================================
"""

from __future__ import annotations

__all__ = ["ROLES"]

# Which function plays a role, and where it is. A player imports its own act and no other: many are
# started while the demo goes on, and each is waited for.
ROLES: dict[str, str] = {
    "sampler": "sampling:play_sampler",
    "reader": "sampling:play_reader",
    "watcher": "sampling:play_watcher",
    "counter": "counting:play_counter",
    "rally": "rallying:play_rally",
    "pair writer": "pairing:play_pair_writer",
    "pair reader": "pairing:play_pair_reader",
    "candidate": "leading:play_candidate",
    "gauge": "pacing:play_gauge",
    "display": "pacing:play_display",
    "mayflies": "vanishing:play_mayflies",
    "host": "hosting:play_host",
    "governor": "pipeline:play_governor",
    "head": "pipeline:play_head",
    "worker": "pipeline:play_worker",
}
