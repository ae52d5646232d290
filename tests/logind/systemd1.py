"""Stands in for PID 1 on a private bus, so that a real logind believes that the machine slept.

logind starts a unit when the machine is to go down, and takes the removal of the unit's job for the
end of the sleep. So much of ``org.freedesktop.systemd1`` is here, and of PolicyKit what decides
whether somebody other than root may suspend. It is written with dbus-fast and the library with
jeepney: what both misunderstand alike is unlikely. It also watches what logind announces: an
independent client's record of the order of things.
Source: the D-Bus interface of systemd, org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from dbus_fast import Message, MessageFlag, MessageType, Variant
from dbus_fast.aio import MessageBus

SYSTEMD = "org.freedesktop.systemd1"
SYSTEMD_PATH = "/org/freedesktop/systemd1"
LOGIND = "org.freedesktop.login1"
POLKIT = "org.freedesktop.PolicyKit1"
POLKIT_PATH = "/org/freedesktop/PolicyKit1/Authority"
DAEMON = "org.freedesktop.DBus"
DAEMON_PATH = "/org/freedesktop/DBus"
PATIENCE_S = 30.0
UNITS = {"LoadState": Variant("s", "loaded"), "Job": Variant("(uo)", [0, "/"])}


@dataclass
class Transcript:
    """What happened, in one order for all who write into it; they may be in several threads."""

    lines: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def say(self, line: str) -> None:
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    def count(self, line: str) -> int:
        return self.lines.count(line)

    def wait_for(self, line: str, times: int = 1) -> None:
        """Wait until the line was said so many times, all in all."""
        with self._changed:
            came = self._changed.wait_for(lambda: self.count(line) >= times, PATIENCE_S)
        assert came, f"{line!r} was not said {times} times: {self.lines}"

    def since(self, mark: int) -> list[str]:
        """What was said after the transcript had `mark` lines."""
        return self.lines[mark:]


class Systemd:
    """The stand-in, in a thread with an event loop of its own.

    Attributes:
        transcript: Says ``StartUnit suspend.target``, ``JobRemoved suspend.target done``,
            ``PrepareForSleep True`` and so on, and when names on the bus come and go.
        awake: The machine stays down until this is set.
        result: How jobs end: ``done``, or ``failed`` where the machine could not go down.
        permitted: What PolicyKit allows to all but root.
        challenged: What it would allow to whoever gives a password.
        started_ns: CLOCK_MONOTONIC when the last unit was started.
        on_start: Called, in the thread, with the name of each unit that logind starts.
        on_sleep: Called, in the thread, when the machine wakes up after a job that ends well.

    Args:
        address: Of the bus.
        polkit: Play PolicyKit, too.
    """

    def __init__(self, address: str, *, polkit: bool = True) -> None:
        self._names = (SYSTEMD, POLKIT) if polkit else (SYSTEMD,)
        self.transcript = Transcript()
        self.awake = threading.Event()
        self.awake.set()
        self.result = "done"
        self.permitted: set[str] = set()
        self.challenged: set[str] = set()
        self.started_ns = 0
        self.on_start: Callable[[str], None] = lambda _: None
        self.on_sleep: Callable[[], None] = lambda: None
        self._address = address
        self._jobs = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._ready: Future[None] = Future()
        self._bus: Any = None
        self._thread = threading.Thread(target=self._run, name="systemd1", daemon=True)
        self._thread.start()
        self._ready.result(PATIENCE_S)

    def close(self) -> None:
        if self._thread.is_alive():
            self.awake.set()
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(PATIENCE_S)

    def call(
        self, member: str, signature: str = "", *body: object, interface: str = ""
    ) -> list[Any]:
        """Ask logind something, as an independent client.

        Raises:
            RuntimeError: The name of the error that it answered, and its text.
        """
        found = asyncio.run_coroutine_threadsafe(
            self._call(member, signature, list(body), interface or f"{LOGIND}.Manager"), self._loop
        )
        return found.result(PATIENCE_S)

    async def _call(
        self, member: str, signature: str, body: list[object], interface: str
    ) -> list[Any]:
        reply = await self._bus.call(
            Message(
                destination=LOGIND,
                path="/org/freedesktop/login1",
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )
        if reply.message_type is MessageType.ERROR:
            raise RuntimeError(f"{reply.error_name}: {' '.join(map(str, reply.body))}")
        return list(reply.body)

    def forge(self, member: str) -> None:
        """Send everybody a signal of logind's, who we are not."""
        asyncio.run_coroutine_threadsafe(self._forge(member), self._loop).result(PATIENCE_S)

    async def _forge(self, member: str) -> None:
        reply = await self._bus.call(_to_daemon("ListNames"))
        for name in reply.body[0]:
            if name.startswith(":") and name != self._bus.unique_name:
                forged = Message.new_signal(
                    "/org/freedesktop/login1", f"{LOGIND}.Manager", member, "b", [True]
                )
                forged.destination = name
                await self._bus.send(forged)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        bus: Any = await MessageBus(self._address).connect()
        self._bus = bus
        bus.add_message_handler(self._take)
        for rule in (
            f"type='signal',sender='{LOGIND}',interface='{LOGIND}.Manager'",
            f"type='signal',sender='{DAEMON}',member='NameOwnerChanged'",
        ):
            await self._daemon("AddMatch", "s", [rule])
        for name in self._names:
            await self._daemon("RequestName", "su", [name, 0])
        self._ready.set_result(None)
        await self._end.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        bus.disconnect()
        await bus.wait_for_disconnect()

    async def _daemon(self, member: str, signature: str, body: list[object]) -> None:
        reply = await self._bus.call(_to_daemon(member, signature, body))
        assert reply.message_type is MessageType.METHOD_RETURN, reply.body

    def _take(self, message: Message) -> Message | None:
        if message.message_type is MessageType.SIGNAL:
            self._announced(message)
            return None
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        if message.flags & MessageFlag.NO_REPLY_EXPECTED:
            return None  # a reply would be refused by the bus
        match message.interface, message.member:
            case "org.freedesktop.systemd1.Manager", "Subscribe":
                return Message.new_method_return(message)
            case "org.freedesktop.systemd1.Manager", "StartUnit":
                return self._start_unit(message)
            case "org.freedesktop.DBus.Properties", "Get" if message.body[1] in UNITS:
                return Message.new_method_return(message, "v", [UNITS[message.body[1]]])
            case "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization":
                action = message.body[1]
                answer = [action in self.permitted, action in self.challenged, {}]
                return Message.new_method_return(message, "(bba{ss})", [answer])
        name = f"{message.interface}.{message.member}"
        return Message.new_error(message, f"{DAEMON}.Error.UnknownMethod", f"no {name} here")

    def _announced(self, message: Message) -> None:
        if message.member in {"PrepareForSleep", "PrepareForShutdown"}:
            self.transcript.say(f"{message.member} {message.body[0]}")
        elif message.member == "NameOwnerChanged" and message.body[0] == LOGIND:
            self.transcript.say("logind is here" if message.body[2] else "logind is gone")

    def _start_unit(self, message: Message) -> Message:
        self.started_ns = time.monotonic_ns()
        self._jobs += 1
        unit = message.body[0]
        self.on_start(unit)
        self.transcript.say(f"StartUnit {unit}")
        task = self._loop.create_task(self._run_job(self._jobs, unit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Message.new_method_return(message, "o", [self._path(self._jobs)])

    def _path(self, job: int) -> str:
        return f"{SYSTEMD_PATH}/job/{job}"

    async def _run_job(self, number: int, unit: str) -> None:
        if unit in {"poweroff.target", "reboot.target", "halt.target"}:
            return  # a machine that is shut down does not finish it
        await asyncio.to_thread(self.awake.wait, PATIENCE_S)
        result = self.result
        if result == "done":
            self.on_sleep()
        self.transcript.say(f"JobRemoved {unit} {result}")
        await self._bus.send(
            Message.new_signal(
                SYSTEMD_PATH,
                f"{SYSTEMD}.Manager",
                "JobRemoved",
                "uoss",
                [number, self._path(number), unit, result],
            )
        )


def _to_daemon(member: str, signature: str = "", body: list[object] | None = None) -> Message:
    return Message(
        destination=DAEMON,
        path=DAEMON_PATH,
        interface=DAEMON,
        member=member,
        signature=signature,
        body=body or [],
    )
