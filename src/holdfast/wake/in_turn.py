"""`InTurn`: does what a machine wants, in the order in which it said so."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["InTurn"]

E = TypeVar("E")


class InTurn(Generic[E]):
    """Does effects one after the other; what comes of one waits until those before it are done.

    To do one may lead back to the machine, which then wants more: done at once, it would overtake.

    Args:
        do: Does one effect.
    """

    __slots__ = ("_do", "_waiting", "busy")

    def __init__(self, do: Callable[[E], object]) -> None:
        self._do = do
        self._waiting: deque[E] = deque()
        self.busy = False

    def __call__(self, effects: Iterable[E]) -> bool:
        """Do them.

        Returns:
            Whether all is done; if not, whoever is at it further up will do these, too.
        """
        self._waiting.extend(effects)
        if self.busy:
            return False
        self.busy = True
        try:
            while self._waiting:
                self._do(self._waiting.popleft())
        finally:
            self.busy = False
        return True
