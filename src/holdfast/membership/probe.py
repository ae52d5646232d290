"""One probe: who is asked, by whom, and whether an answer came.

::

    begin ──▶ DIRECT ──── SendIndirectProbe ───▶ INDIRECT
                 │                                   │
                 └──────▶ next round: judged ◀───────┘

An answer, direct or through a helper, makes the probe a success at any time before the next round.
A round that begins while the last is still DIRECT finds it incomplete: a timer was not fired.

Sources: SWIM, section 3.1; the specification of the crate's behaviour, 5.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from holdfast.membership.identity import T

if TYPE_CHECKING:
    from holdfast.membership.member import Member

__all__ = ["Probe"]


class Probe(Generic[T]):
    """The probe that is under way, or was last.

    Attributes:
        number: Of the present probe, eight bits that wrap; an answer names it.
        target: Whom it asks, as it was when it began; None: nobody.
        indirect: Whether the direct answer's time is over.
    """

    __slots__ = ("_answered", "_helpers", "indirect", "number", "target")

    def __init__(self) -> None:
        self.number = 0
        self.target: Member[T] | None = None
        self.indirect = False
        self._answered = False
        self._helpers: list[T] = []

    @property
    def succeeded(self) -> bool:
        """Whether an answer of either kind came."""
        return self._answered

    @property
    def incomplete(self) -> bool:
        """Whether the second half was never begun."""
        return self.target is not None and not self.indirect

    def begin(self, target: Member[T]) -> int:
        """Ask `target`; returns the number of this probe."""
        self.clear()
        self.number = (self.number + 1) & 0xFF
        self.target = target
        return self.number

    def clear(self) -> None:
        """Nobody is asked any more. The number stays, so that late answers do not fit the next."""
        self.target = None
        self.indirect = False
        self._answered = False
        self._helpers.clear()

    def take_failed(self) -> Member[T] | None:
        """The target if it did not answer; it is handed out once."""
        if self.target is None or self._answered:
            return None
        target, self.target = self.target, None
        return target

    def expect_helper(self, helper: T) -> None:
        """`helper` was asked to ask."""
        self._helpers.append(helper)

    def receive_ack(self, sender: T, number: int) -> None:
        """A direct answer: it counts if it is the target's, to this probe."""
        if self.target is not None and number == self.number and sender == self.target.identity:
            self._answered = True

    def receive_forwarded_ack(self, sender: T, number: int) -> None:
        """An answer through a helper: it counts once, and if that helper was asked."""
        if number == self.number and sender in self._helpers:
            self._helpers.remove(sender)
            self._answered = True
