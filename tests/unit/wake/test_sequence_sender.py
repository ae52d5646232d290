"""The head of a pipeline, row by row: when it takes a wake lease, and for whom."""

from __future__ import annotations

import pytest

from holdfast.wake.sequence import (
    TRANSITIONS,
    Acquire,
    Answer,
    Covered,
    Deliver,
    Event,
    Lease,
    Lost,
    Phase,
    Presence,
    Refuse,
    Release,
    Retry,
    Unclaimed,
    Uncovered,
)
from tests.unit.wake.sequence_head import SECOND, Head


def test_awake_a_message_costs_nothing() -> None:
    head = Head().attached()
    assert head.sends(1000) == []
    assert head.sender.covered(0)
    assert head.lease is Lease.NONE


def test_before_it_is_known_that_the_machine_is_awake_the_first_message_takes_a_lease() -> None:
    """Row 1."""
    head = Head()
    assert head.sends() == [Acquire()]
    assert not head.sender.covered(0)
    head.gets_it()
    assert head.sender.covered(0)
    assert head.lease is Lease.HELD  # and stays so: the attempt that we missed may go on
    head.asks("r0")
    assert head.wanted == [Deliver(0, "r0", 1, 1)]
    assert head.do(head.sender.awake(0)) == [Covered(), Release()]


def test_that_it_is_awake_is_no_news_after_the_governor_has_called() -> None:
    head = Head()
    head.suspends()
    assert head.do(head.sender.awake(0)) == []
    assert head.sender.phase is Phase.DOWN


def test_a_request_waits_while_nothing_was_flushed() -> None:
    """Row 2."""
    head = Head().attached()
    head.sends(3)
    assert head.wanted == []
    assert head.sender.clients[0].request == "r0"


def test_a_request_after_the_flush_gets_the_baton_at_once_with_what_was_sent_by_then() -> None:
    """Row 3."""
    head = Head().attached()
    head.sends(2)
    head.suspends()
    head.gets_it()  # delivered to r0
    head.sends(3)
    head.resumes()
    assert head.lease is Lease.HELD
    head.sends(4)
    assert head.asks("r1") == [Deliver(0, "r1", 9, 1), Release()]


def test_with_nothing_new_the_suspend_goes_on_without_a_lease() -> None:
    """Row 4."""
    head = Head().attached()
    assert head.suspends() == [Answer(1)]
    head.resumes()
    head.sends(2)
    head.suspends()
    head.gets_it()
    assert head.wanted == [Covered(), Deliver(0, "r0", 2, 1), Answer(3)]
    head.resumes()
    assert head.suspends() == [Answer(5)]


def test_the_baton_is_delivered_before_the_answer() -> None:
    """Row 5."""
    head = Head().attached()
    head.sends(4)
    assert head.suspends() == [Acquire()]
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 4, 1), Answer(1)]


def test_without_a_request_the_lease_waits_for_one_and_the_attempt_is_given_up() -> None:
    """Row 6."""
    head = Head().attached()
    head.sends()
    head.suspends()
    head.gets_it()  # delivered to r0; from now on nobody asks
    head.resumes()
    head.sends()
    head.suspends()
    assert head.gets_it() == [Covered(), Answer(3)]
    assert head.resumes() == [Covered(), Answer(4)]
    assert head.lease is Lease.HELD
    head.now_ns = 1000 * SECOND
    assert head.sender.next_due_ns is None  # it is attached: it will ask
    assert head.asks("r2") == [Deliver(0, "r2", 2, 1), Release()]


def test_for_a_client_that_never_came_the_lease_is_held_for_a_time_and_that_is_reported() -> None:
    """Row 6."""
    head = Head().awake()
    head.sends(7)
    head.suspends()
    head.gets_it()
    head.resumes()
    assert head.sender.next_due_ns == 10 * SECOND
    assert head.do(head.sender.expire(10 * SECOND - 1)) == []
    assert head.do(head.sender.expire(10 * SECOND)) == [Unclaimed(0, 1, 7), Release()]
    head.sends()
    assert head.suspends() == [Answer(3)]  # and from now on the machine does not wait for nobody


def test_who_comes_after_all_is_waited_for_again() -> None:
    head = Head().awake()
    head.sends(7)
    head.suspends()
    head.gets_it()
    head.resumes()
    head.do(head.sender.expire(10 * SECOND))
    head.suspends()
    assert head.asks("r0") == [Acquire()]
    assert head.sender.clients[0].presence is Presence.ATTACHED
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 7, 1)]


def test_a_request_that_comes_after_its_client_has_gone_brings_nobody_back() -> None:
    """Its connections need not end at the same instant."""
    head = Head().attached()
    head.do(head.sender.gone(0, 0))
    assert head.asks("late") == [Refuse(0, "late", "superseded")]
    head.sends(5)
    assert head.suspends() == [Answer(1)]
    head.resumes()
    head.do(head.sender.subscribed(0, 0))
    assert head.asks("new") == []


def test_for_an_absent_client_no_lease_is_taken() -> None:
    """Row 6."""
    head = Head().attached()
    head.do(head.sender.gone(0, 0))
    head.sends(5)
    assert head.suspends() == [Answer(1)]
    assert head.sends(5) == []
    assert head.sender.covered(0)  # nobody has to wait for that


def test_a_request_that_is_replaced_is_told_so() -> None:
    """Row 7."""
    head = Head().attached()
    assert head.asks("r1") == [Refuse(0, "r0", "superseded")]
    head.sends()
    head.suspends()
    head.gets_it()
    assert Deliver(0, "r1", 1, 1) in head.wanted


def test_several_clients_share_one_lease_and_each_has_its_own_index() -> None:
    """Row 8."""
    head = Head().attached()
    for client in (1, 2):
        head.sender.add(client)
        head.asks(f"q{client}", client=client)
    head.sends(3)
    head.sends(5, to=1)
    assert head.suspends() == [Acquire()]
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 3, 1), Deliver(1, "q1", 5, 2), Answer(1)]
    assert head.sender.acquired == 1
    assert head.sender.clients[2].request == "q2"  # it is owed nothing


def test_one_slow_client_keeps_the_lease_that_others_were_served_from() -> None:
    head = Head().attached()
    head.sender.add(1)
    head.asks("q", client=1)
    head.sends()
    head.sends(to=1)
    head.suspends()
    head.gets_it()
    head.sends(to=1)
    assert head.resumes() == [Covered(), Answer(2)]
    assert head.asks("q2", client=1) == [Deliver(1, "q2", 2, 2), Release()]


def test_a_client_that_goes_takes_its_request_along_and_what_it_owed_is_counted() -> None:
    """Rows 12 and 13."""
    head = Head().attached()
    head.sends(5)
    head.suspends()
    head.gets_it()
    head.asks("r1", processed=2)
    assert head.do(head.sender.gone(0, 0)) == [Refuse(0, "r1", "superseded"), Lost(0, 1, 3)]
    assert head.sender.clients[0].request is None
    assert head.resumes() == [Covered(), Release(), Answer(2)]


def test_what_a_client_has_processed_is_the_most_that_it_ever_said() -> None:
    head = Head().attached()
    head.sends(5)
    head.asks("r1", processed=4)
    head.asks("r2", processed=2)
    assert Lost(0, 1, 1) in head.do(head.sender.gone(0, 0))


def test_with_its_client_gone_a_waiting_lease_is_released() -> None:
    head = Head().attached()
    head.sends()
    head.suspends()
    head.gets_it()
    head.sends()
    head.resumes()
    assert head.lease is Lease.HELD
    assert Release() in head.do(head.sender.gone(0, 0))


def test_a_baton_that_did_not_arrive_counts_for_nothing() -> None:
    """Row 12: else its messages would be taken for covered."""
    head = Head().attached()
    head.sends(3)
    head.suspends()
    head.gets_it()
    head.do(head.sender.undelivered(0, 1, 0))
    head.asks("r1")
    assert head.resumes() == [Covered(), Deliver(0, "r1", 3, 1), Release(), Answer(2)]


def test_a_new_client_is_counted_from_nothing() -> None:
    """Row 14."""
    head = Head().attached()
    head.sends(1000)
    assert head.do(head.sender.subscribed(0, 0))[-1] == Lost(0, 1, 1000)
    head.sends(2)
    head.asks("r1")
    head.suspends()
    head.gets_it()
    assert Deliver(0, "r1", 2, 2) in head.wanted
    head.do(head.sender.undelivered(0, 1, 0))  # about the client before: no news
    head.resumes()
    assert head.lease is Lease.NONE
    assert head.suspends() == [Answer(3)]


def test_a_failed_acquisition_is_an_error_and_never_an_answer() -> None:
    """Row 16."""
    head = Head().attached()
    head.sends()
    head.suspends()
    error = OSError("no descriptor left")
    assert head.do(head.sender.failed(error)) == [Uncovered(error), Retry(20_000_000)]
    assert head.sender.phase is Phase.FLUSHING
    assert head.do(head.sender.retry(0)) == [Acquire()]
    assert head.do(head.sender.failed(error)) == [Uncovered(error), Retry(40_000_000)]
    head.do(head.sender.retry(0))
    assert head.gets_it()[-1] == Answer(1)


def test_a_pause_between_failures_has_an_end() -> None:
    head = Head().attached()
    head.sends()
    head.suspends()
    pauses = []
    for _ in range(50):
        pauses += [one for one in head.do(head.sender.failed(OSError())) if isinstance(one, Retry)]
        head.do(head.sender.retry(0))
    assert pauses[-1] == Retry(2 * SECOND)


def test_a_success_ends_the_row_of_failures() -> None:
    head = Head().attached()
    head.sends()
    head.suspends()
    for _ in range(3):
        head.do(head.sender.failed(OSError()))
        head.do(head.sender.retry(0))
    head.gets_it()
    head.resumes()
    head.sends()
    head.suspends()
    assert head.do(head.sender.failed(OSError()))[1:] == [Retry(20_000_000)]


def test_a_failure_while_the_machine_may_be_down_is_told_to_the_one_who_sent() -> None:
    head = Head().attached()
    head.suspends()
    assert head.sends() == [Acquire()]
    error = OSError("no descriptor left")
    assert head.do(head.sender.failed(error)) == [Uncovered(error)]
    assert not head.sender.covered(0)
    assert head.sends() == [Acquire()]


def test_a_message_between_the_flush_and_the_answer_waits_for_the_lease() -> None:
    """Row 17: from the first instant of the call on the head does not believe that it is awake."""
    head = Head().attached()
    head.sends()
    head.suspends()
    assert head.sends() == []  # one acquisition is under way: it is enough
    assert not head.sender.covered(0)
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 2, 1), Answer(1)]


def test_after_the_answer_the_lease_is_kept_until_the_resume() -> None:
    """Row 18: the client may have dropped its copy long ago, and the phase goes on."""
    head = Head().attached()
    head.suspends()
    head.sends()
    head.gets_it()
    assert head.wanted == [Covered(), Deliver(0, "r0", 1, 1)]
    assert head.sends() == []
    assert head.sender.covered(0)
    assert head.lease is Lease.HELD
    assert head.sender.acquired == 1
    head.asks("r1")
    assert head.resumes() == [Covered(), Deliver(0, "r1", 2, 1), Release(), Answer(2)]


def test_nothing_sent_is_nothing_done() -> None:
    """Row 19."""
    head = Head().attached()
    head.suspends()
    assert head.sends(0) == []
    assert head.sends(-3) == []
    assert head.sender.clients[0].sent == 0
    assert head.sender.phase is Phase.DOWN
    assert head.sends() == [Acquire()]


def test_counts_have_no_end() -> None:
    """Row 21."""
    head = Head().attached()
    head.sends(2**64)
    head.suspends()
    head.gets_it()
    assert Deliver(0, "r0", 2**64, 1) in head.wanted


def test_at_the_end_whoever_waits_is_told_and_nothing_is_kept() -> None:
    """Row 22."""
    head = Head().attached()
    head.sends()
    head.suspends()
    head.gets_it()
    head.sends()
    head.asks("r1")
    error = RuntimeError("the governor is gone")
    assert head.do(head.sender.end(error)) == [
        Uncovered(error),
        Refuse(0, "r1", "ended"),
        Release(),
    ]
    assert head.asks("r2") == [Refuse(0, "r2", "ended")]
    assert head.suspends() == head.resumes() == []
    assert head.do(head.sender.end(error)) == []
    assert head.sends() == []
    assert not head.sender.covered(0)


def test_a_lease_that_comes_after_the_end_is_given_back() -> None:
    head = Head().attached()
    head.sends()
    head.suspends()
    head.do(head.sender.end(RuntimeError()))
    assert head.gets_it() == [Release()]
    assert head.do(head.sender.failed(OSError())) == []


def test_a_resume_may_come_before_the_lease() -> None:
    """The back-end was down: an acquisition waits until it is up again."""
    head = Head().attached()
    head.suspends()
    assert head.sends() == [Acquire()]
    assert head.resumes() == [Covered(), Answer(2)]
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 1, 1), Release()]


def test_a_suspend_may_come_before_the_lease_that_was_asked_for_in_the_last_one() -> None:
    head = Head().attached()
    head.suspends()
    head.sends()
    head.resumes()
    assert head.suspends() == []  # one acquisition is under way
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 1, 1), Answer(3)]


def test_a_call_that_the_governor_did_not_wait_for_is_over() -> None:
    head = Head().attached()
    head.sends()
    head.suspends()
    assert head.resumes() == [Covered(), Answer(1), Answer(2)]
    head.gets_it()
    head.sends()
    head.suspends()
    assert head.suspends() == [Answer(3)]


def test_a_flush_that_somebody_asked_for_delivers_though_nobody_suspends() -> None:
    head = Head().attached()
    assert head.do(head.sender.flush(0)) == []
    head.sends(3)
    assert head.do(head.sender.flush(0)) == [Acquire()]
    assert head.do(head.sender.flush(0)) == []
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 3, 1), Release()]
    assert head.suspends() == [Answer(1)]


def test_a_flush_serves_from_a_lease_that_waits_for_another_client() -> None:
    head = Head().attached()
    head.sender.add(1)
    head.asks("q", client=1)
    head.sends(to=1)
    head.suspends()
    head.gets_it()
    head.sends(to=1)
    head.resumes()
    assert head.lease is Lease.HELD  # for the second, which has not asked again
    head.sends(2)
    assert head.do(head.sender.flush(0)) == [Deliver(0, "r0", 2, 1)]


def test_a_place_that_is_given_up_is_owed_nothing() -> None:
    head = Head().attached()
    head.sends()
    assert head.do(head.sender.remove(0, 0)) == [Refuse(0, "r0", "superseded"), Lost(0, 1, 1)]
    assert head.suspends() == [Answer(1)]


def test_one_lease_for_each_attempt_is_the_most() -> None:
    head = Head().attached()
    for number in range(100):
        head.sends(10)
        if Acquire() in head.suspends():
            head.gets_it()
        for _ in range(10):
            assert Acquire() not in head.sends()
        head.asks(f"r{number}")
        head.resumes()
    assert head.sender.acquired == head.sender.flushes == 100
    assert head.sender.saved >= 1000


@pytest.mark.parametrize("phase", Phase)
def test_the_table_is_complete_where_it_must_be(phase: Phase) -> None:
    assert TRANSITIONS[phase, Event.END] is Phase.ENDED
    if phase is not Phase.ENDED:
        assert TRANSITIONS[phase, Event.BEFORE_SUSPEND] is Phase.FLUSHING
        assert TRANSITIONS[phase, Event.AFTER_RESUME] is Phase.AWAKE
