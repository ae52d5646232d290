"""Whom to call in order to join: seeds, their addresses, and how long to wait between calls.

A seed is ``host:port``. Where the host is a name it is looked up anew for each call, since what a
name leads to changes; an address is there from the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.membership.addresses import numeric, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

__all__ = ["CALL_FIRST_NS", "CALL_MOST_NS", "SEED_CALL_NS", "Seeds"]

_MS = 1_000_000
CALL_FIRST_NS = 250 * _MS
CALL_MOST_NS = 30_000 * _MS
# From one call of the seeds that are no members to the next, for whoever is joined.
SEED_CALL_NS = 30_000 * _MS


class Seeds:
    """The seeds of a session.

    Args:
        seeds: ``host:port`` each.
        rng: Scatters the calls.

    Attributes:
        names: Those that are to be looked up.

    Raises:
        InvalidArgument: A seed is no address.
    """

    __slots__ = ("_addresses", "_calls", "_rng", "names")

    def __init__(self, seeds: Sequence[str], rng: Random) -> None:
        self._addresses = {seed: numeric(*parse_address(seed)) for seed in seeds}
        self._rng = rng
        self._calls = 0
        self.names = [seed for seed, addresses in self._addresses.items() if not addresses]

    def __bool__(self) -> bool:
        return bool(self._addresses)

    def __contains__(self, seed: str) -> bool:
        return seed in self._addresses

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """The addresses that need not be looked up."""
        for addresses in self._addresses.values():
            yield from addresses

    def start_anew(self) -> None:
        """The next calls are soon again."""
        self._calls = 0

    def next_call_ns(self) -> int:
        """How long to wait after a call of all seeds: twice as long each time, up to a bound."""
        delay_ns = min(CALL_FIRST_NS << min(self._calls, 16), CALL_MOST_NS)
        self._calls += 1
        return self.scattered(delay_ns)

    def scattered(self, delay_ns: int) -> int:
        """Between half of it and all of it."""
        return delay_ns // 2 + self._rng.randrange(delay_ns // 2 + 1)
