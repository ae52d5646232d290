"""One process writes what this host does, a thousand times a second; others read it.

* The *sampler* commits a record of the counters in ``/proc``. Another one stands by.
* The *reader* reads at will, as often as it can.
* The *watcher* sleeps on the descriptor and looks whenever it is woken.

Now and then the sampler is killed with SIGKILL and the one that stood by takes over. It cleans up
nothing: it subscribed before, and simply commits. Nobody tells the reader and the watcher.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING

from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.promise import Promise
from holdfast.demo.sample import SIZE, Host, Sample, Torn
from holdfast.demo.tally import note_delay, typical_delay

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.player import Part
    from holdfast.demo.stage import Player, Stage
    from holdfast.demo.tally import Row

__all__ = ["SABOTAGE", "Sampling", "play_reader", "play_sampler", "play_watcher"]

STATE = "host.proc"
PERIOD_S = 0.001
SILENCE_MS = 500  # longer than this without a notice is looked into
# Whoever is killed before it could ring is closed by the kernel within a second; one that lives may
# be kept from the processor amid its commit.
GRACE_MS = round(PATIENCE_S * 1000)
DEAF_GRACE_MS = 1000  # who is deaf need not be waited for as long
HEIRLESS_LIMIT_S = 3.0  # nor an heir who is told nothing
DEATHS_MAX = 40

SABOTAGE = {
    "torn": "some records are committed half by half",
    "back": "the reader is now and then shown an older record again",
    "deaf": "the watcher does not wait on its descriptor, until it has missed something",
    "heirless": "whoever stands by for the sampler is never told to go on",
}

# Words of a sampler's row, and of those who read.
COMMITS, FIRST_NS, STARTED = range(3)
READS, TORN, BACK, VERSIONS, GENERATION, WAKES, LOST, EMPTY, NEWEST, TOLD = range(10)


# -- the players, from inside ---------------------------------------------------------------------


def play_sampler(part: Part) -> None:
    """Commit the host's counters at a steady pace, from the word "go" on."""
    state = part.namespace.subscribe(STATE, "rw", size=SIZE)
    host = Host()
    pid = os.getpid()
    row = part.row
    part.ready()
    part.wait_for_go()
    due = time.monotonic()
    while part.playing():
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        with state.transaction() as txn:
            record = host.sample(txn.version + 1, part.number, pid, now_ns).pack()
            if "torn" in part.sabotage and not txn.version % 5:
                record = record[: SIZE // 2] + bytes(txn.data[SIZE // 2 :])
            txn.data[:] = record
        row[COMMITS] += 1
        if not row[FIRST_NS]:
            row[FIRST_NS] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        due += PERIOD_S
        left = due - time.monotonic()
        if left > 0:
            time.sleep(left)
        elif left < -0.1:
            due = time.monotonic()  # held up for long: what was missed is not made up for


class Judge:
    """Looks at record after record, as one consumer sees them."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._last = 0

    def judge(self, data: bytes) -> Sample | None:
        """Count what is wrong with a record; the record, if it is whole."""
        row = self._row
        try:
            sample = Sample.unpack(data)
        except Torn:
            row[TORN] += 1
            return None
        row[BACK] += sample.sequence < self._last
        self._last = sample.sequence
        row[VERSIONS] += 1
        row[GENERATION] = sample.generation
        row[NEWEST] = sample.sequence
        return sample


def play_reader(part: Part) -> None:
    """Read as often as one process can."""
    os.nice(5)  # it would read all day: those who have something to do go first
    state = part.namespace.subscribe(STATE)
    row = part.row
    judge = Judge(row)
    part.ready()
    while part.playing() and not state.written:
        time.sleep(0.001)  # not wait(): a handle with a descriptor reads more slowly
    last = older = b""
    while part.playing():
        for _ in range(500):
            data = state.read()
            if data == last:
                continue  # the same bytes again: nothing new to judge
            if "back" in part.sabotage and older and not row[VERSIONS] % 3:
                judge.judge(older)
            judge.judge(data)
            older, last = last, data
        row[READS] += 500


def play_watcher(part: Part) -> None:
    """Sleep until there is something new, look, and note how long ago it was committed."""
    state = part.namespace.subscribe(STATE)
    row = part.row
    judge = Judge(row)
    deaf = "deaf" in part.sabotage
    grace_ms = DEAF_GRACE_MS if deaf else GRACE_MS
    poll = select.poll()
    poll.register(state.fileno(), 0 if deaf else select.POLLIN)
    part.ready()
    seen = 0
    while part.playing():
        if not poll.poll(SILENCE_MS):
            # Asking for the version is no look: it changes nothing about the descriptor.
            if state.version > seen and not poll.poll(grace_ms):
                row[LOST] += 1
                seen = state.version
                poll.modify(state.fileno(), select.POLLIN)  # who was deaf listens from now on
            continue
        row[WAKES] += 1
        if not state.changed():
            row[EMPTY] += 1  # allowed: woken for nothing
            state.read()
            continue
        snapshot = state.snapshot()
        note_delay(row, time.clock_gettime_ns(time.CLOCK_BOOTTIME) - snapshot.time_ns)
        row[BACK] += snapshot.version < seen
        row[TOLD] = seen = snapshot.version
        row[READS] += 1
        if judge.judge(snapshot.data) is not None:
            # The number in the bytes is that of the version: nobody's bytes under another's number.
            row[TORN] += row[NEWEST] != seen


# -- the act --------------------------------------------------------------------------------------


class Sampling:
    """One writer at a time, its successors, and two who read."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        # Made here with its size, whoever of the players comes first.
        self._state = stage.namespace.subscribe(STATE, "rw", size=SIZE)
        self._samplers: list[Player] = []
        self._sampler = self._new_sampler()
        self._standby = self._new_sampler()
        self._reader = stage.start("reader")
        self._watcher = stage.start("watcher")
        deaths = max(1, min(DEATHS_MAX, int(stage.seconds / 2)))
        self._due = [
            (i + 1 + stage.chance.uniform(-0.2, 0.2)) * stage.seconds / (deaths + 1)
            for i in range(deaths)
        ]
        self._killed_ns = 0  # when the last one died, until its successor is seen by both
        self._deaths = 0
        self._survived = 0
        self._hand_overs_ms: list[float] = []
        heirless = "heirless" in stage.sabotage
        self._succession_limit_s = HEIRLESS_LIMIT_S if heirless else PATIENCE_S

    def _new_sampler(self) -> Player:
        self._samplers.append(self._stage.start("sampler", number=len(self._samplers)))
        return self._samplers[-1]

    def players(self) -> Sequence[Player]:
        """All four; the one that stands by is told to go later."""
        return (self._reader, self._watcher, self._standby, self._sampler)

    def begin(self) -> None:
        """Let the first sampler begin."""
        self._sampler.say("go")

    def step(self) -> None:
        """Kill the sampler when its time has come, and see its successor at work."""
        if self._killed_ns:
            self._see_successor()
        elif self._due and self._stage.elapsed_s >= self._due[0] and self._standby.ready:
            if not all(who.row[VERSIONS] for who in (self._reader, self._watcher)):
                return  # nobody else may come to show them something
            self._due.pop(0)
            self._kill()

    def _kill(self) -> None:
        self._killed_ns = self._sampler.kill()
        self._deaths += 1
        self._sampler = self._standby
        if "heirless" not in self._stage.sabotage:
            self._sampler.say("go")

    def _see_successor(self) -> None:
        """Whether the new sampler has committed, and reader and watcher have seen it."""
        first_ns = self._sampler.row[FIRST_NS]
        seen = (self._reader.row[GENERATION], self._watcher.row[GENERATION])
        if first_ns and set(seen) == {len(self._samplers) - 1}:
            took_ms = (first_ns - self._killed_ns) / 1e6
            self._survived += 1
            self._hand_overs_ms.append(took_ms)
            self._stage.note(
                f"sampler killed; {self._sampler.pid} committed {took_ms:.1f} ms later"
            )
        elif time.clock_gettime_ns(time.CLOCK_BOOTTIME) < (
            self._killed_ns + self._succession_limit_s * 1e9
        ):
            return
        else:
            self._stage.note("sampler killed, and nobody has seen its successor")
        self._killed_ns = 0
        self._standby = self._new_sampler()

    def lines(self) -> Sequence[Line]:
        """Writer, reader, watcher."""
        load = "-"
        if self._state.written:
            with contextlib.suppress(Torn):  # the readers will say so
                load = f"{Sample.unpack(self._state.read()).load[0]:.2f}"
        note = f"version {self._state.version:,}, load {load}, {self._deaths} killed"
        reader, watcher = self._reader.row, self._watcher.row
        commits = sum(player.row[COMMITS] for player in self._samplers)
        return (
            Line("sampler", "commits /proc", commits, (self._sampler,), note),
            Line("reader", "reads at will", reader[READS], (self._reader,), _verdict(reader)),
            Line("watcher", "reads on change", watcher[READS], (self._watcher,), _verdict(watcher)),
        )

    def _shown(self) -> bool:
        """Whether somebody has seen what was spoilt."""
        seen = {"torn": TORN, "back": BACK}
        rows = (self._reader.row, self._watcher.row)
        return all(
            any(row[word] for row in rows)
            for sabotage, word in seen.items()
            if sabotage in self._stage.sabotage
        )

    def finish(self) -> Iterator[None]:
        """First the writer, of which one is killed, however short the play.

        The others must have its last version before they stop.
        """
        limit = time.monotonic() + PATIENCE_S
        while self._killed_ns or (
            not (self._deaths and self._shown()) and time.monotonic() < limit
        ):
            self.step()
            yield
        yield from leave(self._sampler, self._standby)
        newest = self._state.version
        limit = time.monotonic() + PATIENCE_S
        while self._watcher.row[TOLD] < newest and time.monotonic() < limit:
            yield
        untold = self._watcher.row[TOLD] < newest
        yield from leave(self._watcher, self._reader)
        self._watcher.row[LOST] += untold

    def promises(self) -> Sequence[Promise]:
        """Torn reads, versions that go back, lost wake-ups, deaths that stop somebody."""
        reader, watcher = self._reader.row, self._watcher.row
        reads = reader[READS] + watcher[READS]
        versions = self._state.version
        commits = sum(player.row[COMMITS] for player in self._samplers)
        took = sorted(self._hand_overs_ms)
        hand_over = f"{took[len(took) // 2]:.1f} ms, {took[-1]:.1f} at most" if took else "never"
        return (
            Promise(
                "torn reads",
                reader[TORN] + watcher[TORN],
                reads,
                "reads",
                f"{SIZE} bytes and a checksum; {reader[VERSIONS]:,} versions seen",
                {"versions": versions, "commits": commits, "record_bytes": SIZE},
            ),
            Promise(
                "versions going back",
                reader[BACK] + watcher[BACK],
                reader[VERSIONS] + watcher[VERSIONS],
                "versions",
                f"of {versions:,} that were committed",
                {"versions": versions},
            ),
            Promise(
                "lost wake-ups, in a stream",
                watcher[LOST],
                watcher[WAKES],
                "wake-ups",
                f"half within {typical_delay(watcher)}; the last version was told",
                {"empty": watcher[EMPTY], "versions_told": watcher[READS]},
            ),
            Promise(
                "halt at a sampler's death",
                self._deaths - self._survived,
                self._deaths,
                "SIGKILLs",
                f"next commit after {hand_over}",
                {"hand_over_ms_max": took[-1] if took else 0.0},
            ),
        )


def _verdict(row: Row) -> str:
    return f"{row[TORN]} torn, {row[BACK]} back, {row[LOST]} wake-ups lost"
