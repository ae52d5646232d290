"""Any sequence of inputs: what the governor must never do, and that it gets on.

Beside it stands a record of what it wanted done. It never goes down while a wake lease is granted
or waited for, or while somebody who was called has not answered; it grants and answers each once;
it calls after a resume those and only those whom it called before; and when all have answered,
closed and come back, everybody has what he asked for.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from holdfast.errors import InvalidArgument
from holdfast.wake.governor import Governor
from holdfast.wake.model import (
    Answer,
    Block,
    Call,
    Config,
    Effect,
    Evict,
    Failed,
    GoDown,
    Grant,
    Moment,
    OnTimeout,
    Phase,
    ReadyForShutdown,
    ReadyForSleep,
    Requester,
    Slept,
    WakeLeaseKind,
    WakeUp,
)

SECOND = 1_000_000_000
PICK = st.integers(0, 30)
OUTCOMES = st.sampled_from([Slept(SECOND), Slept(0), Failed("no")])


class GovernorMachine(RuleBasedStateMachine):
    """One governor, and everybody around it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.number = 0
        self.governor = Governor(Config(), now_ns=0)
        self.waiting: dict[int, WakeLeaseKind] = {}
        self.granted: dict[int, WakeLeaseKind] = {}
        self.listeners: dict[int, tuple[int | None, OnTimeout]] = {}
        self.calls: dict[int, tuple[int, Moment, int]] = {}  # awaited: whom, for what, since when
        self.told: set[int] = set()  # who heard of a suspend and not of its end
        self.requests: set[int] = set()
        self.down: int | None = None  # the attempt
        self.let_go = False
        self.sleeping = False
        self.shutting_down = False
        self.blocked = False

    # -- what it wants --

    def told_by(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Grant(lease_id):
                    kind = self.waiting.pop(lease_id)
                    assert self.down is None
                    assert not self.let_go
                    assert kind is not WakeLeaseKind.ACTIVITY or not self.calls
                    self.granted[lease_id] = kind
                    assert self.blocked
                case Block(held):
                    assert held != self.blocked
                    assert not self.granted  # before the first, after the last
                    self.blocked = held
                case Call(listener_id, call_id, moment):
                    self.called(listener_id, call_id, moment)
                case Evict(listener_id):
                    timeout_ns, then = self.listeners.pop(listener_id)
                    assert timeout_ns is not None
                    assert then is OnTimeout.EVICT
                case GoDown(attempt):
                    self.nothing_forbids()
                    assert self.requests
                    assert not self.sleeping
                    self.down = attempt
                case ReadyForSleep():
                    assert self.sleeping
                    assert self.down is not None or not (self.granted or self.waiting)
                    self.let_go = True
                case ReadyForShutdown():
                    assert self.shutting_down
                    assert not self.granted
                case WakeUp():
                    assert self.down is not None or self.let_go
                case Answer(request_id):
                    self.requests.remove(request_id)
        self.check()

    def called(self, listener_id: int, call_id: int, moment: Moment) -> None:
        assert listener_id in self.listeners
        assert self.down is None
        assert not self.shutting_down
        if moment is Moment.BEFORE_SUSPEND:
            assert listener_id not in self.told
            self.told.add(listener_id)
        else:
            assert listener_id in self.told
            assert not [each for each in self.calls.values() if each[1] is not moment]
            self.told.remove(listener_id)
        assert call_id not in self.calls
        self.calls[call_id] = (listener_id, moment, self.now_ns)

    def nothing_forbids(self) -> None:
        assert not self.granted
        assert not self.waiting
        assert not self.calls
        assert not self.shutting_down

    def check(self) -> None:
        status = self.governor.status()
        assert (status.state is Phase.SUSPENDED) == (self.down is not None or self.let_go)
        assert status.wake_lease_count == len(self.granted) + len(self.waiting)
        assert status.requests == len(self.requests)
        assert len(status.listeners) == len(self.listeners)
        assert self.blocked == bool(self.granted)
        if status.state in (Phase.AWAKE, Phase.STOPPING):
            assert not self.waiting
        if status.state is Phase.AWAKE:
            assert not self.calls

    # -- what it is told --

    @rule(kind=st.sampled_from(WakeLeaseKind), pick=PICK, inside=st.booleans())
    def acquire(self, kind: WakeLeaseKind, pick: int, inside: bool) -> None:
        self.number += 1
        connection = self.number
        if inside and self.listeners:
            connection = sorted(self.listeners)[pick % len(self.listeners)]
        in_call = connection in {listener_id for listener_id, _, _ in self.calls.values()}
        self.waiting[self.number] = kind
        try:
            effects = self.governor.acquire(
                self.number, f"a{self.number}", kind, Requester(connection), self.now_ns
            )
        except InvalidArgument:
            assert in_call
            assert kind is WakeLeaseKind.ACTIVITY
            del self.waiting[self.number]
        else:
            self.told_by(effects)

    @precondition(lambda self: self.granted or self.waiting)
    @rule(pick=PICK)
    def close(self, pick: int) -> None:
        known = sorted(self.granted | self.waiting)
        lease_id = known[pick % len(known)]
        self.granted.pop(lease_id, None)
        self.waiting.pop(lease_id, None)
        self.told_by(self.governor.lease_closed(lease_id, self.now_ns))

    @rule(timeout=st.sampled_from([None, 1, 5]), then=st.sampled_from(OnTimeout))
    def listen(self, timeout: int | None, then: OnTimeout) -> None:
        self.number += 1
        timeout_ns = None if timeout is None else timeout * SECOND
        self.listeners[self.number] = (timeout_ns, then)
        self.told_by(
            self.governor.listener_registered(
                self.number,
                f"l{self.number}",
                Requester(self.number),
                self.now_ns,
                timeout_ns=timeout_ns,
                on_timeout=then,
            )
        )

    @precondition(lambda self: self.listeners)
    @rule(pick=PICK)
    def gone(self, pick: int) -> None:
        listener_id = sorted(self.listeners)[pick % len(self.listeners)]
        del self.listeners[listener_id]
        self.calls = {each: call for each, call in self.calls.items() if call[0] != listener_id}
        self.told_by(self.governor.listener_gone(listener_id, self.now_ns))

    @precondition(lambda self: self.calls)
    @rule(pick=PICK, right=st.integers(0, 4))
    def answer(self, pick: int, right: int) -> None:
        call_id = sorted(self.calls)[pick % len(self.calls)]
        listener_id = self.calls[call_id][0]
        if right:
            del self.calls[call_id]
        else:
            listener_id += 1  # somebody else answers: that is no answer
        self.told_by(self.governor.answered(listener_id, call_id, self.now_ns))

    @rule(within=st.sampled_from([None, 0, 2]))
    def suspend(self, within: int | None) -> None:
        self.number += 1
        self.requests.add(self.number)
        deadline_ns = None if within is None else self.now_ns + within * SECOND
        self.told_by(
            self.governor.suspend_requested(self.number, self.now_ns, deadline_ns=deadline_ns)
        )

    @precondition(lambda self: self.requests)
    @rule(pick=PICK)
    def withdraw(self, pick: int) -> None:
        request_id = sorted(self.requests)[pick % len(self.requests)]
        self.requests.remove(request_id)
        self.told_by(self.governor.suspend_withdrawn(request_id, self.now_ns))

    @precondition(lambda self: self.down is not None)
    @rule(outcome=OUTCOMES)
    def done(self, outcome: Slept | Failed) -> None:
        attempt, self.down = self.down, None
        assert attempt is not None
        self.told_by(self.governor.backend_done(attempt, outcome, self.now_ns))

    @precondition(lambda self: not self.sleeping)
    @rule()
    def sleep_begins(self) -> None:
        self.sleeping = True
        self.told_by(self.governor.sleep_begins(self.now_ns))

    @precondition(lambda self: self.sleeping)
    @rule(outcome=OUTCOMES)
    def sleep_ended(self, outcome: Slept | Failed) -> None:
        self.sleeping = self.let_go = False
        self.told_by(self.governor.sleep_ended(outcome, self.now_ns))

    @precondition(lambda self: not self.shutting_down)
    @rule(rare=st.integers(0, 9))
    def shutdown(self, rare: int) -> None:
        if rare:
            return
        self.shutting_down = True
        self.calls.clear()  # nobody waits for them any more
        down = self.down is not None or self.let_go
        status = self.governor.status().state
        if not down and status is Phase.RESUMING:
            self.told.clear()
        self.told_by(self.governor.shutdown_begins(self.now_ns))

    @precondition(lambda self: self.shutting_down)
    @rule()
    def shutdown_ended(self) -> None:
        self.shutting_down = False
        self.told_by(self.governor.shutdown_ended(self.now_ns))

    @rule(passes=st.sampled_from([0, 1, SECOND // 2, SECOND, 5 * SECOND, 400 * SECOND]))
    def wait(self, passes: int) -> None:
        """Time passes, and the driver is as late as it likes."""
        self.now_ns += passes
        self.late()
        self.told_by(self.governor.expire(self.now_ns))

    def late(self) -> None:
        for call_id, (listener_id, _, since_ns) in list(self.calls.items()):
            timeout_ns = self.listeners[listener_id][0]
            if timeout_ns is not None and since_ns + timeout_ns <= self.now_ns:
                del self.calls[call_id]

    # -- and in the end --

    def teardown(self) -> None:
        """Everybody does what he owes: then everybody has what he asked for."""
        if self.shutting_down:
            self.shutdown_ended()
        for _ in range(4 + 2 * len(self.requests)):
            if self.down is not None:
                self.done(Slept(SECOND))
            if self.sleeping:
                self.sleep_ended(Slept(SECOND))
            for _ in range(2):
                for _ in range(len(self.calls)):
                    self.answer(0, 1)
            assert not self.waiting
            for _ in range(len(self.granted)):
                self.close(0)
            self.wait(400 * SECOND)
        assert not self.requests
        assert not self.calls
        assert self.governor.status().state is Phase.AWAKE
        assert self.governor.next_due_ns is None  # nothing is left over
        before = self.governor.status().suspends
        self.suspend(None)
        for _ in range(len(self.calls)):
            self.answer(0, 1)
        self.done(Slept(SECOND))
        assert self.governor.status().suspends == before + 1


@pytest.mark.timeout(1800)  # in full; in short form some seconds
def test_any_sequence_of_inputs(full: bool) -> None:
    run_state_machine_as_test(
        GovernorMachine,
        settings=settings(
            max_examples=2000 if full else 100,
            stateful_step_count=60,
        ),
    )
