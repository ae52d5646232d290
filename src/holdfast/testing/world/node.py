"""A simulated machine: a clock, timers, a mailbox, a machine or scripts, and what befalls it.

::

              pause / resume, each for itself            sleep / wake
    RUNNING ◀────────────────────────▶ PAUSED, ASLEEP or both
       │                                     │
       │ crash                               │ crash
       ▼                                     ▼
    CRASHED ──restart──▶ RUNNING, in its next life, set up anew

==========  ==========================================================================
paused      SIGSTOP: nothing of the node runs; all its clocks go on; letters wait
asleep      suspended: the same, but monotonic stands still, and letters are lost
crashed     SIGKILL: its scripts and timers are gone; its clocks go on
==========  ==========================================================================

What fell due in the meantime comes afterwards: letters and answers in the order in which they came,
timers in the order of their queue, and these two interleaved as the seed says.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

from holdfast.errors import InvalidArgument
from holdfast.testing.world.later import Later
from holdfast.testing.world.script import Process
from holdfast.testing.world.trace import label
from holdfast.timers import TimerQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from holdfast.testing.world.clock import Face, NodeClock
    from holdfast.testing.world.world import World
    from holdfast.timers import TimerEntry

__all__ = ["Machine", "Node"]

LETTERS_MAX = 10_000

_NEVER = 1 << 100
_CLOSED = -1  # as the instant that is armed: nothing is earlier, so `submit_after` arms nothing


class Machine(Protocol):
    """What a node runs: a machine without input or output."""

    def on_timer(self, timer: Any) -> None:
        """A timer that was given to `Node.submit_after` is due."""
        ...

    def on_message(self, source: str, data: Any) -> None:
        """This came over the network."""
        ...


class _Call:
    """A timer of the node's own, between those of the machine."""

    __slots__ = ("action", "argument")

    def __init__(self, action: Callable[[Any], object], argument: Any) -> None:
        self.action = action
        self.argument = argument


class Node:
    """A machine of the world; made by `World.node`.

    Attributes:
        name: What it is called, also as an address.
        clock: What it believes the time to be: a `holdfast.clock.Clock`.
        timers: Its one queue of timers, on the face `face` of its clock.
        jitter_ns: Each step of it comes up to so much later than it could.
        life: How often it has been started again.
    """

    def __init__(
        self, world: World, name: str, clock: NodeClock, *, jitter_ns: int, face: Face
    ) -> None:
        self.world = world
        self.name = name
        self.clock = clock
        self.face: Face = face
        self.jitter_ns = jitter_ns
        self.life = 0
        self.crashed = False
        self.timers: TimerQueue[Any] = TimerQueue()
        self.machine: Machine | None = None
        self.processes: dict[str, Process] = {}  # those that are alive, in the order of their birth
        self._setup: Callable[[Node], object] | None = None
        self._spawned = 0
        self._now_ns = clock.boottime_ns if face == "boottime" else clock.monotonic_ns
        self._on_boottime = face == "boottime"
        self._scheduler = world.scheduler
        self._chance = world.rng("jitter").random
        self._add = world.trace.add
        self._armed_ns = _NEVER  # the timer that is armed, on the node's clock
        self._arming = 0
        self._stops: dict[str, int] = {}  # "paused", "asleep": the last instant of it
        self._held = True  # nothing is handed over as it comes: stopped, crashed or behind
        self._behind: deque[tuple[Callable[[Any], object], Any]] = deque()
        self._letters = 0
        self._catching_up = False
        self._stall = 0.0
        self._stall_ns = 0
        self._hold()

    # -- what runs here ---------------------------------------------------------------------------

    def start(self, setup: Callable[[Node], object]) -> None:
        """Call ``setup(node)`` now, and again after each restart. It attaches and spawns."""
        self._setup = setup
        setup(self)

    def attach(self, machine: Machine) -> None:
        """Give timers and messages to this machine from now on, until the node crashes."""
        self.machine = machine

    def spawn(
        self,
        script: Generator[Any, Any, Any],
        interpret: Callable[[Any], Any] | None = None,
        *,
        name: str | None = None,
        daemon: bool = False,
        expected: tuple[type[BaseException], ...] = (),
    ) -> Process:
        """Run a script here, from its first step, which is not taken before this returns.

        Args:
            script: The generator.
            interpret: Says what becomes of an effect: `holdfast.testing.world.script`.
            name: For the trace and reports.
            daemon: It is no deadlock if it waits for ever.
            expected: With which exceptions it may end; any other fails the run.
        """
        self._need_life()
        self._spawned += 1
        known = name if name is not None else f"{label(script)}-{self._spawned}"
        if known in self.processes:
            known = f"{known}-{self._spawned}"
        process = Process(self, known, script, interpret, daemon=daemon, expected=expected)
        self.processes[known] = process
        self.soon(process.step, (None, None))
        return process

    # -- what they may call -----------------------------------------------------------------------

    def now_ns(self) -> int:
        """What the face of its clock shows on which its timers run."""
        return self._now_ns()

    def submit_after(self, timer: Any, delay_ns: int, *, priority: int = 0) -> TimerEntry:
        """Give `timer` to the machine after so long, on the node's clock; see `TimerQueue`."""
        due_ns = self._now_ns() + delay_ns
        entry = self.timers.add(due_ns, timer, priority=priority)
        if due_ns < self._armed_ns:
            self._arm()
        return entry

    def cancel(self, entry: TimerEntry) -> bool:
        """Forget a timer; False if it has fired, or was cancelled before."""
        return self.timers.cancel(entry)

    def send_to(self, member: str, data: Any) -> None:
        """Send a message to the node of that name."""
        self.world.network.send(self.name, member, data)

    def notify(self, notification: object) -> None:
        """Write what a machine tells its user into the trace."""
        self._add(f"{self._scheduler.now_ns} {self.name} notify {label(notification)}")

    def after(self, delay_ns: int) -> Later[None]:
        """Settled after so long, on the node's clock. It is lost in a crash."""
        later: Later[None] = Later(f"{delay_ns} ns to pass")
        self.submit_after(_Call(later.resolve, None), max(delay_ns, 0))
        return later

    def within(self, later: Later[Any], delay_ns: int, otherwise: Any = None) -> Later[Any]:
        """The same result, or `otherwise` if it is not there after so long on the node's clock."""
        first: Later[Any] = Later(f"{later.what}, or {delay_ns} ns to pass")
        entry = self.submit_after(_Call(first.resolve, otherwise), max(delay_ns, 0))

        def settled(one: Later[Any]) -> None:
            self.timers.cancel(entry)
            if one.error is None:
                first.resolve(one.result())
            else:
                first.fail(one.error)

        later.then(settled)
        return first

    def soon(self, action: Callable[[Any], object], argument: Any = None) -> None:
        """Call ``action(argument)`` here, as a step of its own; never if the node crashes first."""
        now_ns = self._scheduler.now_ns + int(self._chance() * self.jitter_ns)
        self._scheduler.at(now_ns, self._take, (self.life, action, argument))

    # -- what befalls it --------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Neither paused nor asleep nor crashed."""
        return not self._stops and not self.crashed

    def pause(self, for_ns: int | None = None) -> None:
        """SIGSTOP, until `resume` or for so long in true time; the longest of several counts."""
        self._stop("paused", for_ns)

    def resume(self) -> None:
        """SIGCONT. Harmless if it is not paused."""
        self._go_on("paused")

    def sleep(self, for_ns: int | None = None) -> None:
        """Suspend the machine, until `wake` or for so long in true time."""
        if not self.crashed:
            self.clock.suspend()
            self._stop("asleep", for_ns)

    def wake(self) -> None:
        """Resume the machine. Harmless if it is not asleep."""
        self._go_on("asleep")

    def stall(self, probability: float, up_to_ns: int = 0) -> None:
        """With this probability the node is paused before a step of a script, for up to so long.

        So a process is stopped just there where it matters: after it has looked, and before it
        does something about what it saw. A probability of 0 ends it.
        """
        self._stall = probability
        self._stall_ns = up_to_ns

    def crash(self, for_ns: int | None = None) -> None:
        """SIGKILL: scripts are closed, timers and letters are gone. Harmless if it has crashed.

        Args:
            for_ns: Restart after so long in true time; None: when `restart` is called.
        """
        if self.crashed:
            return
        self._add(f"{self._scheduler.now_ns} {self.name} crashed")
        self.crashed = True
        self.life += 1
        self.machine = None
        self.timers = TimerQueue()
        self._behind.clear()
        self._letters = 0
        self._catching_up = False
        self._stops.clear()
        self.clock.resume()
        self._arming += 1
        self._armed_ns = _CLOSED
        self._hold()
        processes, self.processes = list(self.processes.values()), {}
        for process in processes:
            process.kill()
        if for_ns is not None:
            life = self.life
            when_ns = self._scheduler.now_ns + for_ns
            self._scheduler.at(when_ns, lambda _: self.restart() if self.life == life else None)

    def restart(self, *, reboot: bool = False) -> None:
        """Start again, by the function given to `start`. Harmless if it has not crashed.

        Args:
            reboot: The machine was started anew, too: boottime begins at zero.
        """
        if not self.crashed:
            return
        self._add(f"{self._scheduler.now_ns} {self.name} restarts")
        self.crashed = False
        if reboot:
            self.clock.reboot()
        self._armed_ns = _NEVER
        self._hold()
        if self._setup is not None:
            self._setup(self)

    def drift(self, ppm: float) -> None:
        """From now on its oscillator is fast by so many parts per million; negative: slow."""
        self._add(f"{self._scheduler.now_ns} {self.name} drifts {ppm}")
        self.clock.drift(ppm)
        self._arm()

    def jump_realtime(self, by_ns: int) -> None:
        """Somebody sets its wall clock, forward or back."""
        self._add(f"{self._scheduler.now_ns} {self.name} jumps {by_ns}")
        self.clock.jump_realtime(by_ns)

    def ended(self, process: Process) -> None:
        """A process of it has come to its end."""
        if self.processes.get(process.name) is process:
            del self.processes[process.name]

    # -- stopping and going on --------------------------------------------------------------------

    def _stop(self, how: str, for_ns: int | None) -> None:
        if self.crashed:
            return
        end_ns = _NEVER if for_ns is None else self._scheduler.now_ns + for_ns
        self._stops[how] = max(end_ns, self._stops.get(how, 0))
        self._add(f"{self._scheduler.now_ns} {self.name} {how}")
        self._arming += 1
        self._armed_ns = _CLOSED
        self._hold()
        if for_ns is not None:
            self._scheduler.at(end_ns, self._stop_ends, (how, self.life))

    def _stop_ends(self, stop: tuple[str, int]) -> None:
        how, life = stop
        if life == self.life and self._stops.get(how, _NEVER) <= self._scheduler.now_ns:
            self._go_on(how)

    def _go_on(self, how: str) -> None:
        if how not in self._stops:
            return
        del self._stops[how]
        if how == "asleep":
            self.clock.resume()
        self._add(f"{self._scheduler.now_ns} {self.name} no longer {how}")
        if self._stops:
            return
        self._hold()
        self._go_after_them()
        self._arm()

    def _hold(self) -> None:
        self._held = bool(self._stops or self.crashed or self._behind)

    def _need_life(self) -> None:
        if self.crashed:
            raise InvalidArgument(
                "nothing can be started on a node that has crashed",
                on=self.name,
                hint="call restart() first",
            )

    # -- steps ------------------------------------------------------------------------------------

    def deliver(self, letter: tuple[str, Any]) -> None:
        """A message has come. The network calls this."""
        self.world.network.arrived += 1
        if self._held:
            self._deliver_held(letter)
        else:
            self._read(letter)

    def _deliver_held(self, letter: tuple[str, Any]) -> None:
        if self.crashed or "asleep" in self._stops or self._letters >= LETTERS_MAX:
            self.world.network.missed += 1
            self._add(f"{self._scheduler.now_ns} {self.name} misses {letter[0]}")
            return
        self._letters += 1
        self._behind.append((self._read_held, letter))

    def _read_held(self, letter: tuple[str, Any]) -> None:
        self._letters -= 1
        self._read(letter)

    def _read(self, letter: tuple[str, Any]) -> None:
        source, data = letter
        what = f"{len(data)} {crc32(data)}" if isinstance(data, bytes) else label(data)
        self._add(f"{self._scheduler.now_ns} {self.name} hears {source} {what}")
        if self.machine is not None:
            self.machine.on_message(source, data)

    def _take(self, step: tuple[int, Callable[[Any], object], Any]) -> None:
        life, action, argument = step
        if life != self.life:
            return
        if self._stall and not self._stops and self._chance() < self._stall:
            self.pause(int(self._chance() * self._stall_ns))
        if self._held:
            self._behind.append((action, argument))
        else:
            action(argument)

    def _go_after_them(self) -> None:
        # One at a time, with a step between them, so that timers and other nodes come in between.
        if self._behind and not self._catching_up:
            self._catching_up = True
            now_ns = self._scheduler.now_ns + int(self._chance() * self.jitter_ns)
            self._scheduler.at(now_ns, self._catch_up, self.life)

    def _catch_up(self, life: int) -> None:
        if life != self.life:
            return
        self._catching_up = False
        if self._stops or not self._behind:
            return  # stopped again: whoever goes on next time calls for this again
        action, argument = self._behind.popleft()
        self._go_after_them()
        self._hold()
        action(argument)

    def _arm(self) -> None:
        """Have the first timer wake the node."""
        self._arming = arming = self._arming + 1
        if self._stops or self.crashed:
            return
        due_ns = self.timers.next_due()
        if due_ns is None:
            self._armed_ns = _NEVER
            return
        self._armed_ns = due_ns
        scheduler = self._scheduler
        ahead_ns = self.clock.ahead_ns
        if ahead_ns is not None and self._on_boottime:
            when_ns = due_ns - ahead_ns
        else:
            when_ns = self.clock.instant_of(due_ns, self.face)
        if when_ns < scheduler.now_ns:  # noqa: PLR1730  # max() costs four times as much
            when_ns = scheduler.now_ns
        when_ns += int(self._chance() * self.jitter_ns)
        scheduler.push((when_ns, scheduler.chance(), scheduler.count(), self._fire, arming))

    def _fire(self, arming: int) -> None:
        """The timer that was armed is due; it may have been cancelled."""
        if arming != self._arming:
            return
        due = self.timers.pop_due(self._armed_ns)  # which has come, or it would not be armed
        if due is not None:
            timer = due[1]
            if type(timer) is _Call:
                timer.action(timer.argument)
            else:
                what = timer if type(timer) is str else label(timer)
                self._add(f"{self._scheduler.now_ns} {self.name} timer {what}")
                if self.machine is not None:
                    self.machine.on_timer(timer)
        self._arm()

    def __repr__(self) -> str:
        how = "crashed" if self.crashed else " and ".join(self._stops) or "running"
        return f"<Node {self.name}: {how}>"
