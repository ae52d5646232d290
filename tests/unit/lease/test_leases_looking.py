"""Looking at leases, on every store: records, tokens, pins, namespaces, and watching."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from holdfast.clock import SystemClock
from holdfast.errors import ClaimDenied, LeaseLost
from holdfast.lease import Change, Leases, Record, rules
from holdfast.lease.global_clock import STEP_NS_MAX
from tests.fixtures_lease import PATIENCE_S, Bench, Going, Hands, Open, names, renewed, until

# -- records --------------------------------------------------------------------------------------


def test_records_are_found_by_position_and_by_name(leases: Leases, others: Leases) -> None:
    for name in ("b", "c", "a"):
        others.claim(name, f"holder of {name}", 60)
    listing = leases.records()
    assert names(listing) == ["a", "b", "c"]
    assert listing[0] == listing["a"]
    assert names(listing[1:]) == ["b", "c"]
    assert listing["b"].holder == "holder of b"
    assert len(listing) == 3
    with pytest.raises(KeyError):
        listing["d"]
    with pytest.raises(IndexError):
        listing[len(listing)]


def test_what_has_run_out_is_held_until_somebody_removes_it(leases: Leases) -> None:
    leases.claim("n", "a", 60)
    record = leases.records()["n"]
    assert isinstance(record, Record)
    assert rules.expired(record, leases.store.clock()) is False


def test_the_end_as_seen_from_here_is_only_ever_late(leases: Leases, others: Leases) -> None:
    """Compared with local time, it is after everything that the holder may believe."""
    with leases.hold("n", duration=20) as held:
        for _ in range(8):
            before_ns = held.deadline_ns
            seen = others.records()["n"]
            assert seen.expires_ns >= before_ns
            assert seen.expires_ns <= SystemClock().boottime_ns() + 20e9 + 2 * STEP_NS_MAX
            with leases.roster.lock:  # what else would be done at a third of the duration
                held.keeper.due_ns = SystemClock().boottime_ns()
                leases.renewer.renew_at(held.keeper.due_ns)
            assert renewed(held, before_ns)
            time.sleep(0.1)


def test_the_end_is_late_behind_a_clock_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock has not counted yet, and whoever has stalled."""
    clock = Hands()
    bench = Bench(clock)
    promised_ns = clock.now_ns + 10 * 10**9
    bench.leases.claim("n", "a", 10)
    for step_s in (0, 0.1, 0.3, 0.4, 0.499, 2, 0.001, 3, 5):
        clock.pass_s(step_s)
        time.sleep(0.03)  # perhaps it ticks, perhaps not
        assert bench.leases.records()["n"].expires_ns >= promised_ns
    bench.close()


# -- tokens ---------------------------------------------------------------------------------------


def test_a_token_tells_the_truth_again_and_again(leases: Leases, others: Leases) -> None:
    token = leases.token("n", "web")
    assert (token.name, token.holder) == ("n", "web")
    with pytest.raises(LeaseLost, match="nobody's"):
        token.check()
    with others.hold("n", holder="web") as held:
        assert token.check().epoch == held.fencing_token
    with others.hold("n", holder="db"), pytest.raises(LeaseLost, match="'db'"):
        token.check()
    with others.hold("n", holder="web"):
        token.check()


# -- pins -----------------------------------------------------------------------------------------


def past_its_end(leases: Leases, name: str) -> bool:
    return until(lambda: rules.expired(leases.records()[name], leases.store.clock()))


def test_a_pinned_lease_does_not_expire(leases: Leases, others: Leases) -> None:
    leases.pin("n", "backup")
    leases.pin("n", "audit")
    leases.pin("n", "audit")
    record = leases.claim("n", "a", 0.1)
    assert record.pins == {"backup", "audit"}
    assert past_its_end(leases, "n")
    assert others.wait_until_expired("n", timeout=0.7) is False
    with pytest.raises(ClaimDenied, match="pinned by audit, backup"):
        others.claim("n", "b", 1)
    others.unpin("n", "audit")
    assert others.wait_until_expired("n", timeout=0.3) is False
    others.unpin("n", "backup")
    others.unpin("n", "backup")
    assert others.wait_until_expired("n", timeout=PATIENCE_S) is True
    assert others.claim("n", "b", 1).epoch > record.epoch


def test_a_pin_keeps_nobody_from_giving_back(leases: Leases, others: Leases) -> None:
    with leases.hold("n"):
        others.pin("n", "backup")
    assert leases.records() == ()
    assert leases.claim("n", "a", 60).pins == {"backup"}


def test_a_pin_does_not_disturb_renewals(url: str, open_leases: Open, others: Leases) -> None:
    clock = Hands()
    with open_leases(url, clock=clock).hold("n", duration=30) as held:
        for change in (others.pin, others.unpin):
            change("n", "backup")
            before_ns = held.deadline_ns
            clock.pass_s(10.1)
            assert renewed(held, before_ns)
        held.check()


# -- waiting for a vacancy ------------------------------------------------------------------------


def test_a_vacancy_is_told_at_once(leases: Leases) -> None:
    assert leases.wait_until_expired("n") is True
    assert leases.wait_until_expired("n", 0) is True


def test_a_wait_for_a_vacancy_ends_with_its_timeout(leases: Leases) -> None:
    with leases.hold("n"):
        assert leases.wait_until_expired("n", timeout=0) is False
        began = time.monotonic()
        assert leases.wait_until_expired("n", timeout=0.2) is False
        assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("ending", ["release", "expiry"])
def test_all_who_wait_hear_of_a_vacancy(leases: Leases, others: Leases, ending: str) -> None:
    record = leases.claim("n", "a", 60 if ending == "release" else 0.4)
    waiters = [Going(functools.partial(others.wait_until_expired, "n")) for _ in range(3)]
    if ending == "release":
        time.sleep(0.05)
        assert all(waiter.is_alive() for waiter in waiters)
        leases.store.release(record)
    assert [waiter.outcome() for waiter in waiters] == [True] * 3


# -- namespaces -----------------------------------------------------------------------------------


def test_another_namespace_has_other_leases(url: str, open_leases: Open) -> None:
    one, two = open_leases(url, namespace="one"), open_leases(url, namespace="two")
    assert (one.namespace, two.namespace) == ("one", "two")
    with one.hold("n") as first, two.hold("n", wait=0) as second:
        assert names(one.records()) == names(two.records()) == ["n"]
        assert first.holder != second.holder
        two.pin("n", "backup")
        assert one.store.pins() == {}
        second.release()
        first.check()
        assert one.records()["n"].epoch == first.fencing_token


# -- watching -------------------------------------------------------------------------------------


def following(changes: Iterator[Change]) -> Change:
    change: Change = Going(lambda: next(changes)).outcome()
    return change


def test_whoever_watches_sees_what_becomes_of_leases(leases: Leases, others: Leases) -> None:
    leases.claim("old", "a", 60)
    changes = others.watch()
    record = leases.claim("n", "a", 60)
    assert following(changes) == Change("n", None, record)
    later = leases.claim("n", "a", 90)
    assert following(changes) == Change("n", record, later)
    leases.store.release(later)
    assert following(changes) == Change("n", later, None)


def test_what_closely_follows_is_one_change_of_each(leases: Leases, others: Leases) -> None:
    changes = others.watch(timeout=0.5)
    for name in ("b", "a"):
        leases.store.release(leases.claim(name, "x", 60))
        leases.claim(name, "y", 60)
    seen = list(changes)
    assert [change.name for change in seen if change.before is None] == ["a", "b"]
    assert {change.after.holder for change in seen if change.after} == {"y"}


def test_a_watch_ends_when_nothing_happens(leases: Leases) -> None:
    began = time.monotonic()
    assert list(leases.watch(timeout=0.2)) == []
    assert time.monotonic() - began >= 0.2
    assert list(leases.watch(timeout=0)) == []


def test_a_watch_sees_what_runs_out(leases: Leases, others: Leases) -> None:
    """Nobody waits for it, and nobody else does anything."""
    leases.pin("n", "ops")  # not before the watch begins
    record = leases.claim("n", "a", 0.3)
    changes = others.watch()
    leases.unpin("n", "ops")
    bare = replace(record, pins=frozenset())
    change = following(changes)
    if change == Change("n", record, bare):
        change = following(changes)
    assert change in (Change("n", record, None), Change("n", bare, None))


def test_a_watch_sees_what_was_done_through_the_same_leases(leases: Leases) -> None:
    changes = leases.watch()
    watching = Going(lambda: next(changes))
    time.sleep(0.1)
    record = leases.claim("n", "a", 60)
    assert watching.outcome() == Change("n", None, record)


def test_a_watch_sees_nothing_of_another_namespace(url: str, open_leases: Open) -> None:
    changes = open_leases(url, namespace="one").watch(timeout=0.3)
    open_leases(url, namespace="two").claim("n", "a", 60)
    assert list(changes) == []
