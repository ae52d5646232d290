"""A governor on a stage: names instead of numbers, seconds instead of nanoseconds.

Every input returns what is to be done, one word or two for each effect, without the ring's events;
those are in `kinds`, with what they are about.
"""

from __future__ import annotations

from typing import Any

from holdfast.wake.accounts import Account
from holdfast.wake.governor import Governor
from holdfast.wake.model import (
    Answer,
    Block,
    Call,
    Config,
    Effect,
    Event,
    Evict,
    Failed,
    GoDown,
    Grant,
    Moment,
    OnTimeout,
    ReadyForShutdown,
    ReadyForSleep,
    Report,
    Requester,
    Slept,
    WakeLeaseKind,
    WakeUp,
)

SECOND = 1_000_000_000
START_NS = 1000 * SECOND


class Stage:
    """One governor and everybody around it.

    Attributes:
        now: Seconds since the beginning.
        kinds: Of the events so far, as "kind" or "kind name".
        reports: What the watchdogs said.
        entered: The attempts for which the back-end was entered.
    """

    def __init__(self, **settings: Any) -> None:
        self.governor = Governor(Config(**settings), now_ns=START_NS)
        self.now = 0.0
        self.kinds: list[str] = []
        self.reports: list[Report] = []
        self.entered: list[int] = []
        self.numbers: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.calls: dict[str, int] = {}  # the last call of each listener
        self.outcomes: dict[str, Any] = {}

    @property
    def now_ns(self) -> int:
        return START_NS + round(self.now * SECOND)

    @property
    def state(self) -> str:
        return self.governor.status().state.value

    def number(self, name: str) -> int:
        """A new number by which that name is known from now on."""
        number = len(self.names) + 100
        self.numbers[name] = number
        self.names[number] = name
        return number

    def acquire(self, name: str, kind: str = "wake", by: str = "") -> list[str]:
        requester = Requester(self.numbers.get(by, 1), 42, 0, by or "somebody")
        return self.told(
            self.governor.acquire(
                self.number(name), name, WakeLeaseKind(kind), requester, self.now_ns
            )
        )

    def close(self, name: str) -> list[str]:
        return self.told(self.governor.lease_closed(self.numbers[name], self.now_ns))

    def listen(self, name: str, timeout: float | None = None, then: str = "abort") -> list[str]:
        number = self.number(name)
        return self.told(
            self.governor.listener_registered(
                number,
                name,
                Requester(number),
                self.now_ns,
                timeout_ns=None if timeout is None else round(timeout * SECOND),
                on_timeout=OnTimeout(then),
            )
        )

    def gone(self, name: str) -> list[str]:
        return self.told(self.governor.listener_gone(self.numbers[name], self.now_ns))

    def answer(
        self, name: str, call: int | None = None, account: Account | None = None
    ) -> list[str]:
        call_id = self.calls[name] if call is None else call
        return self.told(self.governor.answered(self.numbers[name], call_id, self.now_ns, account))

    def suspend(self, name: str = "r", within: float | None = None) -> list[str]:
        deadline_ns = None if within is None else self.now_ns + round(within * SECOND)
        return self.told(
            self.governor.suspend_requested(self.number(name), self.now_ns, deadline_ns=deadline_ns)
        )

    def withdraw(self, name: str = "r") -> list[str]:
        return self.told(self.governor.suspend_withdrawn(self.numbers[name], self.now_ns))

    def done(self, sleep: float | str = 5.0, attempt: int | None = None) -> list[str]:
        """The back-end is back; a text is why it failed."""
        number = self.entered[-1] if attempt is None else attempt
        return self.told(self.governor.backend_done(number, outcome(sleep), self.now_ns))

    def sleep_begins(self) -> list[str]:
        return self.told(self.governor.sleep_begins(self.now_ns))

    def sleep_ended(self, sleep: float | str = 5.0) -> list[str]:
        return self.told(self.governor.sleep_ended(outcome(sleep), self.now_ns))

    def shutdown(self) -> list[str]:
        return self.told(self.governor.shutdown_begins(self.now_ns))

    def shutdown_ended(self) -> list[str]:
        return self.told(self.governor.shutdown_ended(self.now_ns))

    def wait(self, duration: float) -> list[str]:
        """Time passes; what falls due is told at its time."""
        told = []
        end = self.now + duration
        while (due_ns := self.governor.next_due_ns) is not None:
            due = (due_ns - START_NS) / SECOND
            if due > end:
                break
            self.now = max(self.now, due)
            told += self.told(self.governor.expire(self.now_ns))
        self.now = end
        return told

    def told(self, effects: list[Effect]) -> list[str]:
        return [word for effect in effects if (word := self.word(effect)) is not None]

    def word(self, effect: Effect) -> str | None:
        match effect:
            case Event() as event:
                about = event.name or self.names.get(event.subject, "")
                self.kinds.append(f"{event.kind} {about}".strip())
                return None
            case Report():
                self.reports.append(effect)
                return f"report {effect.signature} {','.join(effect.names)}"
            case Grant(lease_id):
                return f"grant {self.names[lease_id]}"
            case Call(listener_id, call_id, moment):
                name = self.names[listener_id]
                self.calls[name] = call_id
                return f"{'before' if moment is Moment.BEFORE_SUSPEND else 'after'} {name}"
            case GoDown(attempt):
                self.entered.append(attempt)
                return f"go-down {attempt}"
            case WakeUp(attempt):
                return f"wake-up {attempt}"
            case Block(held):
                return "block" if held else "unblock"
            case ReadyForSleep(attempt):
                return f"ready-for-sleep {attempt}"
            case ReadyForShutdown():
                return "ready-for-shutdown"
            case Evict(listener_id):
                return f"evict {self.names[listener_id]}"
            case Answer(request_id, answer):
                name = self.names[request_id]
                self.outcomes[name] = answer
                return f"answer {name} {'slept' if isinstance(answer, Slept) else 'aborted'}"


def outcome(sleep: float | str) -> Slept | Failed:
    return Failed(sleep) if isinstance(sleep, str) else Slept(round(sleep * SECOND))
