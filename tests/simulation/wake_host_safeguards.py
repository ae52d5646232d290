"""The safeguards of wake leases, each of which can be switched off, from outside of the code.

What is put in its place is what somebody would write who does not know better. There are no
switches in the code itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from holdfast.testing.world import Letter
from holdfast.wake.governor import Governor
from holdfast.wake.governor.calls import Round
from holdfast.wake.governor.leases import Leases
from holdfast.wake.governor.requests import Requests
from holdfast.wake.governor.sleeps import Sleeps
from holdfast.wake.governor.steps import MACHINE, Steps
from holdfast.wake.model import Blocker, Cause, Phase
from tests.simulation.wake_host_governor import GovernorProgram
from tests.simulation.wake_host_programs import Stage


def receive_inheritable(stage: Stage, socket: int) -> Letter | None:
    """As `socket.recv_fds` does."""
    return stage.program.receive(socket, close_on_exec=False)


def closes_what_it_sent(stage: Stage, event: int) -> None:
    stage.program.close(stage.work[event])


def never(*_: object, **__: object) -> bool:
    return False


def take_what_came(stage: Stage, letter: Letter) -> bool:
    return not letter.descriptors


def all_of_the_connection(program: GovernorProgram, connection: Any) -> None:
    """A wake lease ends with the connection that asked for it, as a lock of a bus does."""
    _OVER(program, connection)
    for lease_id, lease in list(program.leases.items()):
        if lease.connection is connection:
            program._forget(lease_id)
            program.do(program.governor.lease_closed(lease_id, program.node.now_ns()))


def without_a_look_at_leases(steps: Steps) -> tuple[Blocker, ...]:
    return tuple(each for each in _BLOCKERS(steps) if each.cause is not Cause.WAKE_LEASE)


def only_by_its_timer(requests: Requests, outcome: Any, until_ns: int, now_ns: int) -> None:
    if until_ns == now_ns:
        _EXPIRE(requests, outcome, until_ns, now_ns)


def grant_at_any_time(steps: Steps, now_ns: int) -> None:
    phase = steps._phase
    if phase is Phase.SUSPENDED:
        steps._phase = Phase.RESUMING
    try:
        _GRANT(steps, now_ns)
    finally:
        steps._phase = phase


def nobody_awaited(phase: Phase) -> property:
    return property(lambda steps: steps._phase is phase or _ANSWERS_IN(steps))


def call_whoever_is_there(steps: Steps, now_ns: int) -> None:
    _BEGIN(steps, now_ns)
    steps._told = steps._listeners


def grant_activity_too(leases: Leases, now_ns: int, *, activity: bool) -> Any:
    return _LEASES_GRANT(leases, now_ns, activity=True)


def ready_at_once(steps: Steps, now_ns: int) -> bool:
    if steps._machine and not steps._early:
        steps._end_round(now_ns)
        steps._enter(MACHINE, now_ns)
        return True
    return _DECIDE(steps, now_ns)


def nothing(*_: object, **__: object) -> None:
    pass


_OVER, _BLOCKERS, _EXPIRE = GovernorProgram.over, Steps._blockers, Requests.expire
_GRANT, _BEGIN, _DECIDE = Steps._grant, Steps._begin, Steps._decide
_LEASES_GRANT = Leases.grant
_ANSWERS_IN: Any = Steps._answers_in.fget  # type: ignore[attr-defined]

SAFEGUARDS: Mapping[str, tuple[object, str, object]] = {
    # what the programs do about descriptors
    "close-on-exec": (Stage, "receive", receive_inheritable),
    "truncation": (Stage, "baton_lost", take_what_came),
    "duplicate-kept": (Stage, "sent", closes_what_it_sent),
    # what the governor's driver does
    "last-copy": (GovernorProgram, "over", all_of_the_connection),
    "wake-up": (GovernorProgram, "wake_up", nothing),
    # what the governor does
    "leases-after-the-phase": (Steps, "_blockers", without_a_look_at_leases),
    "deadline-before-the-back-end": (Requests, "expire", only_by_its_timer),
    "no-grant-while-down": (Steps, "_grant", grant_at_any_time),
    "before-suspend-awaited": (Steps, "_answers_in", nobody_awaited(Phase.SUSPENDING)),
    "after-resume-awaited": (Steps, "_answers_in", nobody_awaited(Phase.RESUMING)),
    "only-those-who-were-told": (Steps, "_begin", call_whoever_is_there),
    "listener-time-out": (Round, "_late", nothing),
    "the-dead-have-answered": (Round, "gone", nothing),
    "activity-only-awake": (Leases, "grant", grant_activity_too),
    "no-activity-in-a-call": (Governor, "_in_call", never),
    "pauses": (Sleeps, "_spoilt", nothing),
    "leases-delay-the-machine": (Steps, "_decide", ready_at_once),
}


@contextmanager
def switched_off(safeguard: str | None) -> Iterator[None]:
    """Without that safeguard; None: with all of them."""
    with ExitStack() as stack:
        if safeguard is not None:
            where, name, instead = SAFEGUARDS[safeguard]
            assert getattr(where, name) is not instead
            stack.enter_context(patch.object(where, name, instead))
        yield
