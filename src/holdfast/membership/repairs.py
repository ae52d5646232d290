"""What this engine does better than the crate: one switch each.

With ``repairs=frozenset()`` the engine is the crate 1.0, faults included. Each repair can be left
out by itself, so that a test can show what it is good for.

Some need to know the time, and with it a `TimedRuntime` (`TIMED_REPAIRS`). Some have things to say
for which the crate has no word (`WIRE_REPAIRS`): they travel as items, only between members that
know each other to have such repairs; `kin` says how they come to know it.
"""

from __future__ import annotations

import enum

__all__ = ["ALL_REPAIRS", "TIMED_REPAIRS", "WIRE_REPAIRS", "Repair"]


class Repair(enum.Enum):
    """The switches. The numbers in brackets are those of the crate's faults as we count them."""

    ACCUSE_ONLY_THE_DOWN = "accuse-only-the-down"
    """[1] Tell a member that it is down only if it is, and not if it has refuted in time."""
    NO_RECORD_OF_ONESELF = "no-record-of-oneself"
    """[2] One's own past identities are no members that one could announce oneself to."""
    ISOLATION_RECOVERY = "isolation-recovery"
    """[3] A member that has lost everybody goes on calling those whom it knew."""
    TIMERS_AFTER_RENEWAL = "timers-after-renewal"
    """[4] After a change of identity the timers run on, whether a packet comes or not."""
    REFUSE_WHAT_NEVER_FITS = "refuse-what-never-fits"
    """[5, 6] What is too long for any packet is refused, and does not stay for ever."""
    ANTI_ENTROPY = "anti-entropy"
    """[9] Members compare their lists, so that an update that was lost arrives later."""
    ENOUGH_TRANSMISSIONS = "enough-transmissions"
    """[10] In a small cluster an update is told more than once, and more often as it grows."""
    WIDE_TOKENS = "wide-tokens"
    """[14] A timer is not taken for another one after 256 generations."""
    RESUME_SUSPICION = "resume-suspicion"
    """[15] A suspect that was loaded from a saved list has its time to refute, and then is down."""
    WHOLE_PACKETS = "whole-packets"
    """The framing of a packet's items is checked before its updates are applied."""
    LOCAL_HEALTH = "local-health"
    """Who finds himself slow probes more patiently (Lifeguard, section IV-A)."""
    SUSPICION_CONFIRMATION = "suspicion-confirmation"
    """A suspicion is long, and shorter with each member that shares it (Lifeguard, IV-B)."""
    BUDDY_NOTICE = "buddy-notice"
    """Who probes a suspect tells it so (Lifeguard, IV-C)."""
    STALL_DETECTION = "stall-detection"
    """A member whose own timer fired late does not accuse others of silence."""
    SLEEP = "sleep"
    """A member says that it goes to sleep, and nobody suspects it."""


ALL_REPAIRS: frozenset[Repair] = frozenset(Repair)
TIMED_REPAIRS: frozenset[Repair] = frozenset(
    {Repair.SUSPICION_CONFIRMATION, Repair.STALL_DETECTION, Repair.SLEEP}
)
WIRE_REPAIRS: frozenset[Repair] = frozenset(
    {Repair.ANTI_ENTROPY, Repair.SUSPICION_CONFIRMATION, Repair.SLEEP}
)
