"""Isolation: what a member does that has lost everybody.

The crate's member stops its timers, and waits for somebody to call. If everybody does, a cluster
that fell apart into single members stays so for ever. With the repair it goes on calling::

    nobody active ──▶ CallAgain ──▶ Announce to a few of those that are down ──┐
                          ▲                                                    │
                          └── twice as long later, up to 16 periods ◀──────────┘

Whoever is called has it on his list as down, and says so (`TurnUndead`), whether it tells others
or not; then it comes back under a renewed identity. Nobody is forgotten meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic

from holdfast.membership.identity import T
from holdfast.membership.local import Connection, Local
from holdfast.membership.repairs import Repair
from holdfast.membership.timers import CallAgain

if TYPE_CHECKING:
    from holdfast.membership.outbound import Outbound
    from holdfast.membership.runtime import Runtime

__all__ = ["PERIODS_MAX", "Isolation"]

# The longest time between two calls, in periods of the probe.
PERIODS_MAX: Final = 16


class Isolation(Generic[T]):
    """Calls those whom it knew."""

    __slots__ = ("_calls_by", "_local", "_outbound")

    def __init__(self, local: Local[T], outbound: Outbound[T]) -> None:
        self._local = local
        self._outbound = outbound
        self._calls_by: int | None = None  # the token of the timer that is running, if one is

    @property
    def lasts(self) -> bool:
        """Whether this member has lost everybody, and does something about it."""
        local = self._local
        return (
            local.connection is Connection.DISCONNECTED
            and not local.members.num_active
            and Repair.ISOLATION_RECOVERY in local.repairs
        )

    def begins(self, runtime: Runtime[T]) -> None:
        """See whether anybody is left, and begin to call if nobody is, but somebody was."""
        if self._calls_by != self._local.token and self.lasts and len(self._local.members):
            self._later(1, runtime)

    def call(self, timer: CallAgain, runtime: Runtime[T]) -> None:
        """Call some, and again later."""
        if self.lasts:
            self._outbound.announce_to_down(self._local.config.num_indirect_probes, runtime)
            self._later(min(2 * timer.periods, PERIODS_MAX), runtime)
        else:
            self._calls_by = None

    def _later(self, periods: int, runtime: Runtime[T]) -> None:
        local = self._local
        self._calls_by = local.token
        timer = CallAgain(local.token, periods)
        runtime.submit_after(timer, periods * local.config.probe_period_ns)
