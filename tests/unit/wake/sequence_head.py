"""A head with one client, for tests that look at what it wants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast.wake.sequence import Effect, Lease, Sender

SECOND = 1_000_000_000


@dataclass
class Head:
    """A sender with one client, and what it has wanted since the last look."""

    sender: Sender = field(default_factory=lambda: Sender(retain_ns=10 * SECOND))
    wanted: list[Effect] = field(default_factory=list)
    now_ns: int = 0
    calls: int = 0

    def __post_init__(self) -> None:
        self.sender.add(0)

    @property
    def lease(self) -> Lease:
        return self.sender.lease

    def do(self, effects: Iterable[Effect]) -> list[Effect]:
        self.wanted = list(effects)
        return self.wanted

    def awake(self) -> Head:
        self.do(self.sender.awake(self.now_ns))
        return self

    def attached(self) -> Head:
        """Awake, and the client asks."""
        self.awake()
        self.asks("r0")
        return self

    def sends(self, n: int = 1, *, to: int = 0) -> list[Effect]:
        return self.do(self.sender.sent(to, n, self.now_ns))

    def asks(self, request: str, *, client: int = 0, processed: int = 0) -> list[Effect]:
        return self.do(self.sender.asked(client, request, self.now_ns, processed=processed))

    def suspends(self) -> list[Effect]:
        self.calls += 1
        return self.do(self.sender.before_suspend(self.calls, self.now_ns))

    def resumes(self) -> list[Effect]:
        self.calls += 1
        return self.do(self.sender.after_resume(self.calls, self.now_ns))

    def sleeps(self, *, begins: bool = True) -> list[Effect]:
        return self.do(self.sender.sleeps(self.now_ns, begins=begins))

    def gets_it(self) -> list[Effect]:
        return self.do(self.sender.held(self.now_ns))
