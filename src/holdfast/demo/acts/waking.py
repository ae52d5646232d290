"""A machine that goes down again and again, in play, amid a pipeline that takes no wake leases.

A governor with the simulated back-end suspends whenever nothing forbids it. A head sends messages
to two workers, under optimistic lease management (`pipeline`): nobody takes a wake lease while the
machine is awake, and still no message is in flight when it is down. Meanwhile a worker, with the
wake lease in its hands if that can be had, and the head are killed with SIGKILL by turns, and
replaced. After each death the machine must go down again, with new messages dealt with::

    QUIET ── strike it off the book, kill it ──▶ REPLACED ── it sleeps, in the new life ──▶ QUIET

At the end nobody sends any more, and the machine must go down: else somebody holds a wake lease
for nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.demo.acts import pipeline
from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.acts.pipeline import CAST, GOVERNOR, HEAD, WORKERS, now_ns
from holdfast.demo.promise import Promise

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from holdfast.demo.stage import Player, Stage
    from holdfast.demo.tally import Row

__all__ = ["SABOTAGE", "Waking"]

ROLES = {GOVERNOR: "governor", HEAD: "head"} | dict.fromkeys(WORKERS, "worker")
PAUSE_S = (0.2, 1.0)  # between one death and the next
IN_HAND_S = 1.0  # for so long a worker is waited for that has a wake lease
CURTAIN_S = 1.0  # as long as that before the end nobody dies, if somebody has
REPLACED_LIMIT_S = 40.0  # an interpreter on a machine that has other things to do, and a suspend
REST_LIMIT_S = 30.0
HOARD_LIMIT_S = 2.0  # who was told to keep the machine awake is not waited for as long

SABOTAGE = {
    "loose": "the workers let go of a wake lease at once, whatever is still to be done",
    "greedy": "the head takes a wake lease for each message",
    "hoard": "at the end the workers keep a copy of each wake lease",
    "barren": "whoever is started in the place of a dead worker leaves at once",
}


@dataclass(slots=True)
class Death:
    """Somebody was killed.

    Attributes:
        number: Who of the cast.
        at_ns: When.
        held: Whether it had a wake lease in its hands.
        whose: The workers to which messages must come in its heir's life.
    """

    number: int
    at_ns: int
    held: bool
    whose: tuple[int, ...]


class Waking:
    """The governor and the pipeline, and what befalls that."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rows = [stage.reserve_row() for _ in CAST]
        self._book: Row = stage.tally.row(stage.reserve_row())  # where the cast looks for it
        self._cast = [self._new(number) for number in CAST]
        self._death: Death | None = None
        self._kills = self._held = self._halts = 0
        self._took_s: list[float] = []
        self._left = 0
        self._next_s = stage.chance.uniform(*PAUSE_S)
        self._last_s = stage.seconds - CURTAIN_S

    def _new(self, number: int) -> Player:
        return self._stage.start(ROLES[number], row=self._rows[number], number=number)

    def players(self) -> Sequence[Player]:
        """All; the head is ready when its workers are there."""
        return tuple(self._cast)

    def begin(self) -> None:
        """From now on what is sent must not be stranded."""
        for number, player in enumerate(self._cast):
            self._book[pipeline.LIVE + number] = player.pid
            player.say("go")

    # -- deaths -----------------------------------------------------------------------------------

    def step(self) -> None:
        """Kill one and replace it, and see that the pipeline goes on."""
        if self._death is not None:
            self._see_through(self._death)
        elif self._stage.elapsed_s >= self._next_s and self._more():
            self._kill()

    def _more(self) -> bool:
        """Whether there should be one more: if there was none, or there is time for it."""
        return not self._kills or self._stage.elapsed_s < self._last_s

    def _down_ns(self, number: int) -> int:
        """When the machine first was down after that worker had got messages from that head."""
        return self._cast[GOVERNOR].row[pipeline.FIRST_NS + number]

    def _kill(self) -> None:
        """One of the pipeline: a worker, the head, the other worker, and so on."""
        number = (WORKERS[0], HEAD, WORKERS[1], HEAD)[self._kills % 4]
        victim = self._cast[number]
        if not all(player.ready for player in self._cast) or not all(map(self._down_ns, WORKERS)):
            return
        if not self._shown():
            return  # whoever is to come may not come, if it is spoilt
        waited = self._stage.elapsed_s > self._next_s + IN_HAND_S
        if number != HEAD and not victim.row[pipeline.HOLDING] and not waited:
            return
        self._book[pipeline.LIVE + number] = 0  # first: what is seen later is the killer's work
        self._kills += 1
        at_ns = victim.kill()
        held = number != HEAD and bool(victim.row[pipeline.HOLDING])
        self._held += held
        whose = WORKERS if number == HEAD else (number,)
        # What the dead one has noted of its connection is over.
        victim.row[pipeline.LIFE if number == HEAD else pipeline.EPOCH] = 0
        self._death = Death(number, at_ns, held, whose)
        self._cast[number] = self._new(number)
        self._book[pipeline.LIVE + number] = self._cast[number].pid
        self._cast[number].say("go")

    def _see_through(self, death: Death) -> None:
        """It is replaced, and the machine was down in the new life; or that takes too long."""
        heir = self._cast[death.number]
        down_ns = [self._down_ns(number) for number in death.whose]
        done = min(down_ns) > death.at_ns
        late = now_ns() > death.at_ns + REPLACED_LIMIT_S * 1e9
        if not done and heir.process.poll() is None and not late:
            return
        who = "the head" if death.number == HEAD else f"worker {WORKERS.index(death.number)}"
        how = " with a wake lease in its hands" if death.held else ""
        if done:
            self._took_s.append((max(down_ns) - death.at_ns) / 1e9)
            then = f"replaced, and down again {self._took_s[-1]:.2f} s after"
        else:
            self._halts += 1
            then = "and the machine was not down again"
        self._stage.note(f"{who} of the pipeline killed{how}: {then}")
        self._death = None
        self._next_s = self._stage.elapsed_s + self._stage.chance.uniform(*PAUSE_S)

    def _shown(self) -> bool:
        """Whether messages were in flight when it was asked, and what is spoilt was seen."""
        governor, head = self._cast[GOVERNOR].row, self._cast[HEAD].row
        if "loose" in self._stage.sabotage and not governor[pipeline.STRANDED]:
            return False
        if "greedy" in self._stage.sabotage and self._taken_too_many() <= 0:
            return False
        return bool(governor[pipeline.CHECKED] and head[pipeline.FLIGHT] and head[pipeline.TAKEN])

    def _taken_too_many(self) -> int:
        """How many more than one for each time it is asked, and one of each head at its birth."""
        head = self._cast[HEAD].row
        return head[pipeline.TAKEN] - head[pipeline.ASKED] - head[pipeline.LIVES]

    # -- what is shown ----------------------------------------------------------------------------

    def lines(self) -> Sequence[Line]:
        """The governor, and the pipeline as one."""
        governor, head, *workers = self._cast
        taken, asked = head.row[pipeline.TAKEN], head.row[pipeline.ASKED]
        done = sum(worker.row[pipeline.DONE] for worker in workers)
        return (
            Line(
                "governor",
                "suspends, resumes",
                governor.row[pipeline.ENTRIES],
                (governor,),
                f"{taken:,} wake leases, asked {asked:,} times",
            ),
            Line(
                "pipeline",
                "deals with messages",
                done,
                (head, *workers),
                f"{governor.row[pipeline.STRANDED]} stranded, {self._kills} killed",
            ),
        )

    # -- the end ----------------------------------------------------------------------------------

    def finish(self) -> Iterator[None]:
        """See the last death through, send no more, let the machine go down; then all leave."""
        limit = time.monotonic() + PATIENCE_S
        while self._death or (not self._kills and time.monotonic() < limit):
            self.step()
            yield
        yield from self._let_hoard()
        self._book[pipeline.CURTAIN] = 1
        if not (yield from self._rests()):
            self._left = max(1, self._cast[GOVERNOR].row[pipeline.LEASES])
        self._book[pipeline.LIVE + HEAD] = 0  # who leaves does not see to what he has sent
        for number in (HEAD, *WORKERS, GOVERNOR):
            yield from leave(self._cast[number])

    def _let_hoard(self) -> Iterator[None]:
        """Once all else was shown: a machine that is kept awake shows nothing more."""
        limit = time.monotonic() + REST_LIMIT_S * ("hoard" in self._stage.sabotage)
        while time.monotonic() < limit:
            self._book[pipeline.HOARD] = 1
            if any(self._cast[number].row[pipeline.HOARDED] for number in WORKERS):
                return
            yield

    def _rests(self) -> Generator[None, None, bool]:
        """Whether the machine goes down, and again, when the head has sent its last message."""
        governor, head = (self._cast[number].row for number in (GOVERNOR, HEAD))
        hoarded = "hoard" in self._stage.sabotage
        limit = time.monotonic() + (HOARD_LIMIT_S if hoarded else REST_LIMIT_S)
        entries = None
        while time.monotonic() < limit:
            if entries is None and head[pipeline.RESTS]:
                entries = governor[pipeline.ENTRIES] + 1  # one may be under way
            if entries is not None and governor[pipeline.ENTRIES] > entries:
                return True
            yield
        return False

    def promises(self) -> Sequence[Promise]:
        """Nothing stranded, no wake lease too many or too long, and nobody's death matters."""
        governor, head = self._cast[GOVERNOR].row, self._cast[HEAD].row
        suspends, sent = governor[pipeline.ENTRIES], head[pipeline.SENT]
        taken, flight = head[pipeline.TAKEN], head[pipeline.FLIGHT]
        each = taken / max(1, suspends)
        took = sorted(self._took_s)
        half = f"{took[len(took) // 2]:.2f} s, {took[-1]:.2f} at most" if took else "never"
        return (
            Promise(
                "stranded across suspend",
                governor[pipeline.STRANDED],
                governor[pipeline.CHECKED] if flight else 0,
                "messages",
                f"{suspends:,} suspends; {flight:,} were in flight when it was asked",
                {"suspends": suspends, "in_flight": flight, "sent": sent},
            ),
            Promise(
                "wake leases while awake",
                max(0, self._taken_too_many()),
                sent,
                "messages",
                f"{each:.2f} for each suspend; {taken:,} in all",
                {"taken": taken, "asked": head[pipeline.ASKED], "per_suspend": round(each, 3)},
            ),
            Promise(
                "wake leases left behind",
                self._left,
                taken,
                "wake leases",
                f"{self._held} in the hands of those who were killed",
                {"held_by_killed": self._held},
            ),
            Promise(
                "halt at a pipeline's death",
                self._halts,
                self._kills,
                "SIGKILLs",
                f"down again after {half}",
                {"kills": self._kills, "s_max": took[-1] if took else 0.0},
            ),
        )
