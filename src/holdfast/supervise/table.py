"""What the supervisor does upon what happens: a table, and nothing else.

::

                      READY                 EXITED                 GRACE_OVER
      STARTING ─────────────▶ RUNNING ───────────────▶ DRAINING ──────────────▶ STOPPING
         │ ▲                     │                        │ LOST, LIMIT            ▲ │
         │                       └── LOST, LIMIT ─────────┴────────────────────────┘ │
         │ LOST, LIMIT, ENDING_SIGNAL                                     GRACE_OVER │
         └──────────────────────────────────▶ KILLING ◀─────────────────────────────-┘

      every state but STARTING ── EMPTY ──▶ DONE;   STARTING and KILLING ── EXITED, GIVEN_UP

STARTING ends with the word that lets COMMAND begin, and so nothing of the user's ever runs if a
signal or the loss comes first. DRAINING is the moment that COMMAND's last children have to end by
themselves, as the ``tee`` behind a shell's output does. What the table does not name changes
nothing.
"""

from __future__ import annotations

import enum

__all__ = ["TABLE", "Action", "Course", "Ending", "Event", "State"]


class State(enum.Enum):
    """Where a run of COMMAND is."""

    STARTING = "starting"  # the launcher gets ready; COMMAND does not run yet
    RUNNING = "running"
    DRAINING = "draining"  # COMMAND has ended; others of its group have not
    STOPPING = "stopping"  # all were asked to end
    KILLING = "killing"  # all are killed
    DONE = "done"


class Event(enum.Enum):
    """What can happen to it."""

    READY = "ready"  # the launcher waits for the word
    EXITED = "exited"  # COMMAND has ended, and somebody of its family lives
    EMPTY = "empty"  # COMMAND has ended, and nobody is left
    PAUSED = "paused"  # COMMAND was stopped, as Ctrl-Z does
    ENDING_SIGNAL = "ending signal"  # the supervisor got one that asks it to end
    OTHER_SIGNAL = "other signal"
    LOST = "lost"  # the lease
    LIMIT = "limit"  # the time that COMMAND may take is over
    GRACE_OVER = "grace over"  # the time that this state may take is over
    GIVEN_UP = "given up"  # somebody cannot be killed


class Action(enum.Enum):
    """What is to be done about it."""

    GO = "go"  # give the launcher the word
    FORWARD = "forward"  # pass the signal on
    SUSPEND = "suspend"  # stop with COMMAND, so that the shell gets its terminal back
    TERMINATE = "terminate"  # ask all to end
    KILL = "kill"


class Ending(enum.Enum):
    """Why a run came to its end."""

    EXITED = "exited"  # COMMAND ended by itself, or by a signal
    LOST = "lost"  # the lease was lost
    LIMIT = "limit"  # the time limit was reached
    SIGNAL = "signal"  # a signal came before COMMAND was started
    BROKEN = "broken"  # COMMAND could not be started


TABLE: dict[tuple[State, Event], tuple[State, Action | None]] = {
    (State.STARTING, Event.READY): (State.RUNNING, Action.GO),
    (State.STARTING, Event.EXITED): (State.KILLING, Action.KILL),
    (State.STARTING, Event.EMPTY): (State.DONE, None),
    (State.STARTING, Event.ENDING_SIGNAL): (State.KILLING, Action.KILL),
    (State.STARTING, Event.LOST): (State.KILLING, Action.KILL),
    (State.STARTING, Event.LIMIT): (State.KILLING, Action.KILL),
    (State.RUNNING, Event.EXITED): (State.DRAINING, None),
    (State.RUNNING, Event.EMPTY): (State.DONE, None),
    (State.RUNNING, Event.PAUSED): (State.RUNNING, Action.SUSPEND),
    (State.RUNNING, Event.ENDING_SIGNAL): (State.RUNNING, Action.FORWARD),
    (State.RUNNING, Event.OTHER_SIGNAL): (State.RUNNING, Action.FORWARD),
    (State.RUNNING, Event.LOST): (State.STOPPING, Action.TERMINATE),
    (State.RUNNING, Event.LIMIT): (State.STOPPING, Action.TERMINATE),
    (State.DRAINING, Event.EMPTY): (State.DONE, None),
    (State.DRAINING, Event.ENDING_SIGNAL): (State.DRAINING, Action.FORWARD),
    (State.DRAINING, Event.OTHER_SIGNAL): (State.DRAINING, Action.FORWARD),
    (State.DRAINING, Event.LOST): (State.STOPPING, Action.TERMINATE),
    (State.DRAINING, Event.LIMIT): (State.STOPPING, Action.TERMINATE),
    (State.DRAINING, Event.GRACE_OVER): (State.STOPPING, Action.TERMINATE),
    (State.STOPPING, Event.EMPTY): (State.DONE, None),
    (State.STOPPING, Event.ENDING_SIGNAL): (State.STOPPING, Action.FORWARD),
    (State.STOPPING, Event.OTHER_SIGNAL): (State.STOPPING, Action.FORWARD),
    # Whoever has left the group is asked too, once the lease is lost.
    (State.STOPPING, Event.LOST): (State.STOPPING, Action.TERMINATE),
    (State.STOPPING, Event.GRACE_OVER): (State.KILLING, Action.KILL),
    # Again, until nobody is left: one that was about to fork has a child now.
    (State.KILLING, Event.GRACE_OVER): (State.KILLING, Action.KILL),
    (State.KILLING, Event.LOST): (State.KILLING, Action.KILL),
    (State.KILLING, Event.EMPTY): (State.DONE, None),
    (State.KILLING, Event.GIVEN_UP): (State.DONE, None),
}


class Course:
    """One run: its state, and why it ends.

    Attributes:
        state: Where it is.
        started: Whether COMMAND was given the word.
        lost: Whether the lease was lost before all was done.
        ending: Why it ends, as far as that is known: the first reason, but a loss outweighs all.
    """

    def __init__(self) -> None:
        self.state = State.STARTING
        self.started = False
        self.lost = False
        self.ending: Ending | None = None

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state is State.DONE

    def on(self, event: Event) -> Action | None:
        """Take an event in; what is to be done now."""
        before = self.state
        if self.done:
            return None
        self.state, action = TABLE.get((before, event), (before, None))
        if action is Action.GO:
            self.started = True
        if event is Event.LOST:
            self.lost = True
            self.ending = Ending.LOST
        elif self.ending is None:
            self.ending = self._reason(before, event)
        return action

    def _reason(self, before: State, event: Event) -> Ending | None:
        match event:
            case Event.EXITED | Event.EMPTY:
                return Ending.EXITED if before is not State.STARTING else Ending.BROKEN
            case Event.LIMIT:
                return Ending.LIMIT
            case Event.ENDING_SIGNAL if before is State.STARTING:
                return Ending.SIGNAL
        return None
