"""The stage: a private place for states, the players on it, and the book of what happened."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.closing import Closing
from holdfast.demo.promise import Promise
from holdfast.demo.tally import READY, ROWS, Row, Tally
from holdfast.errors import Unavailable
from holdfast.state import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ENDINGS", "Event", "Player", "Stage"]

START_LIMIT_S = 60.0  # an interpreter on a machine that has other things to do
PREFIX = "holdfast-demo-"
FRESH_S = 60.0  # a directory that is younger may be about to be locked
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what asks the stage to end


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, and how many seconds after the beginning.

    Attributes:
        at_s: The seconds.
        what: It.
        aloud: Whether it is told even where there is room for little.
    """

    at_s: float
    what: str
    aloud: bool = False


class Player:
    """One process, from outside."""

    def __init__(self, stage: Stage, role: str, row: int, number: int) -> None:
        self.role = role
        self.row: Row = stage.tally.row(row)
        self.row[READY] = 0
        self.expected_to_live = True
        self._complaint = os.path.join(stage.directory, f"stderr-{row}")
        seed = str(stage.chance.getrandbits(32))
        sabotage = ",".join(sorted(stage.sabotage))
        command = [sys.executable, "-P", "-m", "holdfast.demo.player"]
        with open(self._complaint, "wb") as stderr:
            self.process = subprocess.Popen(
                [*command, stage.directory, role, str(row), str(number), seed, sabotage],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                process_group=0,  # Ctrl-C is for the stage: it knows what to do
            )

    @property
    def pid(self) -> int:
        """Its process number."""
        return self.process.pid

    @property
    def ready(self) -> bool:
        """Whether it has set itself up."""
        return bool(self.row[READY])

    def say(self, word: str) -> None:
        """Tell it to "go" or to "stop"."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # dead: whoever cares finds out by its count
            os.write(self.process.stdin.fileno(), word.encode() + b"\n")

    def kill(self) -> int:
        """SIGKILL, and wait until it is dead; the instant before (CLOCK_BOOTTIME)."""
        self.expected_to_live = False
        before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.process.kill()
        self.close()
        return before_ns

    def stop(self) -> None:
        """SIGSTOP, and wait until it does nothing more."""
        self.process.send_signal(signal.SIGSTOP)
        if self.process.returncode is None:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def fallen(self) -> str | None:
        """Its last words, if it has ended in an error and was not killed by us."""
        if not self.expected_to_live or not self.process.poll():
            return None
        with open(self._complaint, encoding="utf-8", errors="replace") as file:
            words = file.read().strip()
        return words or f"exit code {self.process.returncode}"

    def close(self) -> None:
        """Give back what a dead player leaves: its pipe, and its entry in the process table."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


class Stage(Closing):
    """Everything that the acts share. As a context manager it clears itself away.

    Attributes:
        directory: A private directory, in shared memory where there is some.
        namespace: The states of the demo, in that directory.
        tally: What the players count.
        chance: Decides whom to kill and when; made from the seed.
        sabotage: What is spoilt on purpose; mostly nothing.
        seconds: How long the play lasts.
        events: What has happened so far.
    """

    def __init__(self, seconds: float, seed: int, sabotage: frozenset[str] = frozenset()) -> None:
        self.seconds = seconds
        self.chance = random.Random(seed)
        self.sabotage = sabotage
        self.events: list[Event] = []
        self.players: list[Player] = []
        self._rows = 0
        self._began = time.monotonic()
        place = os.environ.get("HOLDFAST_STATE_DIR") or "/dev/shm"  # noqa: S108 - mkdtemp is private
        self._made = _made(place)
        inside = place if os.access(place, os.W_OK | os.X_OK) else tempfile.gettempdir()
        _sweep(inside)
        self.directory = tempfile.mkdtemp(prefix=PREFIX, dir=inside)
        self._lock = _locked(self.directory)  # as long as we live
        try:
            self.tally = Tally(os.path.join(self.directory, "tally"))
            self.namespace = Namespace(os.path.join(self.directory, "states"))
            if "litter" in sabotage:
                with Namespace(self.namespace.path, retain=True) as careless:
                    careless.subscribe("litter", "rw", size=8)
        except BaseException:  # Ctrl-C comes when it likes
            self._clear()
            raise

    # -- time -------------------------------------------------------------------------------------

    def begin(self, players: Sequence[Player]) -> None:
        """Wait until everybody is ready; time counts from here.

        Raises:
            Unavailable: Somebody is not.
        """
        limit = time.monotonic() + START_LIMIT_S
        while not all(player.ready for player in players):
            self.raise_for_fallen()
            if time.monotonic() > limit:
                raise Unavailable(
                    "the processes of the demo do not start", hint="is the machine overloaded?"
                )
            time.sleep(0.005)
        self._began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def note(self, what: str, *, aloud: bool = False) -> None:
        """Write something into the book of events."""
        self.events.append(Event(round(self.elapsed_s, 3), what, aloud))

    # -- players ----------------------------------------------------------------------------------

    def reserve_row(self) -> int:
        """A row of the tally that nobody has."""
        self._rows += 1
        assert self._rows <= ROWS, "an act reserves rows without end"
        return self._rows - 1

    def start(self, role: str, *, row: int | None = None, number: int = 0) -> Player:
        """Start a process that plays `role`; in a row of an earlier one it goes on counting."""
        where = self.reserve_row() if row is None else row
        with _held_back(ENDINGS):  # else nobody would know of the process, to end it
            player = Player(self, role, where, number)
            self.players.append(player)
        return player

    def raise_for_fallen(self) -> None:
        """See whether a player has ended by itself.

        Raises:
            Unavailable: One has, while everybody was getting ready.
        """
        for player in self.players:
            words = player.fallen()
            if words is not None:
                raise Unavailable(f"a process of the demo ended: {words}", on=player.role)

    # -- the end ----------------------------------------------------------------------------------

    def promises(self) -> list[Promise]:
        """What holds for the stage as a whole; the players have stopped."""
        fallen = {
            player: words for player in self.players if (words := player.fallen()) is not None
        }
        for player, words in fallen.items():
            self.note(f"a process failed: {player.role}: {words}")
        killed = sum(not player.expected_to_live for player in self.players)
        last_words = [
            f"{player.role}: {words.splitlines()[-1]}" for player, words in fallen.items()
        ]
        names = set(self.namespace.names())
        self.namespace.close()
        files = [name for name in os.listdir(self.namespace.path) if not name.startswith(".")]
        left = {file.rpartition(".")[0] for file in files}  # each has a state's name and a suffix
        failing = Promise(
            "failing processes",
            len(fallen),
            len(self.players),
            "processes",
            last_words[0] if last_words else f"{killed} were killed, the others left",
            {"killed": killed},
        )
        if not names | left:
            return [failing]  # of the acts that were played none has its states here
        return [
            failing,
            Promise(
                "states left behind",
                len(left),
                len(names | left),
                "states",
                f"the last subscriber has left; {len(files)} files are there still",
                {"files": len(files)},
            ),
        ]

    def close(self) -> None:
        """Kill whoever is left and remove every trace."""
        # A second Ctrl-C shall not leave half of it behind; this takes some milliseconds.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDINGS}
        try:
            for player in self.players:
                player.process.kill()
            for player in self.players:
                player.close()
            self.namespace.close()
            self._clear()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _clear(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._made:
            with contextlib.suppress(OSError):
                os.rmdir(self._made)


@contextlib.contextmanager
def _held_back(numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Let those signals come afterwards. Not by a mask, which a child would inherit."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _locked(directory: str) -> int | None:
    """A descriptor that keeps others from taking the directory for a dead stage's; None: it is."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def _sweep(place: str) -> None:
    """Remove what stages have left here that were killed."""
    for entry in os.scandir(place):
        with contextlib.suppress(OSError):  # not ours, or gone meanwhile
            old = time.time() - entry.stat(follow_symlinks=False).st_mtime > FRESH_S
            if not (entry.name.startswith(PREFIX) and old):
                continue
            fd = _locked(entry.path)
            if fd is not None:
                shutil.rmtree(entry.path, ignore_errors=True)
                os.close(fd)


def _made(place: str) -> str | None:
    """Make the place if it is missing; its name if that was done."""
    try:
        os.makedirs(place, 0o700)
    except OSError:
        return None  # it is there, or it cannot be made: then another one is found
    return place
