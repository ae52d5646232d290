"""The safeguards of leases, each of which can be switched off, from outside of the code.

What is put in its place is what somebody would write who does not know better. There are no
switches in the code itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import patch

from holdfast.errors import ClaimDenied, StaleRecord
from holdfast.lease import Reading, Record, keeper, rules, scripts
from holdfast.lease.global_clock import Look, Updater
from holdfast.lease.keeper import Keeper
from holdfast.lease.rules import Change
from tests.simulation.lease_place import Believer
from tests.simulation.lease_site import Site


def counts_from_the_answer(site: Site, asked_ns: int) -> int:
    return site.now_ns()


def expired_at_the_end(record: Record, reading: Reading) -> bool:
    return reading.now_ns >= record.end_in(reading.era)


def expire_by_epoch(current: Record | None, expected: Record | str, reading: Reading) -> Change:
    """As ``DELETE … WHERE epoch = …`` after a look: the end was that of the look."""
    assert isinstance(expected, Record)
    if current is None or current.epoch != expected.epoch or current.pins:
        raise StaleRecord("the lease has changed")
    if not rules.expired(expected, reading):
        raise StaleRecord("not yet")
    return Change(current, None)


def monotonic_ns(site: Site) -> int:
    return site.node.clock.monotonic_ns()


def extend_by_name(current: Record | None, record: Record) -> Record:
    """As ``UPDATE … WHERE name IN …``: whoever has it now."""
    if current is None:
        raise StaleRecord("nobody has it")
    return current


def gate_by_the_row(site: Site, one: Believer) -> bool:
    return True


def lost_but_kept(updater: Updater) -> Look:
    updater.kept_ns = updater._since_ns  # type: ignore[attr-defined]
    return _LOST(updater)


def unknown_but_kept(updater: Updater, now_ns: int) -> None:
    updater.kept_ns = updater._since_ns  # type: ignore[attr-defined]
    _UNKNOWN(updater, now_ns)


def stand_with_what_was_kept(
    updater: Updater, reading: Reading, now_ns: int, *, ticks: int
) -> None:
    _STAND(updater, reading, now_ns, ticks=ticks)
    updater._since_ns = updater.__dict__.pop("kept_ns", now_ns)


def start_in_any_era(record: Record, era: str) -> int:
    return record.start_ns


def denial_of_what_is_unknown(rivals: Any) -> Exception:
    return ClaimDenied("no answer") if rivals.unknown is not None else _DENIAL(rivals)


def unanswered_is_yes(one: Keeper, now_ns: int, rng: Random, trouble: str) -> None:
    one.renewed(replace(one.record), now_ns)


def start_without_step(reading: Reading) -> int:
    return reading.now_ns


_LOST, _UNKNOWN, _STAND = Updater.lost, Updater.unknown, Updater._stand_on
_DENIAL = scripts._Rivals.denial

Patches = tuple[tuple[object, str, object], ...]
KEPT = (Updater, "_stand_on", stand_with_what_was_kept)

SAFEGUARDS: Mapping[str, Patches] = {
    "start-of-call": ((Site, "counts_from", counts_from_the_answer),),
    "strictly-later": ((rules, "expired", expired_at_the_end),),
    "whole-record": ((rules, "expire", expire_by_epoch),),
    "boottime": ((Site, "now_ns", monotonic_ns),),
    "epoch-in-the-batch": ((rules, "_still", extend_by_name),),
    "deadline-before-the-gate": ((Site, "may_gate", gate_by_the_row),),
    "loser-drops": ((Updater, "lost", lost_but_kept), KEPT),
    "unknown-discards": ((Updater, "unknown", unknown_but_kept), KEPT),
    "era": ((Record, "start_in", start_in_any_era),),
    "unknown-is-no-denial": ((scripts._Rivals, "denial", denial_of_what_is_unknown),),
    "unknown-is-no-yes": ((Keeper, "unanswered", unanswered_is_yes),),
    "drift": ((keeper, "DRIFT_PPM", 0),),
    "step": ((Reading, "latest_ns", property(start_without_step)),),
}


@contextmanager
def switched_off(safeguard: str | None) -> Iterator[None]:
    """Without that safeguard; None: with all of them."""
    with ExitStack() as stack:
        for where, name, instead in SAFEGUARDS[safeguard] if safeguard is not None else ():
            assert getattr(where, name) is not instead
            stack.enter_context(patch.object(where, name, instead))
        yield
