"""The head of a pipeline when the machine goes down of itself: only batons delay it then."""

from __future__ import annotations

from holdfast.wake.sequence import Acquire, Answer, Covered, Deliver, Lease, Phase, Release
from tests.unit.wake.sequence_head import Head


def going_down() -> Head:
    """A head with one client, that has heard of the sleep."""
    head = Head().attached()
    assert head.sleeps() == []
    return head


def test_the_lease_goes_with_the_answer_when_the_baton_is_delivered() -> None:
    head = going_down()
    head.sends(4)
    assert head.suspends() == [Acquire()]
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 4, 1), Answer(1), Release()]
    assert head.sender.covered(0)  # by the baton
    assert head.lease is Lease.NONE


def test_it_is_kept_until_the_client_asks() -> None:
    head = going_down()
    head.sends(1)
    head.suspends()
    head.gets_it()  # delivered to r0, and let go of
    head.sends(2)
    assert head.wanted == [Acquire()]
    assert not head.sender.covered(0)
    assert head.gets_it() == [Covered()]
    assert head.lease is Lease.HELD
    assert head.sender.covered(0)
    assert head.asks("r1") == [Deliver(0, "r1", 3, 1), Release()]
    assert head.sender.covered(0)


def test_it_is_kept_as_long_as_the_governor_waits_for_the_answer() -> None:
    head = going_down()
    head.sends(1)
    head.suspends()
    assert head.sender.phase is Phase.FLUSHING
    assert Release() not in head.gets_it()[:-1]  # after the answer, and not before it


def test_news_that_come_late_let_go_of_what_is_kept_until_the_resume() -> None:
    """Somebody else puts the machine to sleep in the middle of an attempt of ours."""
    head = Head().attached()
    head.sends(1)
    head.suspends()
    head.gets_it()
    assert head.lease is Lease.HELD
    assert head.sleeps() == [Release()]


def test_news_that_come_late_find_a_baton_for_what_the_kept_lease_covered() -> None:
    """It would have been delivered at the resume."""
    head = Head().attached()
    head.sends(1)
    head.suspends()
    head.gets_it()
    head.asks("r1")
    assert head.sends(2) == []
    assert head.sleeps() == [Deliver(0, "r1", 3, 1), Release()]


def test_news_that_come_between_a_resume_and_the_next_call_hold() -> None:
    head = Head().attached()
    head.suspends()
    head.sleeps()
    head.resumes()  # of the attempt before
    head.sends(1)
    head.suspends()
    assert head.gets_it()[-1] == Release()


def test_when_it_is_back_all_is_as_before() -> None:
    head = going_down()
    head.suspends()
    assert head.sleeps(begins=False) == []
    head.resumes()
    head.sends(1)
    head.suspends()
    assert head.gets_it() == [Covered(), Deliver(0, "r0", 1, 1), Answer(3)]
    assert head.lease is Lease.HELD
