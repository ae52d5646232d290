"""What is not known yet: a result that the world delivers at a later instant of virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Later", "Sleep"]

T = TypeVar("T")


class Later(Generic[T]):
    """A result to come. The first who settles it wins, all others are told that they were late.

    A script waits for it by yielding it; `then` is for everybody else.

    Attributes:
        what: What is waited for, in words, for reports.
    """

    __slots__ = ("_callbacks", "_error", "_settled", "_value", "what")

    _value: T

    def __init__(self, what: str = "something") -> None:
        self.what = what
        self._settled = False
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Later[T]], object]] = []

    @property
    def settled(self) -> bool:
        """Whether the result is there."""
        return self._settled

    @property
    def error(self) -> BaseException | None:
        """With what it failed; None if it did not, or not yet."""
        return self._error

    def result(self) -> T:
        """The value, or raise what it failed with. Only after it was settled."""
        assert self._settled, f"nobody knows yet: {self.what}"
        if self._error is not None:
            raise self._error
        return self._value

    def resolve(self, value: T) -> bool:
        """This is the value. False if it was settled before, and stays as it is."""
        if self._settled:
            return False
        self._value = value
        self._settle()
        return True

    def fail(self, error: BaseException) -> bool:
        """It failed with this. False if it was settled before, and stays as it is."""
        if self._settled:
            return False
        self._error = error
        self._settle()
        return True

    def then(self, callback: Callable[[Later[T]], object]) -> None:
        """Call ``callback(self)`` when it is settled, at once if it is."""
        if self._settled:
            callback(self)
        else:
            self._callbacks.append(callback)

    def _settle(self) -> None:
        self._settled = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


@dataclass(frozen=True, slots=True)
class Sleep:
    """Yielded by a script, or returned by its interpreter: go on after so long on the node's clock.

    The time counts on the face that the node's timers have, which is boottime by default.
    """

    delay_ns: int
