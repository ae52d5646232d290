"""The client, which holds a baton until its index is processed, and the stage in the middle."""

from __future__ import annotations

import pytest

from holdfast.wake.sequence import Deliver, Lost, Receiver, Refuse, Relay, Release, Unclaimed
from holdfast.wake.sequence.receiver import Arrival

SECOND = 1_000_000_000
NOTHING: Arrival[str] = Arrival()


def test_a_baton_is_held_until_its_index_is_processed() -> None:
    client: Receiver[str] = Receiver()
    assert client.arrived("b4", 4, 1) == NOTHING
    assert [client.processed() for _ in range(4)] == [None, None, None, "b4"]
    assert client.held is None


def test_a_baton_that_comes_too_late_is_done_at_once() -> None:
    """Row 9."""
    client: Receiver[str] = Receiver()
    client.processed(4)
    assert client.arrived("b4", 4, 1) == Arrival(done="b4")
    assert client.held is None


def test_a_newer_baton_replaces_the_older_after_it_is_stored() -> None:
    """Row 10."""
    client: Receiver[str] = Receiver()
    client.arrived("b4", 4, 1)
    assert client.arrived("b9", 9, 1) == Arrival(released="b4")
    assert client.held == "b9"
    assert client.processed(4) is None


@pytest.mark.parametrize("order", [(4, 9), (9, 4)])
def test_whichever_comes_first_the_further_one_is_kept(order: tuple[int, int]) -> None:
    """Row 20."""
    client: Receiver[str] = Receiver()
    client.arrived(f"b{order[0]}", order[0], 1)
    assert client.arrived(f"b{order[1]}", order[1], 1).released == "b4"
    assert client.processed(8) is None
    assert client.processed() == "b9"


def test_a_jump_past_the_index_is_enough() -> None:
    """Row 11."""
    client: Receiver[str] = Receiver()
    client.arrived("b4", 4, 1)
    assert client.processed(100) == "b4"


def test_a_position_is_counted_from_the_first_message_and_never_goes_back() -> None:
    client: Receiver[str] = Receiver()
    client.arrived("b4", 4, 1)
    assert client.processed_through(3) is None
    assert client.processed_through(1) is None
    assert client.index == 3
    assert client.processed_through(4) == "b4"


def test_at_the_end_of_the_messages_what_is_held_is_released() -> None:
    """Row 15."""
    client: Receiver[str] = Receiver()
    client.arrived("b4", 4, 1)
    assert client.end() == "b4"
    assert client.end() is None
    assert client.arrived("b5", 5, 1) == Arrival(released="b5")


def test_after_the_end_one_can_subscribe_again() -> None:
    client: Receiver[str] = Receiver(epoch=1)
    client.end()
    client.subscribed(2)
    assert client.arrived("b2", 2, 2) == NOTHING
    assert client.held == "b2"


def test_the_baton_of_an_earlier_subscription_is_done() -> None:
    """Row 14."""
    client: Receiver[str] = Receiver(epoch=1)
    client.arrived("b1000", 1000, 1)
    assert client.subscribed(2) == "b1000"
    assert client.arrived("late", 1000, 1) == Arrival(done="late")
    client.arrived("b2", 2, 2)
    assert client.processed(2) == "b2"


def test_a_baton_that_comes_ahead_of_its_subscription_is_held() -> None:
    client: Receiver[str] = Receiver(epoch=1)
    client.processed(1000)
    assert client.arrived("b2", 2, 2) == NOTHING
    assert client.processed(5) is None
    assert client.subscribed(2) is None
    assert client.processed(2) == "b2"


def test_counts_have_no_end() -> None:
    """Row 21."""
    client: Receiver[str] = Receiver()
    client.arrived("b", 2**64, 1)
    assert client.processed(2**64 - 1) is None
    assert client.processed() == "b"


def relay(*, asks: bool = True) -> Relay:
    stage = Relay(retain_ns=SECOND)
    stage.add(0)
    if asks:
        assert stage.asked(0, "r0", 0) == []
    return stage


def test_a_stage_passes_a_baton_on_with_the_count_of_its_own_output() -> None:
    stage = relay()
    stage.sent(0, 7)
    assert stage.passed_on(0) == [Deliver(0, "r0", 7, 1), Release()]
    assert not stage.holding


def test_a_stage_that_has_sent_nothing_new_ends_the_way_of_the_baton() -> None:
    stage = relay()
    assert stage.passed_on(0) == [Release()]
    stage.sent(0, 1)
    stage.passed_on(0)
    stage.asked(0, "r1", 0)
    assert stage.passed_on(0) == [Release()]


def test_a_stage_holds_a_baton_until_it_is_asked_and_counts_on() -> None:
    stage = relay()
    stage.sent(0)
    stage.passed_on(0)
    stage.sent(0)
    assert stage.passed_on(0) == []
    assert stage.holding
    stage.sent(0, 3)
    assert stage.asked(0, "r1", 0) == [Deliver(0, "r1", 5, 1), Release()]


def test_a_stage_serves_each_of_its_outputs() -> None:
    stage = relay()
    stage.add(1)
    stage.sent(0, 2)
    stage.sent(1, 3)
    assert stage.passed_on(0) == [Deliver(0, "r0", 2, 1)]
    assert stage.asked(1, "q0", 0) == [Deliver(1, "q0", 3, 2), Release()]


def test_a_stage_does_not_wait_for_ever_for_a_client_that_never_came() -> None:
    stage = relay(asks=False)
    stage.sent(0, 2)
    assert stage.passed_on(5) == []
    assert stage.next_due_ns == SECOND + 5
    assert stage.expire(SECOND + 5) == [Unclaimed(0, 1, 2), Release()]


def test_a_stage_releases_what_it_holds_for_a_client_that_goes() -> None:
    stage = relay()
    stage.sent(0)
    stage.passed_on(0)
    stage.sent(0)
    stage.passed_on(0)
    assert stage.gone(0, 0) == [Lost(0, 1, 2), Release()]
    stage.subscribed(0, 0)
    stage.sent(0)
    stage.asked(0, "r1", 0)
    assert stage.passed_on(0) == [Deliver(0, "r1", 1, 2), Release()]


def test_a_baton_of_a_stage_that_did_not_arrive_counts_for_nothing() -> None:
    stage = relay()
    stage.sent(0)
    stage.passed_on(0)
    stage.undelivered(0, 1)
    stage.asked(0, "r1", 0)
    assert stage.passed_on(0) == [Deliver(0, "r1", 1, 1), Release()]


def test_a_stage_that_ends_holds_nothing() -> None:
    stage = relay(asks=False)
    stage.sent(0)
    stage.passed_on(0)
    assert stage.end() == [Release()]
    assert stage.asked(0, "r0", 0) == [Refuse(0, "r0", "ended")]
    assert stage.passed_on(0) == [Release()]


def test_a_request_is_answered_when_its_stage_ends() -> None:
    assert relay().end() == [Refuse(0, "r0", "ended")]
