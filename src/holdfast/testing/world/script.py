"""Scripts: generators that yield what they want done, and are sent what came of it.

A script that runs on a node is a process there. It has no clock and does no input or output: it
yields an effect, an interpreter says what becomes of it, and the answer is sent or thrown into it.
::

    script yields ...       Sleep(ns)                   goes on after that time
                            a Later                     goes on when it is settled
                            anything else               is given to the interpreter
    interpreter returns ... a Later or a Sleep          the same as above
                            anything else               is the answer
    interpreter raises ...                              is thrown into the script

What comes is sent or thrown in a step of its own, even if it was known at once: a real process can
be stopped between any two things that it does (see `Node.stall`).

The life of a process::

      ┌───────────── answered at once ─────────────┐
      ▼                                            │
    READY ──step──▶ RUNNING ───────────────────────┤
      ▲               │ returns, raises            │ has to wait
      │               ▼                            ▼
      │             ENDED                       WAITING
      └──────────────── settled ───────────────────┘          crash, kill: KILLED, from each
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from holdfast.testing.world.failures import Livelock
from holdfast.testing.world.later import Later, Sleep
from holdfast.testing.world.trace import label

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from holdfast.testing.world.node import Node

__all__ = ["Killed", "Phase", "Process"]

# Answers at once hardly take time: so many in a row are a loop that waits for nothing.
_ANSWERS_MAX = 100_000
_CLOSES_MAX = 100


class Phase(enum.Enum):
    """Where a process stands."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    ENDED = "ended"
    KILLED = "killed"


class Killed(Exception):
    """What `Process.done` fails with when the process was killed, or its node crashed."""


class Process:
    """A script on a node; made by `Node.spawn`.

    Attributes:
        name: Unique on its node.
        phase: Where it stands.
        done: Settled with what the script returned, or what it raised if that was expected.
        daemon: Nobody minds if it waits for ever.
        waits_for: In words.
    """

    __slots__ = (
        "_answers",
        "_expected",
        "_interpret",
        "_script",
        "daemon",
        "done",
        "name",
        "node",
        "phase",
        "waits_for",
    )

    def __init__(
        self,
        node: Node,
        name: str,
        script: Generator[Any, Any, Any],
        interpret: Callable[[Any], Any] | None,
        *,
        daemon: bool,
        expected: tuple[type[BaseException], ...],
    ) -> None:
        self.node = node
        self.name = name
        self.phase = Phase.READY
        self.done: Later[Any] = Later(f"the end of {name}")
        self.daemon = daemon
        self.waits_for = "its first step"
        self._script = script
        self._interpret = interpret
        self._expected = expected
        self._answers = 0  # in a row, without a wait

    @property
    def alive(self) -> bool:
        """Whether there are steps to come."""
        return self.phase not in {Phase.ENDED, Phase.KILLED}

    def kill(self) -> None:
        """End it where it stands. Nothing that it yields while it is closed is done any more."""
        if not self.alive:
            return
        self.phase = Phase.KILLED
        self.waits_for = "nothing"
        self.node.world.trace.add(f"{self.node.world.now_ns} {self.node.name} {self.name} killed")
        self.node.ended(self)
        if not getattr(self._script, "gi_running", False):  # else `step` closes it
            self._close()
        self.done.fail(Killed(f"{self.name} on {self.node.name} was killed"))

    def _close(self) -> None:
        for _ in range(_CLOSES_MAX):
            try:
                self._script.close()
            except RuntimeError:
                continue  # it yielded in a `finally`: the dead do not act, so close it again there
            except Exception as error:  # noqa: BLE001  # what a dead process raises is of no account
                self.node.world.trace.say(label(type(error)), who=f"{self.node.name} {self.name}")
            return
        raise Livelock(f"{self.name} on {self.node.name} cannot be killed: it catches that")

    def step(self, outcome: tuple[Any, BaseException | None]) -> None:
        """Go on with a value or an error, up to the next thing to wait for."""
        if not self.alive:
            return
        self.phase = Phase.RUNNING
        value, error = outcome
        world = self.node.world
        try:
            effect = self._script.send(value) if error is None else self._script.throw(error)
        except StopIteration as end:
            self._end(end.value, None)
            return
        except Exception as raised:
            killed = self._was_killed()
            self._end(None, raised)
            if not killed and not isinstance(raised, self._expected):
                raised.add_note(f"in {self.name} on {self.node.name} at {world.now_ns} ns")
                raise
            return
        if self._was_killed():  # by itself, or with its node
            self._close()
            return
        what = label(effect)
        world.trace.add(f"{world.now_ns} {self.node.name} {self.name} {what}")
        try:
            answer = self._answer(effect)
        except Exception as raised:  # noqa: BLE001  # whatever it is, it is the script's
            self._go_on(None, raised)
            return
        if not isinstance(answer, Later):
            self._go_on(answer, None)
        elif self.alive:  # what interprets may have killed it
            self.phase = Phase.WAITING
            self.waits_for = answer.what if answer is effect else f"{what}: {answer.what}"
            self._answers = 0
            answer.then(self._settled)

    def _go_on(self, value: Any, error: BaseException | None) -> None:
        # In a step of its own: between any two effects a process can be stopped for long.
        self._answers += 1
        if self._answers > _ANSWERS_MAX:
            raise Livelock(
                f"{self.name} on {self.node.name} got {_ANSWERS_MAX} answers at once in a row"
            )
        if self.alive:
            self.phase = Phase.READY
            self.waits_for = "its turn"
            self.node.soon(self.step, (value, error))

    def _was_killed(self) -> bool:
        return self.phase is Phase.KILLED

    def _answer(self, effect: Any) -> Any:
        answer = effect
        if not isinstance(effect, Later | Sleep):
            if self._interpret is None:
                raise TypeError(f"nobody interprets what {self.name} yields: {label(effect)}")
            answer = self._interpret(effect)
        return self.node.after(answer.delay_ns) if isinstance(answer, Sleep) else answer

    def _settled(self, later: Later[Any]) -> None:
        if self.phase is Phase.WAITING:
            self.phase = Phase.READY
            self.waits_for = "its turn"
            error = later.error
            self.node.soon(self.step, (None if error is not None else later.result(), error))

    def _end(self, value: Any, error: BaseException | None) -> None:
        if not self.alive:
            return
        self.phase = Phase.ENDED
        self.waits_for = "nothing"
        world = self.node.world
        how = "ended" if error is None else label(type(error))
        world.trace.add(f"{world.now_ns} {self.node.name} {self.name} {how}")
        self.node.ended(self)
        if error is None:
            self.done.resolve(value)
        else:
            self.done.fail(error)

    def __repr__(self) -> str:
        return f"<Process {self.name} on {self.node.name}: {self.phase.value}, {self.waits_for}>"
