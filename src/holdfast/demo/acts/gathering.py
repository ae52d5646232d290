"""Five hosts that know of each other over UDP; a lease says which of them samples.

The host that samples is killed with SIGKILL. The others hear of its death from the cluster, and
that is a hint for them to look at the lease; but the lease is the dead one's until its term is
over, and only then another one samples. By turns it is not killed but stopped with SIGSTOP, for so
long that it is declared dead as well, and then woken: it must find out that it samples no more, and
be a member again. After each such trouble all five must have the same view of who is there::

    QUIET ── kill or stop the sampler ──▶ DOWN ── all have heard, another samples ──▶ BACK
      ▲                                          a new life begins, or it is woken      │
      └────────────────── all views are whole, and the same ◀───────────────────────────┘

Nobody can tell a host that the machine keeps from its processors for seconds from a dead one. While
some host that should live is, it is noted and pardoned that a live one is called dead, and deaths
may be heard of later.

What a host sees, it notes in the tally (`hosting`). Time limits are generous: they are there to
show that something never comes. What was measured is in the table, beside the bound.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.demo import reign
from holdfast.demo.acts import hosting
from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.acts.hosting import ALL, CONFIG, HOSTS, TERM_S, now_ns
from holdfast.demo.promise import Promise
from holdfast.membership.suspicion import MOST_TIMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.stage import Player, Stage
    from holdfast.demo.tally import Row
    from holdfast.membership import Config

__all__ = ["SABOTAGE", "Gathering", "bound_s"]

PAUSE_S = (0.2, 0.6)  # between one trouble and the next
CURTAIN_S = 3.0  # as long as that before the end no trouble begins, if there were enough
ENOUGH_S = 5.0  # a play as long as that shows a death and a stop, a shorter one a death
GRACE_S = 1.0  # so long after the bound whoever has not heard will not hear
AWAY_S = 15.0  # the bound, if some host was kept from the processor meanwhile, is so much later
STRAY_LIMIT_S = 3.0  # who joins nobody is not waited for as long as others
BIRTH_LIMIT_S = 30.0

SABOTAGE = {
    "hang": "one host does not answer for a while, though nobody has killed or stopped it",
    "deafened": "two hosts do not listen to what the cluster tells",
    "trusting": "who hears that the sampler is dead samples at once, without the lease",
    "unheeded": "nobody looks at the lease, whatever he hears",
    "stray": "a host that is started again joins nobody",
}


def bound_s(config: Config, members: int) -> float:
    """Within how many seconds a member finds out by itself that another one is dead.

    Each asks all others in turn, in an order that is mixed anew in each round: the same one again
    after twice their number of questions, at worst. Whoever does not answer until the next question
    is a suspect, and down after the longest time that there is to refute.
    """
    questions = 2 * (members - 1)
    longest_ns = questions * config.probe_period_ns + MOST_TIMES * config.suspect_to_down_after_ns
    return longest_ns / 1e9


BOUND_S = bound_s(CONFIG, HOSTS)


@dataclass(slots=True)
class Trouble:
    """What was done to the sampler.

    Attributes:
        number: Which host it was.
        killed: If not, it was stopped.
        at_ns: When.
        done_ns: When that was done for certain.
        token: That of its lease; its heir's is greater.
        refused: How often it had lost a lease before.
        heir: Who sampled next; None: nobody yet.
        back_ns: When a new life began, or it was woken; 0: not yet.
    """

    number: int
    killed: bool
    at_ns: int
    done_ns: int
    token: int
    refused: int
    heir: int | None = None
    back_ns: int = 0

    @property
    def done(self) -> str:
        """What was done, in a word."""
        return "killed" if self.killed else "stopped"


class Gathering:
    """The hosts, what befalls the one that samples, and what the others make of it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rows = [stage.reserve_row() for _ in range(HOSTS)]
        self._book: Row = stage.tally.row(stage.reserve_row())  # where the hosts look for it
        self._hosts = [self._new(number) for number in range(HOSTS)]
        self._trouble: Trouble | None = None
        self._kills = self._stops = 0
        self._heard_s: list[float] = []
        self._late = 0
        self._took_s: list[float] = []
        self._halts = 0
        self._agreed_s: list[float] = []
        self._compared = self._differing = 0
        self._next_s = stage.chance.uniform(*PAUSE_S)
        self._last_s = stage.seconds - CURTAIN_S
        self._enough = 2 if stage.seconds >= ENOUGH_S else 1

    def _new(self, number: int) -> Player:
        return self._stage.start("host", row=self._rows[number], number=number)

    def players(self) -> Sequence[Player]:
        """The hosts; each is ready when it has joined the others."""
        return tuple(self._hosts)

    def begin(self) -> None:
        """Everybody is there: from now on nobody may be missing. One of them shall sample."""
        self._book[hosting.LIVE] = ALL
        for host in self._hosts:
            host.say("go")

    # -- troubles ---------------------------------------------------------------------------------

    def step(self) -> None:
        """Kill or stop the sampler, see what the others do, bring it back, see that it is back."""
        trouble, elapsed_s = self._trouble, self._stage.elapsed_s
        if trouble is not None and trouble.back_ns:
            self._see_it_back(trouble)
        elif trouble is not None:
            self._see_it_down(trouble)
        elif elapsed_s >= self._next_s and self._more():
            self._make_trouble()

    def _more(self) -> bool:
        """Whether there should be one more: if there were too few, or there is time for it."""
        return self._troubles < self._enough or self._stage.elapsed_s < self._last_s

    @property
    def _troubles(self) -> int:
        return self._kills + self._stops

    def _sampler(self, after: int = 0) -> int | None:
        """Who samples with the greatest token, if that is above `after`."""
        number = max(range(HOSTS), key=lambda i: self._hosts[i].row[reign.TOKEN])
        row = self._hosts[number].row
        return number if row[hosting.FIRST_NS] and row[reign.TOKEN] > after else None

    def _make_trouble(self) -> None:
        number = self._sampler()
        if number is None or self._differing_now() or not all(host.ready for host in self._hosts):
            return
        stand_by = [host for at, host in enumerate(self._hosts) if at != number]
        if "unheeded" in self._stage.sabotage and not all(
            host.row[hosting.STANDS] for host in stand_by
        ):
            return  # it would look at the lease for the first time
        if "hang" in self._stage.sabotage and not self._slanders():
            return  # who hangs hears of nothing
        victim = self._hosts[number]
        killed = self._kills == self._stops
        self._book[hosting.LIVE] = ALL & ~(1 << number)
        token, refused = victim.row[reign.TOKEN], victim.row[hosting.REFUSED]
        if killed:
            self._kills += 1
            at_ns = victim.kill()
        else:
            self._stops += 1
            at_ns = now_ns()
            victim.stop()
        self._trouble = Trouble(number, killed, at_ns, now_ns(), token, refused)
        self._stage.note(f"host{number}, which samples, is {self._trouble.done}", aloud=True)

    def _see_it_down(self, trouble: Trouble) -> None:
        """Everybody else hears of it, and somebody else samples; then it comes back."""
        heard_ns = [
            host.row[hosting.HEARD_NS + trouble.number]
            for number, host in enumerate(self._hosts)
            if number != trouble.number
        ]
        if trouble.heir is None:
            trouble.heir = self._sampler(trouble.token)
        bound_s = BOUND_S + AWAY_S * self._somebody_away(trouble)
        hearing_s = bound_s + GRACE_S
        unheeded = "unheeded" in self._stage.sabotage
        waited_s = (now_ns() - trouble.done_ns) / 1e9
        heard = min(heard_ns) >= trouble.at_ns or waited_s > hearing_s
        heired = trouble.heir is not None or waited_s > (
            hearing_s if unheeded else max(hearing_s, PATIENCE_S)
        )
        if not (heard and heired):
            return
        after_s = [(at - trouble.at_ns) / 1e9 for at in heard_ns if at >= trouble.at_ns]
        self._heard_s += after_s
        limit_ns = trouble.done_ns + round(bound_s * 1e9)
        self._late += sum(at < trouble.at_ns or at > limit_ns for at in heard_ns)
        self._note_fall(trouble, after_s)
        if trouble.killed:
            self._hosts[trouble.number] = self._new(trouble.number)
            self._hosts[trouble.number].say("go")
        else:
            self._hosts[trouble.number].process.send_signal(signal.SIGCONT)
        trouble.back_ns = now_ns()

    def _somebody_away(self, trouble: Trouble) -> bool:
        """Whether one of those who should hear was kept from the processor since."""
        now = now_ns()
        rows = [host.row for at, host in enumerate(self._hosts) if at != trouble.number]
        return any(hosting.away(row, now) or row[hosting.BACK_NS] > trouble.at_ns for row in rows)

    def _note_fall(self, trouble: Trouble, after_s: list[float]) -> None:
        heard = f"{len(after_s)} of {HOSTS - 1} have heard"
        if after_s:
            heard += f", {min(after_s):.2f} to {max(after_s):.2f} s after"
        heir = "nobody samples"
        if trouble.heir is None:
            self._halts += 1
        else:
            first_ns = self._hosts[trouble.heir].row[hosting.FIRST_NS]
            self._took_s.append((first_ns - trouble.at_ns) / 1e9)
            heir = f"host{trouble.heir} samples, {self._took_s[-1]:.2f} s after"
        self._stage.note(f"host{trouble.number} {trouble.done}: {heard}; {heir}", aloud=True)

    def _see_it_back(self, trouble: Trouble) -> None:
        """It is a member again, and everybody sees the same; or that takes too long."""
        host = self._hosts[trouble.number]
        up_ns = max(host.row[hosting.UP_NS], trouble.back_ns)
        limit_s = STRAY_LIMIT_S if "stray" in self._stage.sabotage else PATIENCE_S
        limit_ns = up_ns + round(limit_s * 1e9)
        if trouble.killed and up_ns == trouble.back_ns:  # the interpreter is not up yet
            limit_ns += round(BIRTH_LIMIT_S * 1e9)
        fallen = host.process.poll() is not None
        whole = host.ready and not self._differing_now()
        # Whoever was stopped must have seen that it samples no more, unless nobody else does.
        found_out = host.row[hosting.REFUSED] > trouble.refused
        found_out = found_out or trouble.killed or trouble.heir is None
        if not ((whole and found_out) or fallen) and now_ns() < limit_ns:
            return
        self._compare()
        if whole:
            last_ns = max(each.row[hosting.CHANGED_NS] for each in self._hosts)
            self._agreed_s.append(max(0, last_ns - up_ns) / 1e9)
            self._book[hosting.LIVE] = ALL
            self._stage.note(f"host{trouble.number} is back: all see the same", aloud=True)
        else:
            self._stage.note(f"host{trouble.number} is not back: views differ", aloud=True)
        self._trouble = None
        self._next_s = self._stage.elapsed_s + self._stage.chance.uniform(*PAUSE_S)

    def _differing_now(self) -> int:
        """How many of the views are not whole, or not that of the first."""
        rows = [host.row for host in self._hosts]
        return sum(
            row[hosting.VIEW] != ALL or row[hosting.PRINT] != rows[0][hosting.PRINT] for row in rows
        )

    def _compare(self) -> None:
        self._compared += HOSTS
        self._differing += self._differing_now()

    # -- what is shown ----------------------------------------------------------------------------

    def lines(self) -> Sequence[Line]:
        """Each host: what it does, and whom it sees."""
        sampler = self._sampler()
        return [self._line(number, sampler) for number in range(HOSTS)]

    def _line(self, number: int, sampler: int | None) -> Line:
        host, trouble = self._hosts[number], self._trouble
        row = host.row
        lives = [host]
        doing = "samples" if number == sampler else "stands by"
        view = row[hosting.VIEW]
        note = "sees " + " ".join(str(i) if view >> i & 1 else "-" for i in range(HOSTS))
        if trouble is not None and number != trouble.number:
            after_ns = row[hosting.HEARD_NS + trouble.number] - trouble.at_ns
            if after_ns >= 0:
                note += f", heard {after_ns / 1e9:.2f} s after"
            if number == trouble.heir:
                taken_ns = row[hosting.FIRST_NS] - trouble.at_ns
                note += f", took over {taken_ns / 1e9:.2f}"
        elif trouble is not None and trouble.back_ns:
            doing = "comes back"
            note = note if host.ready else ""
        elif trouble is not None:
            doing = f"{trouble.done} {(now_ns() - trouble.at_ns) / 1e9:.1f} s ago"
            note = "its lease is kept until its term ends" if trouble.heir is None else ""
            lives = [] if trouble.killed else lives
        return Line(f"host{number}", doing, row[hosting.SAMPLES], lives, note, group="5 hosts")

    # -- the end ----------------------------------------------------------------------------------

    def _shown(self) -> bool:
        """Whether those who were told to spoil something have done it."""
        sabotage = self._stage.sabotage
        if "trusting" in sabotage and not self._sum(hosting.OVERLAPS):
            return False
        return "hang" not in sabotage or self._slanders() > 0

    def _slanders(self) -> int:
        return self._sum(hosting.SLANDERS) + self._sum(hosting.MISSING)

    def finish(self) -> Iterator[None]:
        """See the last trouble through, make those that are missing; compare the views; leave."""
        limit = time.monotonic() + PATIENCE_S
        while self._trouble or (
            not (self._troubles >= self._enough and self._shown()) and time.monotonic() < limit
        ):
            if self._trouble:
                limit = time.monotonic() + PATIENCE_S  # for the next one to begin
            self.step()
            yield
        limit = time.monotonic() + PATIENCE_S * (not self._differing)
        while self._differing_now() and time.monotonic() < limit:
            yield
        self._compare()
        self._book[hosting.CURTAIN] = 1
        for host in self._hosts:
            host.process.send_signal(signal.SIGCONT)
        yield from leave(*self._hosts)

    def promises(self) -> Sequence[Promise]:
        """Nobody is buried alive or missed for long, and the lease's word counts."""
        told, hints, denied, received = (
            self._sum(word)
            for word in (hosting.TOLD, hosting.HINTS, hosting.DENIED, hosting.RECEIVED)
        )
        heard, took, agreed = (
            _typical(spans) for spans in (self._heard_s, self._took_s, self._agreed_s)
        )
        pardoned = self._sum(hosting.PARDONED)
        away = f"; {pardoned} when one was kept from the processor" if pardoned else ""
        return (
            Promise(
                "live hosts called dead",
                self._slanders(),
                self._sum(hosting.LOOKS),
                "looks",
                f"{told} deaths told: {self._kills} killed, {self._stops} stopped; "
                f"{received:,} datagrams{away}",
                {
                    "told": told,
                    "kills": self._kills,
                    "stops": self._stops,
                    "datagrams": received,
                    "pardoned": pardoned,
                },
            ),
            Promise(
                "deaths heard of too late",
                self._late,
                self._troubles * (HOSTS - 1),
                "survivors",
                f"heard after {heard}; by the settings {BOUND_S:g}",
                {"s_max": max(self._heard_s, default=0.0), "bound_s": BOUND_S},
            ),
            Promise(
                "two hosts sampling at once",
                self._sum(hosting.OVERLAPS),
                self._sum(hosting.CHECKS),
                "samples",
                f"{hints} looked on hearing of a death, {denied} too early, and waited",
                {"hints": hints, "denied": denied},
            ),
            Promise(
                "halt at a host's fall",
                self._halts,
                self._troubles,
                "falls",
                f"term {TERM_S:g} s; another sampled after {took}",
                {"s_max": max(self._took_s, default=0.0), "term_s": TERM_S},
            ),
            Promise(
                "views that differ",
                self._differing,
                self._compared,
                "views",
                f"the same again after {agreed}",
                {"s_max": max(self._agreed_s, default=0.0)},
            ),
        )

    def _sum(self, word: int) -> int:
        return sum(host.row[word] for host in self._hosts)


def _typical(spans_s: list[float]) -> str:
    if not spans_s:
        return "never"
    ordered = sorted(spans_s)
    return f"{ordered[len(ordered) // 2]:.2f} s, {ordered[-1]:.2f} at most"
