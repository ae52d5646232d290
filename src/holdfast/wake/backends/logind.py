"""Going down through logind, and hearing of it when somebody else makes the machine go down.

Locks of logind's own make it wait for us. A **delay** lock on sleep is held from `open` on, but for
the sleeps themselves: others can suspend the machine, and logind gives us ``InhibitDelayMaxSec``
(five seconds by default) in which the listeners are asked. Another one delays a shutdown. The
**block** lock is held while a wake lease is, and a while longer (`_LINGER_S`), so that not every
event costs a lock: others cannot suspend the machine then. So much is logind's to promise, and not
more:

- When its patience is over, logind goes on: the machine sleeps though a listener has not answered.
- Who is root, or the same user as the governor, may pass over a block: before systemd 257 always,
  later when told to (``systemctl suspend -i``, ``--check-inhibitors=no``). The wake lease then has
  the delay, and no more.
- While a sleep is under way logind gives out no locks; we ask again afterwards.

`Logind.suspend` is our own way down. It looks first whether anybody else has a block lock, as
logind would not for root. logind's yes means that the wish was noted; what came of it is measured,
see `holdfast.wake.backends.logind_cycle`, which also decides what each signal means.

The locks outlive a logind that is restarted, and a bus that is: they are descriptors. We take them
anew all the same, the new one before the old is let go, since a new logind may not know of them.
Sources: org.freedesktop.login1(5), systemd's Inhibitor Locks page, logind.conf(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.clock import Clock, SystemClock
from holdfast.errors import HoldfastError, Unavailable
from holdfast.wake.backends import logind_cycle as cycles
from holdfast.wake.backends.bus import DAEMON, Bus, Called, Refused, system_bus
from holdfast.wake.backends.logind_locks import Lock
from holdfast.wake.backends.logind_permission import (
    MANAGER,
    NAME,
    PATH,
    SUSPEND,
    blockers,
    refusal,
    unusable,
    why_not,
)
from holdfast.wake.model import Failed, Slept

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.wake.backends import BackendHost
    from holdfast.wake.backends.bus import Connection, Message

__all__ = ["Logind"]

log = logging.getLogger("holdfast.wake")
log.addHandler(logging.NullHandler())  # who does not listen hears by `trouble`

_PROPERTIES = Called(NAME, PATH, "org.freedesktop.DBus.Properties")
_RULES = (
    f"type='signal',sender='{NAME}',path='{PATH}',interface='{MANAGER.interface}',"
    "member='PrepareForSleep'",
    f"type='signal',sender='{NAME}',path='{PATH}',interface='{MANAGER.interface}',"
    "member='PrepareForShutdown'",
    f"type='signal',sender='{DAEMON.name}',member='NameOwnerChanged',arg0='{NAME}'",
)
_ROOT_CHECKS_INHIBITORS = 1  # SD_LOGIND_ROOT_CHECK_INHIBITORS: that we are root is no reason
_IN_PROGRESS = f"{NAME}.OperationInProgress"
_UNKNOWN_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"

_BEGIN_S = 10.0
_LINGER_S = 0.01
_BLOCK_S = 2.0  # what an acquire waits for a logind that hangs
_PAUSES_S = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SUCCESSES = "/sys/power/suspend_stats/success"


class Connect(Protocol):
    """What opens a bus: `Bus.connect`, or another one in the tests."""

    async def __call__(
        self, address: str, heard: Callable[[Message], None], lost: Callable[[str], None], /
    ) -> Connection: ...


class Logind:
    """The back-end "logind".

    Attributes:
        name: "logind".
        trouble: What keeps it from doing its part just now, in a sentence; None: nothing.
        delay_budget_ns: How long logind waits for us before it goes on; None before `open`. A
            listener whose own time-out is longer will be cut off.

    Args:
        who: In whose name the locks are taken; ``systemd-inhibit --list`` shows it.
        address: Of the bus; by default that of the system bus.
        clock: What measures sleep.
        connect: Opens the bus.
    """

    name = "logind"

    def __init__(
        self,
        *,
        who: str = "holdfast",
        address: str | None = None,
        clock: Clock | None = None,
        connect: Connect = Bus.connect,
    ) -> None:
        self.trouble: str | None = None
        self.delay_budget_ns: int | None = None
        self._address = address or system_bus()
        self._clock = clock or SystemClock()
        self._connect = connect
        self._delay = Lock("sleep", who, "listeners are asked first", "delay")
        self._delay_shutdown = Lock("shutdown", who, "wake leases are waited for", "delay")
        self._block = Lock("sleep", who, "wake leases are held: see `holdfast wake ls`", "block")
        self._locks = (self._delay, self._delay_shutdown, self._block)
        self._said: set[str] = set()  # since there was no trouble
        self._cycle = cycles.Cycle()
        self._host: BackendHost | None = None
        self._bus: Connection | None = None
        self._owner = ""  # the unique name of logind; signals of others are not its
        self._pid = 0  # ours, as logind sees it: from another namespace it is another number
        self._done: asyncio.Future[Slept | Failed] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._look = asyncio.Event()
        self._rejoining = False
        self._tasks: set[asyncio.Task[None]] = set()

    def available(self) -> str | None:
        """See `Backend.available`. It asks logind, and waits for one that is slow."""
        return why_not(self._address)

    # -- opening and closing --

    async def open(self, host: BackendHost) -> None:
        """See `Backend.open`."""
        self._host = host
        try:
            await self._join()
        except BaseException:
            await self.close()
            raise
        self._start(self._keep_locks())

    async def close(self) -> None:
        """See `Backend.close`."""
        self._host = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._drop_linger()
        for lock in self._locks:
            lock.wanted = False
            lock.drop()
        if self._bus is not None:
            self._bus.close()
            self._bus = None
        if self._done is not None and not self._done.done():
            self._done.set_result(Failed("the back-end was closed"))

    async def _join(self) -> None:
        """Connect, look how things stand, and take the delay lock.

        Raises:
            Unavailable: The bus, or logind on it, cannot be reached, or does not let us delay.
            NotPermitted: It does not let this user delay.
            Unsupported: jeepney is missing.
        """
        bus = self._bus = await self._connect(self._address, self._heard, self._lost)
        try:
            for rule in _RULES:
                await bus.watch(rule)
            asked = "GetConnectionUnixProcessID"
            (self._pid,) = await bus.call(DAEMON, asked, "s", (bus.name,))
            await self._look_around(bus)
            if not self._cycle.under_way:
                await self._take_delays(bus)
        except Refused as error:
            raise unusable(error, self._delay.action, self._address) from error

    async def _take_delays(self, bus: Connection) -> None:
        try:
            await self._delay.take(bus)
        except Refused as error:
            if error.name != _IN_PROGRESS:  # then its end will have us ask again
                raise
        await self._try(self._delay_shutdown)  # without it, too, one can suspend

    async def _look_around(self, bus: Connection) -> None:
        """What its signals would have told, had we been here. They follow upon this answer."""
        # The owner first, because signals of others do not count.
        try:
            (self._owner,) = await bus.call(DAEMON, "GetNameOwner", "s", (NAME,))
        except Refused:
            await bus.call(DAEMON, "StartServiceByName", "su", (NAME, 0))
            (self._owner,) = await bus.call(DAEMON, "GetNameOwner", "s", (NAME,))
        (found,) = await bus.call(_PROPERTIES, "GetAll", "s", (MANAGER.interface,))
        known: dict[str, Any] = {name: value for name, (_, value) in found.items()}
        self.delay_budget_ns = int(known.get("InhibitDelayMaxUSec", 0)) * 1000
        self._feed(self._cycle.prepare_for_shutdown(known.get("PreparingForShutdown", False)))
        if known.get("PreparingForSleep", False):
            self._feed(self._cycle.prepare_for_sleep(begins=True, now=self._read()))

    # -- what the governor wants --

    async def suspend(self, attempt: int) -> Slept | Failed:
        """See `Backend.suspend`. Others' block locks count, whoever we are."""
        bus = self._bus
        if bus is None:
            return Failed(self.trouble or "the back-end is not open")
        self._drop_linger()
        if not self._block.wanted:
            self._block.drop()
        try:
            forbidden = await self._forbidden(bus)
        except (Refused, Unavailable) as error:
            return Failed(f"logind does not say who blocks: {error}")
        if forbidden is not None:
            return Failed(forbidden)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Slept | Failed] = loop.create_future()
        self._done = done
        self._feed(self._cycle.asked(self._read()))
        if not done.done():
            await self._ask(bus)
        patience = loop.call_later(_BEGIN_S, lambda: self._feed(self._cycle.impatient()))
        try:
            return await done
        finally:
            patience.cancel()
            self._done = None

    async def _forbidden(self, bus: Connection) -> str | None:
        """Who else has a block lock on sleep, in a sentence; None: nobody.

        A lock that we have just let go counts until logind has seen that, which it does when it has
        nothing else to do: until then it is asked again.
        """
        for pause_s in _PAUSES_S:
            (locks,) = await bus.call(MANAGER, "ListInhibitors")
            found = blockers(locks)
            others = [sentence for pid, sentence in found if pid != self._pid]
            if others:
                return f"blocked in logind by {', '.join(others)}"
            if not found or self._block.held:
                return None
            await asyncio.sleep(pause_s)
        return "logind does not see that our own block lock was let go"

    async def _ask(self, bus: Connection) -> None:
        try:
            try:
                await bus.call(MANAGER, "SuspendWithFlags", "t", (_ROOT_CHECKS_INHIBITORS,))
            except Refused as error:
                if error.name != _UNKNOWN_METHOD:
                    raise
                await bus.call(MANAGER, "Suspend", "b", (False,))  # False: no password is asked
        except Refused as error:
            self._feed(self._cycle.refused(f"logind refused: {refusal(error, SUSPEND)}"))
        except Unavailable:
            pass  # what was under way has been judged when the bus ended

    def wake(self, attempt: int) -> None:
        """See `Backend.wake`: only the hardware can."""

    async def block(self, held: bool) -> None:
        """See `Backend.block`."""
        self._drop_linger()
        self._block.wanted = held
        if held:
            try:
                async with asyncio.timeout(_BLOCK_S):
                    await self._try(self._block)
            except TimeoutError:
                self._worry(f"logind has not given a block lock in {_BLOCK_S:g} s")
            if self.trouble is not None:
                self._look.set()  # to ask again, or to see that the trouble is over
        elif self._block.held:
            self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._unblock)

    def ready_for_sleep(self) -> None:
        """See `Backend.ready_for_sleep`."""
        self._feed(self._cycle.ready_for_sleep())

    def ready_for_shutdown(self) -> None:
        """See `Backend.ready_for_shutdown`."""
        self._feed(self._cycle.ready_for_shutdown())

    # -- what logind and the bus tell --

    def _heard(self, message: Message) -> None:
        if message.sender == DAEMON.name and message.member == "NameOwnerChanged":
            name, _, now = message.body
            if name == NAME:
                self._owner_changed(now)
        elif message.sender == self._owner and message.interface == MANAGER.interface:
            (begins,) = message.body
            if message.member == "PrepareForSleep":
                self._feed(self._cycle.prepare_for_sleep(begins, self._read()))
            elif message.member == "PrepareForShutdown":
                self._feed(self._cycle.prepare_for_shutdown(begins))

    def _owner_changed(self, owner: str) -> None:
        if owner == self._owner:
            return
        if self._owner:
            self._worry("logind has ended: nobody else's suspend waits for us")
            self._feed(self._cycle.gone("logind", self._read()))
        self._owner = owner
        if owner:
            self._start(self._rejoin_logind())

    def _lost(self, why: str) -> None:
        self._bus = None
        self._owner = ""
        self._worry(f"{why}: nobody else's suspend waits for us")
        self._feed(self._cycle.gone("the system bus", self._read()))
        if not self._rejoining:
            self._start(self._rejoin_bus())

    async def _rejoin_logind(self) -> None:
        bus = self._bus
        if bus is None:
            return
        try:
            await self._look_around(bus)
        except (Refused, Unavailable):
            return  # it has ended again, and its next beginning is told
        self._renew()

    async def _rejoin_bus(self) -> None:
        self._rejoining = True  # a bus that is lost meanwhile fails this, and needs no second one
        for number in range(1 << 30):
            await asyncio.sleep(_RETRY_S[min(number, len(_RETRY_S) - 1)])
            try:
                await self._join()
            except HoldfastError as error:
                self.trouble = str(error)
                if self._bus is not None:
                    self._bus.close()
                    self._bus = None
            if self._bus is not None:  # else it was lost again, maybe at what need not be had
                break
        self._rejoining = False
        self._renew()

    def _renew(self) -> None:
        """The locks are old: the new logind may not know them. What it refuses is not known."""
        for lock in self._locks:
            lock.doubtful, lock.refused = lock.held, False
        self._look.set()

    # -- locks --

    def _feed(self, news: list[cycles.News]) -> None:
        self._delay.wanted = self._cycle.delay
        self._delay_shutdown.wanted = self._cycle.delay_shutdown
        for lock in (self._delay, self._delay_shutdown):
            if not lock.wanted:
                lock.drop()
        self._look.set()
        for each in news:
            self._tell(each)

    def _tell(self, news: cycles.News) -> None:
        host = self._host
        match news:
            case cycles.Done(outcome):
                if self._done is not None and not self._done.done():
                    self._done.set_result(outcome)
            case cycles.Say(sentence):
                log.warning("%s; logind waits for at most %s", sentence, self._budget())
            case _ if host is None:
                pass
            case cycles.SleepBegins():
                host.sleep_begins()
            case cycles.SleepEnds(outcome):
                host.sleep_ended(outcome)
            case cycles.ShutdownBegins():
                host.shutdown_begins()
            case cycles.ShutdownEnds():
                host.shutdown_ended()

    def _budget(self) -> str:
        return f"{(self.delay_budget_ns or 0) / 1e9:g} s (InhibitDelayMaxSec)"

    async def _keep_locks(self) -> None:
        """Take what is wanted and not held, as soon as logind gives it."""
        failures = 0
        while True:
            await self._look.wait()
            self._look.clear()
            kept = [await self._try(lock) for lock in self._locks]
            if all(kept):
                failures = 0
                self._recover()
                continue
            if not self._cycle.under_way:  # else its end will have us look again
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
                self._look.set()

    async def _try(self, lock: Lock) -> bool:
        """Whether the lock is as it is wanted."""
        bus = self._bus
        if lock.settled:
            return True
        if bus is None or not self._owner:
            return True  # nobody to ask; a beginning is told
        if self._cycle.under_way:
            return False
        try:
            await lock.take(bus)
        except Refused as error:
            if error.name != _IN_PROGRESS:  # a sleep has begun; its signal is on its way
                lock.refused = True
                self._worry(f"logind gives no {lock}: {refusal(error, lock.action)}")
            return False
        except Unavailable:
            return True  # as above
        return True

    def _recover(self) -> None:
        # A lock that is refused is so until it is given, also while it is not wanted.
        settled = all(lock.settled and not lock.refused for lock in self._locks)
        if self.trouble is not None and self._owner and settled:
            log.warning("it is over that %s", self.trouble)
            self.trouble = None
            self._said.clear()

    def _unblock(self) -> None:
        self._linger = None
        if not self._block.wanted:
            self._block.drop()

    def _drop_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    # -- the rest --

    def _worry(self, sentence: str) -> None:
        self.trouble = sentence
        if sentence not in self._said:
            self._said.add(sentence)
            log.warning("%s", sentence)

    def _read(self) -> cycles.Reading:
        return cycles.Reading(_asleep_ns(self._clock), _successes())

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _asleep_ns(clock: Clock) -> int:
    """How long the machine slept since boot: two clocks, read as close together as can be had."""
    best = (1 << 63, 0)
    for _ in range(20):
        before_ns = clock.monotonic_ns()
        boottime_ns = clock.boottime_ns()
        apart_ns = clock.monotonic_ns() - before_ns
        best = min(best, (apart_ns, boottime_ns - before_ns - apart_ns // 2))
        if apart_ns < 50_000:
            break
    return best[1]


def _successes() -> int | None:
    with contextlib.suppress(OSError, ValueError), open(_SUCCESSES, encoding="ascii") as file:
        return int(file.read())
    return None
