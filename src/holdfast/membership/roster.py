"""Who is there, by name: the engine's identities joined with what members say about themselves.

A member of ours is asked for its name as soon as it is up, by a `Hello` that says ours; it is told
to have joined when it has answered, or after a while without a name. Whoever is not ours is told at
once, under its address::

               is not ours, or its name is known
            ┌───────────────────────────────────────────┐
    up ─────┤                                           ├─▶ TOLD ──▶ down: left or failed
            └─▶ ASKED ── hello, or patience is over ────┘    │ ▲
                  │                                          └─┘ hello, renamed: updated
                  └─▶ down: nobody is told

Whether a member left or failed is said by its `Farewell`, which travels with the news of its end.
A question that was not answered is asked again, at doubled distances.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.membership.addresses import address_of
from holdfast.membership.changes import (
    Change,
    ClusterMember,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberUpdated,
)
from holdfast.membership.talk import is_ours

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from holdfast.membership.identity import Node

__all__ = ["Entry", "Roster"]

# So many farewells are remembered, and so many members that are gone; then the oldest go.
FAREWELLS_MAX = 1024
PAST_MAX = 64
# What is remembered of a member for `why`.
HISTORY_MAX = 16


class Entry:
    """One address that is, or was lately, a member."""

    __slots__ = ("asked", "heard_ns", "history", "name", "node", "tags", "told", "up_ns")

    def __init__(self, node: Node, now_ns: int) -> None:
        self.node = node
        self.name: str | None = None
        self.tags: dict[str, str] = {}
        self.told: ClusterMember | None = None
        self.asked = 0
        self.up_ns = now_ns
        self.heard_ns: int | None = None
        self.history: deque[tuple[int, str]] = deque(maxlen=HISTORY_MAX)

    def member(self) -> ClusterMember:
        """What people are told about it."""
        address = address_of(self.node)
        return ClusterMember(self.name or address, address, self.node, tags=dict(self.tags))


class Roster:
    """The members that are up, and what is remembered of those that are gone.

    Args:
        names: Whether members of ours are asked for their names.
        first_ask_ns: From one question for a name to the next, at first.
        patience_ns: How long a member that has not said its name is not told of.
    """

    def __init__(self, *, names: bool, first_ask_ns: int, patience_ns: int) -> None:
        self._names = names
        self._first_ask_ns = first_ask_ns
        self._patience_ns = patience_ns
        self._present: dict[Hashable, Entry] = {}
        self._past: dict[Hashable, Entry] = {}
        self._farewells: dict[Node, None] = {}
        self._untold: dict[Hashable, Entry] = {}
        self._nameless: dict[Hashable, Entry] = {}
        self._due: dict[Hashable, int] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._present.values())

    def get(self, addr: Hashable) -> Entry | None:
        """The member at that address that is up."""
        return self._present.get(addr)

    def known(self) -> Iterator[Entry]:
        """Those that are up, and those that were."""
        yield from self._present.values()
        yield from self._past.values()

    def next_ask_ns(self) -> int | None:
        """When `to_ask` or `tell_nameless` has something to say; None: all names are known."""
        if not self._nameless:
            return None
        ends = [entry.up_ns + self._patience_ns for entry in self._untold.values()]
        return min([*(self._due[addr] for addr in self._nameless), *ends])

    # -- what the engine says ---------------------------------------------------------------------

    def up(self, node: Node, now_ns: int) -> list[Change]:
        """The engine has a new member."""
        addr = node.addr
        entry = self._past.pop(addr, None)
        history = entry.history if entry is not None else None
        entry = self._present[addr] = Entry(node, now_ns)
        if history is not None:
            entry.history = history
        entry.history.append((now_ns, "is up"))
        return self._expect_name(entry, now_ns)

    def renamed(self, old: Node, new: Node, now_ns: int) -> list[Change]:
        """Another identity has taken the place of one that was, or is, up."""
        entry = self._present.get(old.addr)
        if entry is None:
            return []  # it was down: `up` follows if that is over
        entry.node = new
        entry.history.append((now_ns, f"has a new identity, generation {new.generation}"))
        told = self._expect_name(entry, now_ns)
        return told or (self._tell(entry, now_ns) if entry.told is not None else [])

    def down(self, node: Node, now_ns: int) -> list[Change]:
        """The engine has a member less."""
        entry = self._present.pop(node.addr, None)
        if entry is None:
            return []
        self._forget_question(node.addr)
        self._untold.pop(node.addr, None)
        left = entry.node in self._farewells
        entry.history.append((now_ns, "has left" if left else "was declared down"))
        self._past[node.addr] = entry
        if len(self._past) > PAST_MAX:
            del self._past[next(iter(self._past))]
        if entry.told is None:
            return []
        end = replace(entry.told, state="left" if left else "failed")
        return [MemberLeft(end) if left else MemberFailed(end)]

    # -- what members say -------------------------------------------------------------------------

    def hello(self, node: Node, name: str, tags: dict[str, str], now_ns: int) -> list[Change]:
        """A member has said its name."""
        entry = self._present.get(node.addr)
        if entry is None or entry.node != node:
            return []
        self._forget_question(node.addr)
        entry.name, entry.tags = name, tags
        return self._tell(entry, now_ns)

    def farewell(self, node: Node) -> bool:
        """A member goes on purpose; False if that is known."""
        if node in self._farewells:
            return False
        if len(self._farewells) >= FAREWELLS_MAX:
            del self._farewells[next(iter(self._farewells))]
        self._farewells[node] = None
        return True

    # -- what time brings -------------------------------------------------------------------------

    def to_ask(self, now_ns: int, limit: int) -> list[Node]:
        """Whom to ask for a name now; each is asked again later, should it not answer."""
        asked: list[Node] = []
        for addr, entry in list(self._nameless.items()):
            if self._due[addr] > now_ns:
                continue
            if len(asked) >= limit:
                break
            entry.asked += 1
            self._due[addr] = now_ns + (self._first_ask_ns << min(entry.asked - 1, 7))
            asked.append(entry.node)
        return asked

    def tell_nameless(self, now_ns: int) -> list[Change]:
        """Tell of those that have not said their names for too long."""
        overdue = [
            entry for entry in self._untold.values() if now_ns - entry.up_ns >= self._patience_ns
        ]
        return [change for entry in overdue for change in self._tell(entry, now_ns)]

    def _expect_name(self, entry: Entry, now_ns: int) -> list[Change]:
        addr = entry.node.addr
        if not (self._names and is_ours(entry.node)):
            self._forget_question(addr)
            return self._tell(entry, now_ns)
        entry.asked = 0
        self._nameless[addr] = entry
        self._due[addr] = now_ns
        if entry.told is None:
            self._untold[addr] = entry
        return []

    def _forget_question(self, addr: Hashable) -> None:
        self._nameless.pop(addr, None)
        self._due.pop(addr, None)

    def _tell(self, entry: Entry, now_ns: int) -> list[Change]:
        self._untold.pop(entry.node.addr, None)
        before, entry.told = entry.told, entry.member()
        if before is None:
            entry.history.append((now_ns, f"has joined as {entry.told.name}"))
            return [MemberJoined(entry.told)]
        if before != entry.told:
            return [MemberUpdated(entry.told, before)]
        return []
