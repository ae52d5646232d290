"""Whether anything is stranded: looked at each time the back-end is entered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from holdfast.wake.accounts import Account, Pipeline
from holdfast.wake.model import Moment

if TYPE_CHECKING:
    from holdfast.wake.governor.calls import Listener
    from holdfast.wake.governor.journal import Journal

__all__ = ["Pipelines"]

# Sums stop here: they are of what anybody may claim.
_SUM_MAX: Final = (1 << 63) - 1


class Pipelines:
    """What the heads of pipelines have accounted for: in this attempt, and in sum.

    Each listener has one account in an attempt at most, and each call of it replaces it, so there
    are never more than listeners.

    Attributes:
        stranded: Messages that were stranded, in all attempts.
        saved: Messages that wake leases were taken for, which would have been stranded.
        wake_leases: How many of these were taken.
    """

    __slots__ = ("_entered", "_journal", "_of_attempt", "_sums", "saved", "stranded", "wake_leases")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._of_attempt: dict[int, Pipeline] = {}
        self._entered = False
        self._sums: dict[int, tuple[int, int]] = {}
        self.stranded = 0
        self.saved = 0
        self.wake_leases = 0

    def begin(self) -> None:
        """Another attempt."""
        self._of_attempt = {}
        self._entered = False

    def answered(self, listener: Listener, moment: Moment, account: Account) -> None:
        """A head has answered, with its account."""
        self._add_up(listener.listener_id, account)
        before = self._of_attempt.get(listener.listener_id)
        if moment is Moment.BEFORE_SUSPEND:
            self._of_attempt[listener.listener_id] = Pipeline(
                listener.listener_id,
                listener.name,
                str(listener.requester),
                account,
                unknown=account.unknown,
            )
        elif before is not None and account.unknown < before.unknown:
            # A client's word was still on its way when the head answered: it was given before the
            # baton was closed, and so before the machine went down.
            self._of_attempt[listener.listener_id] = replace(before, unknown=account.unknown)

    def gone(self, listener_id: int) -> None:
        """The head is gone: with it, who could have taken a wake lease for what it had sent."""
        self._sums.pop(listener_id, None)
        if not self._entered:
            self._of_attempt.pop(listener_id, None)

    def entered(self, now_ns: int) -> None:
        """No wake lease exists, and the machine goes down: is everything processed?"""
        self._entered = True
        for listener_id, pipeline in self._of_attempt.items():
            stranded = pipeline.account.stranded
            if not stranded:
                continue
            self.stranded = min(_SUM_MAX, self.stranded + stranded)
            self._of_attempt[listener_id] = replace(pipeline, stranded=stranded)
            self._journal.report(
                now_ns,
                "stranded",
                (pipeline.name,),
                f"the machine goes down, and {stranded} messages of the pipeline {pipeline.name} "
                f"by {pipeline.by} are neither processed nor under a wake lease",
            )

    def of_attempt(self) -> tuple[Pipeline, ...]:
        """The accounts of this attempt."""
        return tuple(self._of_attempt.values())

    def _add_up(self, listener_id: int, account: Account) -> None:
        saved, wake_leases = self._sums.get(listener_id, (0, 0))
        self._sums[listener_id] = (account.saved, account.wake_leases)
        self.saved = min(_SUM_MAX, self.saved + max(0, account.saved - saved))
        more = max(0, account.wake_leases - wake_leases)
        self.wake_leases = min(_SUM_MAX, self.wake_leases + more)
