"""Services: something real in memory, behind calls that can be delayed, refused and lost.

A call travels to the service, is applied there at one instant, and its answer travels back::

    caller ──request──▶ applied ──answer──▶ caller
              │            │         │
              │            │         └ lost: the caller hears "unknown"; it was done
              │            └ refused: "unavailable"; it was not done
              ├ lost: the caller hears "unknown"; it was not done
              └ late: the caller hears "unknown" first, and then it is done

What the caller hears does not tell the second, the fourth and the fifth apart. That is the point.
A service that restarts refuses what comes, and what it was about to answer is lost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.errors import InvalidArgument, OutcomeUnknown, Unavailable
from holdfast.testing.world.later import Later
from holdfast.testing.world.trace import label

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from holdfast.testing.world.node import Node
    from holdfast.testing.world.world import World

__all__ = ["Service", "ServiceFaults"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServiceFaults:
    """How calls fare. Probabilities are from 0 to 1, of each call; spans are evenly spread.

    Attributes:
        latency_ns: How long a request travels, and how long an answer does.
        refuse: It is refused on arrival: surely not applied.
        lose_request: It never arrives.
        lose_answer: It is applied, and the answer never arrives.
        late: It arrives up to `late_ns` after the caller has given up, and is applied then.
        late_ns: See there.
        patience_ns: After so long without an answer the caller hears "unknown".
        slow: Each way takes up to `slow_ns` more.
        slow_ns: See there. It may be longer than the caller's patience.
        restart: The service restarts when this call arrives, before or after it is applied.
        restart_ns: How long that takes.
    """

    latency_ns: tuple[int, int] = (200_000, 2_000_000)
    refuse: float = 0.0
    lose_request: float = 0.0
    lose_answer: float = 0.0
    late: float = 0.0
    late_ns: int = 5_000_000_000
    patience_ns: int = 1_000_000_000
    slow: float = 0.0
    slow_ns: int = 500_000_000
    restart: float = 0.0
    restart_ns: tuple[int, int] = (100_000_000, 2_000_000_000)

    def __post_init__(self) -> None:
        chances = (self.refuse, self.lose_request, self.lose_answer)
        for chance in (*chances, self.late, self.slow, self.restart):
            if not 0 <= chance <= 1:
                raise InvalidArgument(f"no probability: {chance}")
        for low_ns, high_ns in (self.latency_ns, self.restart_ns):
            if not 0 <= low_ns <= high_ns:
                raise InvalidArgument(f"no span of time: {low_ns} to {high_ns} ns")

    @classmethod
    def drawn(cls, rng: Random, *, most: float = 0.2) -> ServiceFaults:
        """Faults by chance: each is absent half of the time, else up to so probable.

        Restarts are up to a tenth as probable as the others.
        """
        chances = [rng.random() * most if rng.random() < 0.5 else 0.0 for _ in range(6)]
        refuse, lose_request, lose_answer, late, slow, restart = chances
        return cls(
            refuse=refuse,
            lose_request=lose_request,
            lose_answer=lose_answer,
            late=late,
            slow=slow,
            restart=restart / 10,
        )

    def healed(self) -> ServiceFaults:
        """The same without faults; latency and patience stay."""
        return replace(self, refuse=0, lose_request=0, lose_answer=0, late=0, slow=0, restart=0)


class Service:
    """A place that nodes call; made by `World.service`.

    Attributes:
        name: For the trace.
        faults: How calls fare from now on.
        counts: What was injected and what was not, by name.
        down: Whether it restarts just now.
        on_restart: Called when it goes down: here it may forget what a restart forgets.
    """

    def __init__(
        self,
        world: World,
        name: str,
        faults: ServiceFaults,
        *,
        unavailable: Callable[[str], BaseException],
        unknown: Callable[[str], BaseException],
    ) -> None:
        self.name = name
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self.down = False
        self.on_restart: Callable[[], object] | None = None
        self._world = world
        self._scheduler = world.scheduler
        self._chance = world.rng(f"service:{name}").random
        self._unavailable = unavailable
        self._unknown = unknown
        self._downs = 0

    def call(
        self, node: Node, what: str, do: Callable[..., T], *arguments: Any, **keywords: Any
    ) -> Later[T]:
        """Have ``do(*arguments, **keywords)`` applied at one instant to come.

        Args:
            node: Who calls. A script of that node waits for the result by yielding it.
            what: For the trace.
            do: Acts on the real thing, and returns the answer or raises it.
            arguments: Are given to `do`.
            keywords: The same.

        The result fails with what `do` has raised, or with "unavailable" or "unknown".
        """
        self.counts["calls"] += 1
        later: Later[T] = Later(f"{self.name} {what}")
        call = _Call(node, what, later, lambda: do(*arguments, **keywords))
        faults = self.faults
        travel_ns = self._travel(faults)
        if self._happens(faults.lose_request):
            self._note("loses the request of", call, "lose_request")
        elif self._happens(faults.late):
            self._note("delays the request of", call, "late")
            self._at(faults.patience_ns + int(self._chance() * faults.late_ns), self._arrive, call)
        else:
            self._at(travel_ns, self._arrive, call)
        self._at(faults.patience_ns, self._give_up, call)
        return later

    def restart(self, for_ns: int | None = None) -> None:
        """Go down, and come back after so long; None: when `start` is called."""
        self._downs += 1
        self.down = True
        self.counts["restarts"] += 1
        self._world.trace.add(f"{self._scheduler.now_ns} - {self.name} goes down")
        if self.on_restart is not None:
            self.on_restart()
        if for_ns is not None:
            self._at(for_ns, self._come_back, self._downs)

    def start(self) -> None:
        """Come back. Harmless if it is there."""
        if self.down:
            self.down = False
            self._world.trace.add(f"{self._scheduler.now_ns} - {self.name} comes back")

    def heal(self) -> None:
        """No faults any more. What is on its way late still comes, within `late_ns`."""
        self.faults = self.faults.healed()
        self.start()

    # -- the way of a call ------------------------------------------------------------------------

    def _arrive(self, call: _Call) -> None:
        faults = self.faults
        restarts = self._happens(faults.restart)
        before = self._happens(0.5)
        if restarts and before and not self.down:
            self._go_down(faults)
        if self.down or self._happens(faults.refuse):
            self._note("refuses", call, "down" if self.down else "refuse")
            error = self._unavailable(f"{self.name} refused {call.what}")
            self._at(self._travel(faults), self._answer, (call, self._downs, None, error))
            return
        answer, error_raised = None, None
        try:
            answer = call.do()
        except Exception as raised:  # noqa: BLE001  # an answer like any other: it is the caller's
            error_raised = raised
        how = "" if error_raised is None else f" with {label(type(error_raised))}"
        self._note(f"applies{how}", call, "applied")
        if call.later.settled:
            return
        if restarts and not before:
            self._go_down(faults)
        elif self._happens(faults.lose_answer):
            self._note("loses the answer to", call, "lose_answer")
        else:
            settled = (call, self._downs, answer, error_raised)
            self._at(self._travel(faults), self._answer, settled)

    def _answer(self, answer: tuple[_Call, int, Any, BaseException | None]) -> None:
        call, downs, value, error = answer
        if downs != self._downs and not call.later.settled:
            self._note("loses the answer to", call, "lose_answer")  # it went down on the way
        elif error is not None:
            call.later.fail(error)
        else:
            call.later.resolve(value)

    def _give_up(self, call: _Call) -> None:
        if call.later.fail(self._unknown(f"{self.name} did not answer {call.what}")):
            self._note("is given up by", call, "unknown")

    def _go_down(self, faults: ServiceFaults) -> None:
        low_ns, high_ns = faults.restart_ns
        self.restart(low_ns + int(self._chance() * (high_ns - low_ns + 1)))

    def _come_back(self, downs: int) -> None:
        if downs == self._downs:
            self.start()

    def _travel(self, faults: ServiceFaults) -> int:
        low_ns, high_ns = faults.latency_ns
        travel_ns = low_ns + int(self._chance() * (high_ns - low_ns + 1))
        if self._happens(faults.slow):
            self.counts["slow"] += 1
            travel_ns += int(self._chance() * faults.slow_ns)
        return travel_ns

    def _happens(self, probability: float) -> bool:
        return self._chance() < probability

    def _at(self, delay_ns: int, action: Callable[[Any], object], argument: Any) -> None:
        self._scheduler.at(self._scheduler.now_ns + delay_ns, action, argument)

    def _note(self, how: str, call: _Call, count: str) -> None:
        self.counts[count] += 1
        self._world.trace.add(
            f"{self._scheduler.now_ns} {call.node.name} {self.name} {how} {call.what}"
        )


@dataclass(slots=True, eq=False)
class _Call:
    node: Node
    what: str
    later: Later[Any]
    do: Callable[[], Any]


def unavailable(text: str) -> BaseException:
    """What a service raises for "it was surely not done", if nothing else was given."""
    return Unavailable(text)


def unknown(text: str) -> BaseException:
    """What a service raises for "nothing may be inferred", if nothing else was given."""
    return OutcomeUnknown(text)
