"""Three candidates, one lease: whoever holds it commits; some are killed, some are stopped.

Now and then the leader is killed with SIGKILL, and another one takes over when its term has run
out. Or it is stopped with SIGSTOP until another one leads, and woken again with SIGCONT: then it
stands in the middle of what it did, and believes that it still leads. Its next look at the clock
tells it otherwise, and if it does not look, the gate does: no commit of a former leader is made.

Each commit carries the fencing token of its author. It must never be smaller than the one before.
And whenever a leader has seen that it still leads, no other one may have seen the same since that
leader was elected: they note the time in the tally, and look at each other's notes.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import TYPE_CHECKING

from holdfast import lease
from holdfast.demo import reign
from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.promise import Promise
from holdfast.demo.reign import TOKEN
from holdfast.errors import ClaimDenied, Conflict, LeaseLost
from holdfast.state import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.player import Part
    from holdfast.demo.stage import Player, Stage
    from holdfast.demo.tally import Row
    from holdfast.lease import Held
    from holdfast.state import State, Transaction

__all__ = ["SABOTAGE", "Leading", "play_candidate"]

LEASE = "leader"
STATE = "led"
RECORD = struct.Struct("<2Q")  # the fencing token of the author, how many commits before it
CANDIDATES = 3
TERM_S = 0.25
PERIOD_S = 0.001
PAUSE_S = (0.2, 0.5)  # between one trouble and the next
HEIRS_LIMIT_S = 2.0  # heirs who are stopped by a saboteur are not waited for as long

SABOTAGE = {
    "usurp": "who leads no more commits once more, without the gate",
    "two": "who leads no more believes in it once more",
    "heirs": "when the leader is killed, the other candidates are stopped",
}

# Words of a candidate's row; one that takes the place of a dead one goes on in it.
COMMITS, FIRST_NS, CHECKS, OVERLAPS, STALE, REFUSED = range(reign.WORDS, reign.WORDS + 6)


def _now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


# -- the players, from inside ---------------------------------------------------------------------


def play_candidate(part: Part) -> None:
    """Wait for the lease, and lead for as long as it is held."""
    with (
        Namespace(os.path.join(part.directory, STATE)) as namespace,
        lease.open(f"local:?dir={namespace.path}") as leases,
    ):
        state = namespace.subscribe(STATE, "rw", size=RECORD.size)
        part.ready()
        part.wait_for_go()
        while part.playing():
            try:
                with leases.hold(LEASE, duration=TERM_S, wait=0.2, why="to lead") as held:
                    _lead(part, held, state)
            except ClaimDenied:
                continue


def _lead(part: Part, held: Held, state: State) -> None:
    row = part.row
    row[FIRST_NS] = 0
    others = [part.sibling(i) for i in range(CANDIDATES) if i != part.number]
    reign.begin(row, held.fencing_token, _now_ns())
    while part.playing():
        try:
            now_ns = _now_ns()
            held.check()
            row[CHECKS] += 1
            row[OVERLAPS] += reign.overlaps(row, others, now_ns)
            _commit(row, held, state)
        except LeaseLost:
            if "two" in part.sabotage:
                row[OVERLAPS] += reign.overlaps(row, others, _now_ns())
            if "usurp" in part.sabotage:
                state.transact(lambda txn: _write(row, held, txn))
            row[REFUSED] += 1
            return
        except Conflict:
            continue  # somebody has taken over; the clock will say so
        time.sleep(PERIOD_S)


def _write(row: Row, held: Held, txn: Transaction) -> None:
    token, count = RECORD.unpack(txn.data)
    row[STALE] += token > held.fencing_token
    RECORD.pack_into(txn.data, 0, held.fencing_token, count + 1)


def _commit(row: Row, held: Held, state: State) -> None:
    with state.transaction() as txn:
        held.gate(txn)
        _write(row, held, txn)
    row[COMMITS] += 1
    if not row[FIRST_NS]:
        row[FIRST_NS] = _now_ns()


# -- the act --------------------------------------------------------------------------------------


class Leading:
    """The candidates, what befalls the one that leads, and how soon another does."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rows = [stage.reserve_row() for _ in range(CANDIDATES)]
        self._candidates = [self._new(number) for number in range(CANDIDATES)]
        self._fallen: int | None = None  # whoever led until it was killed or stopped
        self._heir: int | None = None  # who led next, once that was seen; it may have lost it again
        self._fell_ns = self._led_ns = 0
        self._token = 0  # its own, which the next leader's must exceed
        self._refused = 0  # how often it had been refused before
        self._woken = False
        self._stops = self._kills = self._halts = 0
        self._took_ms: list[float] = []
        self._next_s = stage.chance.uniform(*PAUSE_S)

    def _new(self, number: int) -> Player:
        return self._stage.start("candidate", row=self._rows[number], number=number)

    def players(self) -> Sequence[Player]:
        """The candidates."""
        return tuple(self._candidates)

    def begin(self) -> None:
        """Open the election."""
        for candidate in self._candidates:
            candidate.say("go")

    def _leader(self) -> int | None:
        """Who has the greatest token, and has committed with it."""
        rows = [candidate.row for candidate in self._candidates]
        number = max(range(CANDIDATES), key=lambda i: rows[i][TOKEN])
        return number if rows[number][FIRST_NS] and rows[number][TOKEN] > self._token else None

    def step(self) -> None:
        """Kill or stop the leader by turns, and see another one lead."""
        if self._fallen is not None:
            self._see_through(self._fallen)
        elif self._stage.elapsed_s >= self._next_s:
            self._trouble()

    def _trouble(self) -> None:
        leader = self._leader()
        if leader is None or not all(candidate.ready for candidate in self._candidates):
            return
        victim = self._candidates[leader]
        to_be_killed = self._stops > self._kills
        if to_be_killed and "heirs" in self._stage.sabotage and not self._alone(leader):
            return
        self._token = victim.row[TOKEN]
        self._refused = victim.row[REFUSED]
        self._woken = to_be_killed  # the dead are not woken
        self._fallen, self._heir = leader, None
        self._fell_ns = _now_ns()
        if to_be_killed:
            self._kills += 1
            victim.kill()
        else:
            self._stops += 1
            victim.process.send_signal(signal.SIGSTOP)

    def _alone(self, leader: int) -> bool:
        """Stop the other candidates: first, else one of them may lead by the time of the death."""
        others = [other for at, other in enumerate(self._candidates) if at != leader]
        for other in others:
            other.stop()
        if self._leader() == leader:
            return True
        for other in others:  # one of them has led by then
            other.process.send_signal(signal.SIGCONT)
        return False

    def _see_through(self, fallen: int) -> None:
        """Another one leads; then the one that fell is replaced, or is woken and finds out."""
        victim = self._candidates[fallen]
        heirless = "heirs" in self._stage.sabotage and not victim.expected_to_live
        limit_s = HEIRS_LIMIT_S if heirless else PATIENCE_S
        late = _now_ns() > self._fell_ns + limit_s * 1e9
        leader = self._leader()
        if self._heir is None and leader is not None and leader != fallen:
            self._heir = leader
            self._led_ns = self._candidates[leader].row[FIRST_NS] or _now_ns()
        if not late and self._heir is None:
            return
        if not late and not self._woken:
            victim.process.send_signal(signal.SIGCONT)
            self._woken = True
        if not late and victim.expected_to_live and victim.row[REFUSED] == self._refused:
            return
        self._note(fallen, late=late)
        if not victim.expected_to_live:
            self._candidates[fallen] = self._new(fallen)
            self._candidates[fallen].say("go")
        self._fallen = None
        self._next_s = self._stage.elapsed_s + self._stage.chance.uniform(*PAUSE_S)

    def _note(self, fallen: int, *, late: bool) -> None:
        what = "stopped" if self._candidates[fallen].expected_to_live else "killed"
        if self._heir is None:
            self._halts += 1
            self._stage.note(f"leader {fallen} {what}, and nobody took over")
            return
        took_ms = max(0, self._led_ns - self._fell_ns) / 1e6
        self._took_ms.append(took_ms)
        then = "" if what == "killed" else ", and has found out" * (not late)
        self._stage.note(f"leader {fallen} {what}; {self._heir} led {took_ms:.0f} ms later{then}")

    def lines(self) -> Sequence[Line]:
        """All candidates in one."""
        commits = sum(candidate.row[COMMITS] for candidate in self._candidates)
        token = max(candidate.row[TOKEN] for candidate in self._candidates)
        note = f"token {token:,}, {self._kills} killed, {self._stops} stopped"
        return (Line(f"{CANDIDATES} candidates", "lead by turns", commits, self._candidates, note),)

    def _shown(self) -> bool:
        """Whether those who were told to spoil something have done it."""
        deeds = {"usurp": STALE, "two": OVERLAPS}
        return all(
            any(candidate.row[word] for candidate in self._candidates)
            for sabotage, word in deeds.items()
            if sabotage in self._stage.sabotage
        )

    def finish(self) -> Iterator[None]:
        """See the last trouble through; however short the play, one is stopped and one killed."""
        limit = time.monotonic() + PATIENCE_S
        while self._fallen is not None or (
            not (self._kills and self._shown()) and time.monotonic() < limit
        ):
            if self._fallen is not None:
                limit = time.monotonic() + PATIENCE_S  # for the next one to begin
            self.step()
            yield
        for candidate in self._candidates:
            candidate.process.send_signal(signal.SIGCONT)  # whom the saboteur has stopped
        yield from leave(*self._candidates)

    def promises(self) -> Sequence[Promise]:
        """One leader at a time, and no commit of a leader of yesterday."""
        rows = [candidate.row for candidate in self._candidates]
        commits, checks = (sum(row[word] for row in rows) for word in (COMMITS, CHECKS))
        refused = sum(row[REFUSED] for row in rows)
        took = sorted(self._took_ms)
        half = f"{took[len(took) // 2]:.0f} ms, {took[-1]:.0f} at most" if took else "never"
        return (
            Promise(
                "two leaders at once",
                sum(row[OVERLAPS] for row in rows),
                checks,
                "looks",
                f"{len(took) + 1} leaders; {self._stops} were stopped and woken too late",
                {"checks": checks, "stops": self._stops},
            ),
            Promise(
                "commits of a former leader",
                sum(row[STALE] for row in rows),
                commits if refused else 0,
                "commits",
                f"gated by the lease; {refused} former leaders were refused",
                {"commits": commits, "refused": refused},
            ),
            Promise(
                "halt at a leader's fall",
                self._halts,
                self._kills + self._stops,
                "falls",
                f"term {TERM_S * 1e3:.0f} ms; another led after {half}",
                {"kills": self._kills, "stops": self._stops, "ms_max": took[-1] if took else 0.0},
            ),
        )
