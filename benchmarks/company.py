"""The stores of all peers, and the crowds around them, for questions that share them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Self

from benchmarks import peers
from benchmarks.crowd import Crowd
from benchmarks.measure import Contender
from benchmarks.peers import Missing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from benchmarks.peers import Place, Store

__all__ = ["Company"]


class Company:
    """A store of each peer, and around each of them a crowd of `members` that would `verb`.

    Args:
        place: Where the stores are made.
        wanted: The peers, by name; what cannot be shared with a crowd is left out where there is
            one.
        members: Processes in each crowd.
        verb: Their statement.
    """

    def __init__(
        self, place: Place, wanted: Mapping[str, str], members: int = 0, verb: str = ""
    ) -> None:
        self.missing: dict[str, str] = {}
        self.place = place
        self._wanted = wanted
        self._members = members
        self._verb = verb
        self.stores: dict[str, Store] = {}
        self._crowds: dict[str, Crowd] = {}
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            for name in self._wanted:
                try:
                    self._make(name, exits)
                except Missing as error:
                    self.missing[name] = str(error)
            for crowd in self._crowds.values():
                crowd.await_ready()
            self._exits = exits.pop_all()
        return self

    def _make(self, name: str, exits: contextlib.ExitStack) -> None:
        peer = peers.peer(name, self._wanted)
        if self._members and not peer.shared:
            return
        store = self.stores[name] = peer.create(self.place)
        exits.callback(store.close)
        if self._members:
            crowd = self._crowds[name] = Crowd(peer, self.place, self._verb, self._members)
            exits.callback(crowd.close)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def contenders(self, verb: str, busy: int) -> list[Contender]:
        """Who has a statement for the verb, measured while `busy` members are at theirs."""
        found = []
        for name, store in self.stores.items():
            statement = store.statement(verb)
            if statement is not None:
                around = partial(self._crowds[name].busy, busy) if busy else contextlib.nullcontext
                found.append(Contender(name, statement, around))
        return found
