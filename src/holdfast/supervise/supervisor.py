"""`supervise`: one COMMAND, from its start to its end. The loop that feeds the table.

It waits for everything in one poll: COMMAND's pidfd, the signals' pipe, the descriptor that tells
of the loss, and one alarm in CLOCK_BOOTTIME for all that is due. So no other thread is needed to
notice anything, not even a deadline that passed while the machine slept.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from holdfast.clock import NS_PER_S, Alarm, SystemClock
from holdfast.supervise import launcher
from holdfast.supervise.family import Family
from holdfast.supervise.outcome import Outcome
from holdfast.supervise.signals import ENDING, Signals
from holdfast.supervise.table import Action, Course, Ending, Event, State
from holdfast.supervise.terminal import WANTS_TERMINAL, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Watched", "supervise"]

DRAIN_S_MAX = 2.0
LOOK_S = 0.05  # how often to look whether the rest of the family has ended
KILL_AGAIN_S = 0.2
GIVE_UP_S = 10.0  # a process that does not die of SIGKILL hangs in the kernel, or is not ours


class Watched(Protocol):
    """What must not be lost while COMMAND runs: `holdfast.lease.Held` is one."""

    def fileno(self) -> int:
        """A descriptor that becomes readable with the loss."""
        ...

    def remaining(self) -> float:
        """Seconds of CLOCK_BOOTTIME for which it is surely not lost; 0 or less if it is."""
        ...


def supervise(
    path: str,
    argv: Sequence[str],
    *,
    signals: Signals,
    watched: Watched | None = None,
    environment: Mapping[str, str] | None = None,
    grace: float = 10.0,
    limit: float | None = None,
    tell: Callable[[str], None] | None = None,
) -> Outcome:
    """Run a command in a process group of its own until nobody of that group is left.

    Call it in the main thread: the kernel ties the command's life to the thread that starts it.

    Args:
        path: The program, as `find_command` found it.
        argv: Its name and arguments.
        signals: What was caught so far; a signal in it keeps the command from being started.
        watched: What must not be lost; with it goes the whole group, and who has left it.
        environment: The command's; None: ours.
        grace: Seconds from SIGTERM to SIGKILL.
        limit: Seconds that the command may run; None: for ever.
        tell: Called with what a person may want to know.

    Raises:
        OSError: The launcher could not be started, or the system has no pidfd.
        Unsupported: The system has no alarm. In no case does the command run.
    """
    with Alarm() as alarm:
        run = _Run(signals, watched, alarm, grace, limit, tell or (lambda _: None))
        try:
            run.start(path, argv, os.environ if environment is None else environment)
            return run.to_the_end()
        finally:
            run.close()


class _Run:
    def __init__(
        self,
        signals: Signals,
        watched: Watched | None,
        alarm: Alarm,
        grace: float,
        limit: float | None,
        tell: Callable[[str], None],
    ) -> None:
        self._signals = signals
        self._watched = watched
        self._alarm = alarm
        self._grace_ns = _ns(grace)
        self._limit_ns = None if limit is None else _ns(limit)
        self._tell = tell
        self._clock = SystemClock()
        self._course = Course()
        self._terminal = Terminal()
        self._poll = select.poll()
        self._family = Family()
        self._pidfd = self._status = self._life = -1
        self._told = b""  # what the launcher has written so far
        self._ended: os.waitid_result | None = None
        self._exit_told = False
        self._backlog: list[int] = []
        self._asked_to_pause = False
        self._grace_at: int | None = None
        self._give_up_at: int | None = None
        self._limit_at: int | None = None
        self._began_ns = self._done_ns = 0
        self._first_signal: int | None = None
        self._survivors: tuple[int, ...] = ()

    # -- the beginning ----------------------------------------------------------------------------

    def start(self, path: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the launcher, which waits for the word."""
        self._signals.catch_all()
        life, self._life = os.pipe2(os.O_CLOEXEC)
        self._status, status = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        order = os.memfd_create("holdfast-order")
        try:
            with open(order, "wb", closefd=False) as file:
                file.writelines(os.fsencode(word) + b"\0" for word in (path, *argv))
            os.lseek(order, 0, os.SEEK_SET)
            for fd in (life, status, order):
                os.set_inheritable(fd, True)  # noqa: FBT003 - it takes no keywords
            numbers = [str(number) for number in (os.getpid(), life, status, order)]
            # Other descriptors that we were given are COMMAND's as well: a shell's <(...) is one.
            self._family.leader = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", launcher.__file__, *numbers],
                environment,
                setpgroup=0,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        finally:
            for fd in (life, status, order):
                os.close(fd)
        self._pidfd = os.pidfd_open(self._family.leader)
        self._began_ns = self._done_ns = self._clock.boottime_ns()
        if self._limit_ns is not None:
            self._limit_at = self._began_ns + self._limit_ns
        for fd in (self._pidfd, self._status, self._signals.fileno(), self._alarm.fileno()):
            self._poll.register(fd, select.POLLIN)
        if self._watched is not None:
            self._poll.register(self._watched.fileno(), select.POLLIN)

    # -- the loop ---------------------------------------------------------------------------------

    def to_the_end(self) -> Outcome:
        """Feed the table until it says that all is done."""
        while not self._course.done:
            self._alarm.set(self._next_due())
            ready = {fd for fd, _ in self._poll.poll(0 if self._backlog else None)}
            for event, number in self._events(ready):
                before = self._course.state
                action = self._course.on(event)
                self._clocks(before)
                if action is not None:
                    self._act(action, number)
        self._done_ns = self._clock.boottime_ns()
        return self._outcome()

    def _events(self, ready: set[int]) -> Iterator[tuple[Event, int]]:
        """What has happened; the loss first, so that nothing is started or continued after it."""
        now = self._clock.boottime_ns()
        if self._is_lost(ready):
            yield Event.LOST, 0
        if self._limit_at is not None and now >= self._limit_at:
            self._limit_at = None
            yield Event.LIMIT, 0
        if self._give_up_at is not None and now >= self._give_up_at:
            self._survivors = tuple(self._family.living(wide=self._wide))
            if self._survivors:
                yield Event.GIVEN_UP, 0
        if self._grace_at is not None and now >= self._grace_at:
            yield Event.GRACE_OVER, 0
        for number in self._numbers():
            if number in ENDING:
                self._first_signal = self._first_signal or number
                yield Event.ENDING_SIGNAL, number
            elif number == signal.SIGCHLD:
                self._family.reap()
                if by := self._paused_by():
                    yield Event.PAUSED, by
            else:
                yield Event.OTHER_SIGNAL, number
        if self._status in ready and self._launcher_is_ready():
            yield Event.READY, 0
        if self._has_ended(ready):
            self._family.reap()
            if not self._family.living(wide=self._wide):
                yield Event.EMPTY, 0
            elif not self._exit_told:
                self._exit_told = True
                yield Event.EXITED, 0

    @property
    def _wide(self) -> bool:
        # When COMMAND has ended well, who has left its group is a daemon, and meant to stay.
        return self._course.ending in {Ending.LOST, Ending.LIMIT}

    def _is_lost(self, ready: set[int]) -> bool:
        if self._watched is None or self._course.lost:
            return False
        if self._watched.fileno() in ready or self._watched.remaining() <= 0:
            self._poll.unregister(self._watched.fileno())  # it stays readable
            return True
        return False

    def _numbers(self) -> list[int]:
        earlier, self._backlog = self._backlog, []
        return earlier + self._signals.take()

    def _launcher_is_ready(self) -> bool:
        data = os.read(self._status, 64)
        if not data:
            self._poll.unregister(self._status)
            return False
        self._told += data
        if self._family.guard or b"\n" not in self._told:
            return False
        self._family.guard = int(self._told.split(b"\n")[0])
        return True

    def _has_ended(self, ready: set[int]) -> bool:
        if self._ended is None and self._pidfd in ready:
            # WNOWAIT: its entry stays, and so nobody else gets the number of the group.
            self._ended = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            self._poll.unregister(self._pidfd)
        return self._ended is not None

    def _paused_by(self) -> int:
        """The signal that has stopped the command; 0 if none has."""
        with suppress(ChildProcessError):
            seen = os.waitid(os.P_PID, self._family.leader, os.WSTOPPED | os.WNOHANG)
            return 0 if seen is None else seen.si_status
        return 0

    # -- time -------------------------------------------------------------------------------------

    def _next_due(self) -> int | None:
        now = self._clock.boottime_ns()
        dues = [at for at in (self._limit_at, self._grace_at, self._give_up_at) if at is not None]
        if self._ended is not None:
            dues.append(now + _ns(LOOK_S))
        if self._watched is not None and not self._course.lost:
            left = self._watched.remaining()
            if math.isfinite(left):
                dues.append(now + _ns(left))
        return min(dues, default=None)

    def _clocks(self, before: State) -> None:
        """Set what is due in the state that was entered, or entered once more."""
        now = self._clock.boottime_ns()
        match self._course.state:
            case State.DRAINING if before is not State.DRAINING:
                self._grace_at = now + min(self._grace_ns, _ns(DRAIN_S_MAX))
            case State.STOPPING if before is not State.STOPPING:
                self._grace_at = now + self._grace_ns
            case State.KILLING:
                self._grace_at = now + _ns(KILL_AGAIN_S)
                if before is not State.KILLING:
                    self._give_up_at = now + _ns(GIVE_UP_S)

    # -- what is done -----------------------------------------------------------------------------

    def _act(self, action: Action, number: int) -> None:
        match action:
            case Action.GO:
                self._terminal.lend_if_alone(self._family.leader)
                os.write(self._life, launcher.GO)
            case Action.FORWARD:
                self._forward(number)
            case Action.SUSPEND:
                self._pause(number)
            case Action.TERMINATE:
                self._say_whom()
                self._signal(signal.SIGTERM)
                self._signal(signal.SIGCONT)  # who is stopped would not hear it
            case Action.KILL:
                self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._wide:
            self._family.signal_all(number)
        else:
            self._family.signal_group(number)

    def _say_whom(self) -> None:
        if self._course.ending is Ending.EXITED:
            pids = ", ".join(map(str, self._family.living(wide=False)))
            self._tell(f"the command has ended, and left behind what is stopped now: pid {pids}")

    def _forward(self, number: int) -> None:
        """Pass a signal on: to the group, as a terminal does it.

        The two that mean nothing by themselves are COMMAND's alone: they kill who does not
        expect them.
        """
        if number in {signal.SIGUSR1, signal.SIGUSR2}:
            self._family.signal_leader(number)
            return
        if number == signal.SIGTSTP:
            self._asked_to_pause = True
        if number == signal.SIGCONT:
            self._asked_to_pause = False
            if self._terminal.lent:
                self._terminal.lend(self._family.leader)
        self._family.signal_group(number)
        if number in ENDING:
            self._family.signal_group(signal.SIGCONT)  # who is stopped would not hear it

    def _pause(self, by: int) -> None:
        """The command was stopped: by the terminal, by the wish of our caller, or by a stranger."""
        wants_keys = by in WANTS_TERMINAL and not self._asked_to_pause
        if wants_keys and self._terminal.lend(self._family.leader):
            self._family.signal_group(signal.SIGCONT)
            return
        keys = self._terminal.exists and by in WANTS_TERMINAL | {signal.SIGTSTP}
        if self._asked_to_pause or self._terminal.lent or keys:
            self._suspend()

    def _suspend(self) -> None:
        """Stop, as the command has done, so that the shell goes on and takes its terminal.

        Nobody renews the lease now: it may be lost when we continue, and that is looked at first.
        """
        before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        if self._asked_to_pause:
            os.kill(os.getpid(), signal.SIGTSTP)
        else:
            os.killpg(os.getpgrp(), signal.SIGTSTP)  # the terminal has asked the whole job
        # Here we stand still until SIGCONT; or not at all, if nobody is there who could send it
        # (the kernel knows, credentials(7) on orphaned groups): then the command goes on as well.
        signal.signal(signal.SIGTSTP, before)
        self._backlog += self._signals.take()
        if signal.SIGCONT not in self._backlog:
            self._backlog.append(signal.SIGCONT)

    # -- the end ----------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        course = self._course
        assert course.ending is not None
        code = number = None
        if course.ending is Ending.SIGNAL:
            number = self._first_signal
        elif self._ended is not None and course.started:
            if self._ended.si_code == os.CLD_EXITED:
                code = self._ended.si_status
            else:
                number = self._ended.si_status
        words = self._rest_of_status()
        if words:
            code = None
        return Outcome(
            ending=Ending.BROKEN if words and not course.lost else course.ending,
            started=course.started and not words,
            lost=course.lost,
            code=code,
            signal=number,
            ran_s=(self._done_ns - self._began_ns) / NS_PER_S if course.started else 0.0,
            error_number=int(words) if words else None,
            survivors=self._survivors,
        )

    def _rest_of_status(self) -> bytes:
        """The errno that the launcher has written, if COMMAND could not be executed."""
        with suppress(BlockingIOError):
            while data := os.read(self._status, 64):
                self._told += data
        return self._told.partition(b"\n")[2].strip()

    def close(self) -> None:
        """Give everything back; whoever still runs because of an error of ours is killed."""
        if self._family.leader:
            if not self._course.done:
                self._family.signal_group(signal.SIGKILL)
            self._terminal.take_back(self._family.leader)
            self._family.bury()
        for fd in (self._life, self._status, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._terminal.close()
        self._signals.let_others()


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
