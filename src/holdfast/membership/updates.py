"""The backlogs: what is still to be told, each entry a limited number of times.

A packet is filled with what was told least often so far, and among equals with the longest first;
what does not fit is left as it is, and shorter or older entries get their chance. An entry that was
written costs one transmission, and goes with its last. Its bytes are those of the time when it was
added.

Entries lie in boxes, one for each pair (transmissions left, length), so that a packet is filled
without sorting anything but the few boxes.

Sources: SWIM, section 4.1; the specification of the crate's behaviour, 4.4.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["ITEMS_MAX", "Backlog", "Items", "Key"]

# A packet counts its updates in sixteen bits.
ITEMS_MAX = 0xFFFF


class Backlog:
    """Entries by a hashable key; a new entry takes the place of the old one of its key."""

    __slots__ = ("_boxes", "_where")

    def __init__(self) -> None:
        # (transmissions left, length) -> key -> bytes; and the box of each key.
        self._boxes: dict[tuple[int, int], dict[Hashable, bytes]] = {}
        self._where: dict[Hashable, dict[Hashable, bytes]] = {}

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._where

    def add(self, key: Hashable, data: bytes, transmissions: int) -> None:
        """Tell `data` so often, and nothing else of that key any more."""
        where = self._where
        if key in where:
            del where[key][key]
        where[key] = box = self._box(transmissions, len(data))
        box[key] = data

    def _box(self, transmissions: int, length: int) -> dict[Hashable, bytes]:
        box = self._boxes.get((transmissions, length))
        if box is None:
            box = self._boxes[transmissions, length] = {}
        return box

    def discard(self, key: Hashable) -> None:
        """Tell nothing of that key any more."""
        box = self._where.pop(key, None)
        if box is not None:
            del box[key]

    def discard_longer(self, length: int) -> None:
        """Tell nothing any more that is longer than so many bytes."""
        for (_, size), box in self._boxes.items():
            if size > length:
                for key in box:
                    del self._where[key]
                box.clear()

    def take(self, space: int, *, each: int = 0, limit: int = ITEMS_MAX) -> list[bytes]:
        """What fits into `space` bytes, where each entry costs `each` more than its length.

        Each entry is taken at most once, and pays one transmission.
        """
        boxes = self._boxes
        taken: list[bytes] = []
        moved: list[tuple[int, int, dict[Hashable, bytes]]] = []
        for size in sorted(boxes, reverse=True):
            box = boxes[size]
            left, length = size
            count = min(space // (length + each), limit - len(taken), len(box))
            if count == len(box):
                del boxes[size]
                if not count:
                    continue
                chosen = box
            elif count > 0:
                chosen = {key: box.pop(key) for key in list(islice(box, count))}
            else:
                continue
            taken += chosen.values()
            space -= (length + each) * count
            moved.append((left - 1, length, chosen))
        # Put back only now, so that nothing is taken twice.
        for left, length, chosen in moved:
            if left:
                self._put_back(left, length, chosen)
            else:
                for key in chosen:
                    del self._where[key]
        return taken

    def _put_back(self, left: int, length: int, chosen: dict[Hashable, bytes]) -> None:
        box = self._boxes.setdefault((left, length), chosen)
        if box is not chosen:
            box.update(chosen)
        elif self._where[next(iter(chosen))] is chosen:
            return  # a whole box went on as it is
        self._where.update(dict.fromkeys(chosen, box))


class Key(Protocol):
    """What a broadcast handler makes of an item that is new."""

    def invalidates(self, other: Any, /) -> bool:
        """Whether nobody needs to hear the item of the key `other` once this one is told."""
        ...


class Items:
    """The items of the application: a key of theirs says which earlier ones it makes void."""

    __slots__ = ("_backlog", "_keys", "_next")

    def __init__(self) -> None:
        self._backlog = Backlog()
        self._keys: dict[int, Key] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._backlog)

    def add(self, key: Key, data: bytes, transmissions: int) -> None:
        """Tell `data` so often, and what `key` invalidates no more. It asks every key: O(n)."""
        for number in [n for n, other in self._keys.items() if key.invalidates(other)]:
            self._backlog.discard(number)
            del self._keys[number]
        self._keys[self._next] = key
        self._backlog.add(self._next, data, transmissions)
        self._next += 1

    def discard_longer(self, length: int) -> None:
        """Tell nothing any more that is longer than so many bytes."""
        self._backlog.discard_longer(length)
        self._keys = {n: key for n, key in self._keys.items() if n in self._backlog}

    def take(self, space: int) -> list[bytes]:
        """What fits into `space` bytes, with two more for the length of each."""
        taken = self._backlog.take(space, each=2)
        if len(self._keys) != len(self._backlog):
            self._keys = {n: key for n, key in self._keys.items() if n in self._backlog}
        return taken
