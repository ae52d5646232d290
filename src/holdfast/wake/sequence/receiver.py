"""The client's side: counting what was processed, and holding the baton until that is enough.

Messages and batons come on ways of their own, so that either may be first. Positions are pairs of
epoch and count, and are compared as pairs::

    baton arrives    its position was reached before    it is done at once
                     not yet, and none is held          held
                     not yet, and one is held           the further one is held, the other released
    processed        the position of the baton held     it is done
                     is reached or passed
    subscribed       the count begins anew, in a later  the baton is done if it was of an earlier
                     epoch                              one, and stays if it came ahead of us
    ended            no message comes any more          it is released, and all that still come

A baton that is *done* is given out: to be passed on to the next stage, or else to be closed. That
holds for one that is done at once, too: what this stage has processed, the next one may not have.

What is given out or released is whatever was given in: this machine knows nothing of descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Arrival", "Receiver"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Arrival(Generic[T]):
    """What becomes of a baton that has arrived, and of the one before.

    Attributes:
        released: To be closed: another is held, whose position is further.
        done: Its messages were processed already: pass it on, or close it.
    """

    released: T | None = None
    done: T | None = None


class Receiver(Generic[T]):
    """One client. `T` is what a baton is made of.

    Attributes:
        epoch: Of its subscription; None: that of the first baton to come.
        index: How many messages it has processed.
        held: The baton that it holds, or None.
        ended: No message comes any more.
    """

    __slots__ = ("_at", "ended", "epoch", "held", "index")

    def __init__(self, epoch: int | None = None) -> None:
        self.epoch = epoch
        self.index = 0
        self.held: T | None = None
        self.ended = False
        self._at = (0, 0)  # the position of the baton that is held

    def arrived(self, baton: T, index: int, epoch: int) -> Arrival[T]:
        """A baton has arrived."""
        if self.epoch is None:
            self.epoch = epoch
        if self.ended:
            return Arrival(released=baton)
        if (epoch, index) <= (self.epoch, self.index):
            return Arrival(done=baton)
        if self.held is None:
            self.held, self._at = baton, (epoch, index)
            return Arrival()
        if (epoch, index) < self._at:
            return Arrival(released=baton)
        released, self.held, self._at = self.held, baton, (epoch, index)
        return Arrival(released=released)

    def processed(self, n: int = 1) -> T | None:
        """So many more messages are processed; the baton, if it is done now."""
        self.index += n
        return self._done()

    def processed_through(self, index: int) -> T | None:
        """As many messages are processed, counted from the first; what is less changes nothing."""
        self.index = max(self.index, index)
        return self._done()

    def subscribed(self, epoch: int) -> T | None:
        """From now on messages are counted anew; the baton, if it was of an earlier count."""
        self.epoch = epoch
        self.index = 0
        self.ended = False
        return self._done()

    def end(self) -> T | None:
        """No message comes any more: the baton, which nothing would ever bring to its end."""
        self.ended = True
        released, self.held = self.held, None
        return released

    def _done(self) -> T | None:
        if self.held is None or self.epoch is None or self._at > (self.epoch, self.index):
            return None
        done, self.held = self.held, None
        return done
