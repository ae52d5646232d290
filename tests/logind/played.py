"""A logind that is played in process, behind the back-end's own seam.

It keeps what is promised in org.freedesktop.login1(5) and seen of the real one: delay locks are
waited for, at most so long; block locks refuse; no locks while a sleep is under way; a signal at
the beginning and at the end; a lock is gone when its descriptor was closed, and logind has seen it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from holdfast.errors import Unavailable
from holdfast.wake.backends.bus import Called, Message, Refused
from holdfast.wake.backends.logind import Logind
from tests.logind.sides import Lock, SleepClock
from tests.logind.systemd1 import Transcript

LOGIND = "org.freedesktop.login1"
MANAGER = f"{LOGIND}.Manager"
US = 1_000_000
OUR_PID = 3  # not what we think it is: the bus is in another namespace


@dataclass
class Held:
    """A lock that was given, and our end of its pipe."""

    what: str
    who: str
    why: str
    mode: str
    pid: int
    fd: int

    @property
    def hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, 0)  # what is asked for or not: a hang-up is told
        return bool(poll.poll(0))


class PlayedConnection:
    """What `Logind` takes for a bus."""

    def __init__(
        self, side: PlayedSide, heard: Callable[[Message], None], lost: Callable[[str], None]
    ) -> None:
        self.side = side
        self.heard = heard
        self.lost = lost
        self.open = True
        self.name = ":1.9"

    async def call(
        self, whom: Called, member: str, signature: str = "", body: tuple[object, ...] = ()
    ) -> tuple[Any, ...]:
        await asyncio.sleep(0)
        await self.side.thawed.wait()
        if self.open and self.side.fragile > 0:
            self.side.fragile -= 1
            self.open = False
            self.lost("the bus closed the connection")
        if not self.open:
            raise Unavailable("the connection has ended", on=member)
        return self.side.answer(member, body)

    async def watch(self, rule: str) -> None:
        await self.call(Called("", "", ""), "AddMatch")

    def close(self) -> None:
        self.open = False


class PlayedLogind(Logind):
    """`available` looks for a socket, which there is none of."""

    def available(self) -> str | None:
        return None


class PlayedSide:
    """The machine.

    Attributes:
        asked: How often each method was called.
        old: It does not know SuspendWithFlags.
        before_answer: What happens just before a method is answered, once.
        blind: How many looks at the list of locks it takes until a closed one is not in it.
        delay_s: How long a delay lock delays.
        deaf: It says yes to a wish to suspend, and does nothing.
        owner: Its name on the bus; "": it does not run.
        stingy: It gives no locks of these modes.
        thawed: It answers nobody until this is set.
        fragile: So many questions end the connection that they come by.
        twice: It says everything twice.
    """

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.clock = SleepClock()
        self.asked: dict[str, int] = {}
        self.old = False
        self.blind = 0
        self.delay_s = 60.0
        self.deaf = False
        self.before_answer: dict[str, Callable[[], None]] = {}
        self.stingy: set[str] = set()
        self.twice = False
        self.fragile = 0
        self._looks = 0
        self._held: list[Held] = []
        self.connections: list[PlayedConnection] = []
        self.owner = ":1.1"
        self._bus = True
        self._sleeping = self._down = self._shutting_down = False
        self._sleeps = True
        self.thawed = asyncio.Event()
        self.thawed.set()
        self._up = asyncio.Event()
        self._up.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._forget()

    def _forget(self) -> None:
        for held in self._held:
            os.close(held.fd)
        self._held.clear()

    # -- what the tests do --

    def backend(self) -> Logind:
        return PlayedLogind(address="played", clock=self.clock, connect=self.connect)

    async def connect(
        self, address: str, heard: Callable[[Message], None], lost: Callable[[str], None]
    ) -> PlayedConnection:
        if not self._bus:
            raise Unavailable("no bus is played now", on=address)
        self.connections.append(PlayedConnection(self, heard, lost))
        return self.connections[-1]

    def stay_down(self) -> None:
        self._up.clear()

    def come_up(self) -> None:
        self._up.set()

    def refuse_to_sleep(self) -> None:
        self._sleeps = False

    async def suspend(self) -> None:
        try:
            self.wish_to_sleep()
        except Refused as error:
            raise RuntimeError(error.name) from error

    async def suspend_unprivileged(self) -> None:
        await self.suspend()

    async def power_off(self) -> None:
        self._shutting_down = True
        self.signal("PrepareForShutdown", begins=True)
        self._start(self._shut_down())

    async def locks(self) -> list[Lock]:
        self._look()
        return [(held.what, held.who, held.mode) for held in self._held]

    @contextlib.asynccontextmanager
    async def blocking(self) -> AsyncIterator[None]:
        fd = self._give("sleep", "backup", "tape", "block", pid=1)
        yield
        os.close(fd)

    async def forge(self, member: str) -> None:
        for each in self.connections:
            each.heard(Message(":1.666", MANAGER, member, (True,)))
            each.heard(
                Message(
                    ":1.666",
                    "org.freedesktop.DBus",
                    "NameOwnerChanged",
                    (LOGIND, self.owner, ":1.666"),
                )
            )

    def freeze_logind(self) -> None:
        self.thawed.clear()

    def thaw_logind(self) -> None:
        self.thawed.set()

    async def end_logind(self) -> None:
        self._owner_is("")
        self._sleeping = self._shutting_down = False

    async def begin_logind(self) -> None:
        """A new logind that knows of no lock: the worst that can be."""
        self._forget()
        self._owner_is(":1.2")

    async def end_bus(self) -> None:
        self._bus = False
        self.owner = ""
        connections, self.connections = self.connections, []
        for each in connections:
            each.open = False
            each.lost("the bus closed the connection")

    async def begin_bus(self) -> None:
        self._forget()
        self._bus = True
        self.owner = ":1.3"

    # -- what logind does --

    def answer(self, member: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        self.asked[member] = self.asked.get(member, 0) + 1
        self.before_answer.pop(member, lambda: None)()
        match member:
            case "AddMatch":
                return ()
            case "GetConnectionUnixProcessID":
                assert body == (":1.9",)
                return (OUR_PID,)
            case "GetNameOwner" if self.owner:
                return (self.owner,)
        if not self.owner:
            raise Refused("org.freedesktop.DBus.Error.ServiceUnknown", "nobody is called so")
        match member:
            case "GetAll":
                found = {
                    "InhibitDelayMaxUSec": ("t", round(self.delay_s * US)),
                    "PreparingForSleep": ("b", self._sleeping),
                    "PreparingForShutdown": ("b", self._shutting_down),
                }
                return (found,)
            case "Inhibit":
                if self._sleeping or self._shutting_down:
                    raise Refused(f"{LOGIND}.OperationInProgress", "it is under way")
                if body[3] in self.stingy:
                    raise Refused("org.freedesktop.DBus.Error.AccessDenied", "Permission denied")
                return (self._give(*body, pid=OUR_PID),)
            case "ListInhibitors":
                self._look()
                return ([(h.what, h.who, h.why, h.mode, 0, h.pid) for h in self._held],)
            case "SuspendWithFlags" if not self.old:
                assert body == (1,)
                self.wish_to_sleep()
                return ()
            case "Suspend":
                assert body == (False,)
                self.wish_to_sleep()
                return ()
        raise Refused("org.freedesktop.DBus.Error.UnknownMethod", member)

    def signal(self, member: str, *, begins: bool) -> None:
        self.transcript.say(f"{member} {begins}")
        for each in self.connections * (1 + self.twice):
            each.heard(Message(self.owner, MANAGER, member, (begins,)))

    def _owner_is(self, owner: str) -> None:
        old, self.owner = self.owner, owner
        self.transcript.say("logind is here" if owner else "logind is gone")
        for each in self.connections:
            each.heard(
                Message(
                    "org.freedesktop.DBus",
                    "org.freedesktop.DBus",
                    "NameOwnerChanged",
                    (LOGIND, old, owner),
                )
            )

    def _give(self, what: str, who: str, why: str, mode: str, *, pid: int) -> int:
        ours, theirs = os.pipe()
        self._held.append(Held(what, who, why, mode, pid, ours))
        return theirs

    def _look(self) -> None:
        """See what was closed, but not at once."""
        self._looks += 1
        if self._looks <= self.blind:
            return
        for held in [held for held in self._held if held.hung_up]:
            self._held.remove(held)
            os.close(held.fd)

    def wish_to_sleep(self) -> None:
        if self._sleeping or self._shutting_down:
            raise Refused(f"{LOGIND}.OperationInProgress", "it is under way")
        if any(held.mode == "block" for held in self._held):
            raise Refused(f"{LOGIND}.BlockedByInhibitorLock", "it is blocked")
        if not self.deaf:
            self._sleeping = True
            self.signal("PrepareForSleep", begins=True)  # before the answer, as the real one does
            self._start(self._sleep())

    async def _delayed(self, what: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.delay_s):
                while any(h.mode == "delay" and what in h.what for h in self._held):
                    self._look()
                    await asyncio.sleep(0.001)

    async def _sleep(self) -> None:
        await self._delayed("sleep")
        self.transcript.say("StartUnit suspend.target")
        await self._up.wait()
        if self._sleeps:
            self.clock.sleep()
        if self._sleeping:
            self._sleeping = False
            self.signal("PrepareForSleep", begins=False)

    async def _shut_down(self) -> None:
        await self._delayed("shutdown")
        self.transcript.say("StartUnit poweroff.target")

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
