"""Mixed clusters on the loopback interface: engines of ours and processes of the crate.

One loop drives all of ours, in this thread, and reads what the others print. It knows no more than
a driver must: sockets, a heap of timers, and a clock.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random

from holdfast.closing import Closing
from holdfast.errors import MembershipError
from holdfast.membership import Membership, Node, Notification, Repair, Timer
from tests.addresses import OWN
from tests.interop.words import CODECS, Settings, member_text, node, notification_text

# Any port of this machine.
ANYWHERE = Node(OWN, 0, 1)
# Nothing here takes so long but on a machine that has no time for it.
LOOP_PATIENCE_S = 30.0
_ATTENTION_S = 0.02


class Loopback(Closing):
    """A cluster, and the loop that drives it. A context manager: it ends whom it started."""

    def __init__(
        self, program: Path, codec: str, settings: Settings, repairs: frozenset[Repair]
    ) -> None:
        self.program = program
        self.codec = codec
        self.settings = settings
        self.repairs = repairs
        self.selector = selectors.DefaultSelector()
        self.everybody: list[Ours | Theirs] = []

    def close(self) -> None:
        for one in self.everybody:
            one.kill()
        self.selector.close()

    def ours(self, at: Node = ANYWHERE) -> Ours:
        """A new member of ours; port 0 is any."""
        self.everybody.append(made := Ours(self, at))
        return made

    def theirs(self, at: Node = ANYWHERE) -> Theirs:
        """A new process of the crate."""
        self.everybody.append(made := Theirs(self, at))
        return made

    def until(self, condition: Callable[[], bool]) -> bool:
        """Drive everybody until it holds; False: it takes too long."""
        end = time.monotonic() + LOOP_PATIENCE_S
        while time.monotonic() < end:
            if condition():
                return True
            self.turn()
        return False

    def turn(self, wait_s: float = _ATTENTION_S) -> None:
        """Look once at everything that is there, or comes within that time."""
        for key, _ in self.selector.select(wait_s):
            key.data()
        for one in self.everybody:
            if isinstance(one, Ours):
                one.fire()

    def all_know(self, *members: Ours | Theirs) -> bool:
        """Whether these know each other, and nobody else, as active."""
        names = {str(one.identity) for one in members}
        return all(one.active() == names - {str(one.identity)} for one in members)

    def go_on(self, settings: Settings, *members: Ours | Theirs) -> bool:
        """Give these other settings, and wait until they know each other and suspect nobody."""
        for one in members:
            one.configure(settings)

        def calm() -> bool:
            return self.all_know(*members) and not any(
                known.endswith("/s") for one in members for known in one.state()
            )

        return self.until(calm)


class Ours:
    """One of our engines on a socket.

    Attributes:
        told: Its notifications, as text.
        faults: What its engine has raised.
        paused: It neither hears nor acts, like a process that is stopped.
    """

    def __init__(self, loop: Loopback, at: Node) -> None:
        self._loop = loop
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self._socket.bind(at.addr)
        self._timers: list[tuple[int, int, int, Timer[Node]]] = []
        self._order = count()
        self._alive = True
        self.told: list[str] = []
        self.faults: list[str] = []
        self.paused = False
        self.engine: Membership[Node] = Membership(
            Node(at.ip, self._socket.getsockname()[1], at.generation),
            loop.settings.config,
            rng=Random(),
            codec=CODECS[loop.codec],
            repairs=loop.repairs,
        )
        loop.selector.register(self._socket, selectors.EVENT_READ, self._receive)

    @property
    def identity(self) -> Node:
        """Who it is now."""
        return self.engine.identity

    def active(self) -> set[str]:
        """The identities of the members that it thinks active."""
        return {str(one.identity) for one in self.engine.members()}

    def state(self) -> set[str]:
        """All that it knows, as text."""
        return {member_text(one) for one in self.engine.membership_state()}

    def join(self, seed: Node) -> None:
        """Ask `seed` to be let in."""
        self.engine.announce(seed, self)

    def leave(self) -> None:
        """Leave in good order."""
        self.engine.leave_cluster(self)

    def change(self, identity: Node) -> None:
        """Go on as another."""
        self.engine.change_identity(identity, self)

    def configure(self, settings: Settings) -> None:
        """Go on with other settings."""
        self.engine.set_config(settings.config)

    def kill(self) -> None:
        """Be gone without a word."""
        if self._alive:
            self._alive = False
            self._loop.selector.unregister(self._socket)
            self._socket.close()

    def fire(self) -> None:
        """Hand the engine the timers that are due."""
        while self._timers and self._timers[0][0] <= self.now_ns() and self._hears():
            *_, timer = heapq.heappop(self._timers)
            with self._noting_faults():
                self.engine.handle_timer(timer, self)

    def _hears(self) -> bool:
        return self._alive and not self.paused

    def _receive(self) -> None:
        if self.paused:
            time.sleep(_ATTENTION_S / 10)  # what has come waits in the socket
            return
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            data = self._socket.recv(65_536)
            with self._noting_faults():
                self.engine.handle_data(data, self)

    @contextlib.contextmanager
    def _noting_faults(self) -> Iterator[None]:
        try:
            yield
        except MembershipError as error:
            self.faults.append(f"{type(error).__name__} {error}")

    # -- its runtime ------------------------------------------------------------------------------

    def notify(self, notification: Notification[Node], /) -> None:
        """Note it."""
        self.told.append(notification_text(notification))

    def send_to(self, member: Node, data: bytes, /) -> None:
        """Send it; a peer whose socket is gone is nothing new."""
        with contextlib.suppress(ConnectionRefusedError):
            self._socket.sendto(data, member.addr)

    def submit_after(self, timer: Timer[Node], delay_ns: int, /) -> None:
        """Keep it till then."""
        due = self.now_ns() + delay_ns
        heapq.heappush(self._timers, (due, timer.priority, next(self._order), timer))

    def now_ns(self) -> int:
        """The time."""
        return time.monotonic_ns()


class Theirs:
    """One process of the crate.

    Attributes:
        told: Its notifications, as text.
        faults: Errors of the crate, but for what was asked, and items that it was handed.
        identity: Who it is, as far as it has said so.
    """

    def __init__(self, loop: Loopback, at: Node) -> None:
        self._loop = loop
        self._process = subprocess.Popen(
            [str(loop.program), "live", str(at), loop.codec, *loop.settings.words()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        self._rest = b""
        self._answers: list[str] = []
        self._ready = ""
        self.told: list[str] = []
        self.faults: list[str] = []
        loop.selector.register(self._output, selectors.EVENT_READ, self._read)
        assert loop.until(lambda: bool(self._ready))
        self.identity = node(self._ready)

    def ask(self, *words: object) -> str:
        """One of the driver's verbs; what it answers."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self._process.stdin.flush()
        assert self._loop.until(lambda: bool(self._answers))
        answer = self._answers.pop()
        assert answer.split()[0] == "ok", answer
        return answer.removeprefix("ok").strip()

    def active(self) -> set[str]:
        """The identities of the members that it thinks active."""
        return {one.split("/")[0] for one in self.ask("members").split()}

    def state(self) -> set[str]:
        """All that it knows, as text."""
        return set(self.ask("state").split())

    def join(self, seed: Node) -> None:
        """Ask `seed` to be let in."""
        self.ask("announce", seed)

    def leave(self) -> None:
        """Leave in good order."""
        self.ask("leave")

    def change(self, identity: Node) -> None:
        """Go on as another."""
        self.ask("change", identity)
        self.identity = identity

    def configure(self, settings: Settings) -> None:
        """Go on with other settings."""
        self.ask("set", *settings.words())

    def pause(self) -> None:
        """Stop the process where it is."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process.poll() is None:
            self._loop.selector.unregister(self._output)
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        said = os.read(self._output, 65_536)
        assert said, f"the process of {self._ready} has ended: {self.faults}"
        *lines, self._rest = (self._rest + said).split(b"\n")
        for line in lines:
            kind, _, what = line.decode().partition(" ")
            if kind == "ready":
                self._ready = what
            elif kind == "notify":
                self.told.append(what)
                if what.startswith("rejoin "):
                    self.identity = node(what.removeprefix("rejoin "))
            elif kind in ("fault", "item"):  # nobody here has items for it
                self.faults.append(f"{kind} {what}")
            else:
                self._answers.append(line.decode())
