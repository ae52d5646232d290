"""Several updaters of one clock, driven at random: it passes no faster than real time.

Answers come late or never, swaps happen though their answer is lost, updaters stall and are
replaced, and the record is lost and made anew. Real time is the only time; the updaters' clocks
differ from it by an offset. After each move, everything that the clock has gained since any earlier
instant is at most the time that has passed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import StaleRecord
from holdfast.lease import Reading, global_clock
from holdfast.lease.global_clock import Advance, Look, Phase, Updater

INTERVAL_NS = 10
STEP_NS = 15


@dataclass
class Asked:
    what: Look | Advance
    done: bool = False
    answer: Reading | None = None  # None: the swap was lost


class Tooth:
    """A user: an updater, its own clock's offset, and the call under way."""

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.updater = Updater(offset, interval_ns=INTERVAL_NS)
        self.asked: Asked | None = None


class Game:
    def __init__(self, rng: random.Random, users: int, *, step: int = STEP_NS) -> None:
        self.rng = rng
        self.real = 0
        self.record = Reading(0, "era0", step)
        self.born = 0
        self.step = step
        self.users = [Tooth(rng.randrange(1000)) for _ in range(users)]
        self.history: list[tuple[int, int]] = [(0, 0)]
        self.swaps = 0
        self.written = 0
        self.overlap = False  # whether a swap has counted time that another had counted

    def reach(self, asked: Asked) -> None:
        """The call takes effect at the record."""
        asked.done = True
        if isinstance(asked.what, Look):
            asked.answer = self.record
            return
        with contextlib.suppress(StaleRecord):
            swap = global_clock.tick(self.record, asked.what.since, asked.what.elapsed_ns)
            gained = swap.now_ns - self.record.now_ns
            self.overlap = self.overlap or gained > self.real - self.written
            self.record = asked.answer = swap
            self.written = self.real
            self.swaps += 1

    def answer(self, user: Tooth, asked: Asked) -> None:
        user.asked = None
        now = self.real + user.offset
        following: Look | Advance | None = None
        if asked.answer is None:
            following = user.updater.lost()
        elif isinstance(asked.what, Look):
            following = user.updater.seen(asked.answer, now)
        else:
            user.updater.advanced(asked.answer, now)
        if following is not None:
            user.asked = Asked(following)

    def move(self) -> None:
        user = self.rng.choice(self.users)
        chance = self.rng.random()
        if chance < 0.25:
            self.real += self.rng.choice([1, 1, 3, 10, 25])
        elif chance < 0.255:
            self.born += 1
            self.record = Reading(0, f"era{self.born}", self.step)
            self.history = [(self.real, 0)]
            self.written = self.real
        elif user.asked is None:
            effect = user.updater.fire(self.real + user.offset)
            user.asked = None if effect is None else Asked(effect)
        elif chance < 0.32:  # the answer is lost, whether it took effect or not
            if self.rng.random() < 0.5 and not user.asked.done:
                self.reach(user.asked)
            user.asked = None
            user.updater.unknown(self.real + user.offset)
        elif not user.asked.done:
            self.reach(user.asked)
        else:
            self.answer(user, user.asked)
        self.history.append((self.real, self.record.now_ns))

    def too_fast(self) -> bool:
        """Whether, since any instant of this era, it gained more than real time and a step."""
        if self.overlap:
            return True
        lead = [shown - real for real, shown in self.history]
        lowest = lead[0]
        for value in lead:  # what is late now may be made up for, by a step
            if value > lowest + self.step:
                return True
            lowest = min(lowest, value)
        return False


def play(seed: int, users: int, *, step: int = STEP_NS, moves: int = 400) -> Game:
    game = Game(random.Random(seed), users, step=step)
    for _ in range(moves):
        game.move()
    return game


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_the_clock_passes_no_faster_than_real_time(seed: int, users: int) -> None:
    assert not play(seed, users).too_fast()
    assert not play(seed, users, step=10**6).too_fast()


def test_the_clock_does_pass() -> None:
    """While updaters come and go, it follows; what it loses is what nobody has counted."""
    game = play(1, 3, moves=5000)
    assert game.swaps > 50


def seen_early(updater: Updater, reading: Reading, now_ns: int) -> Advance | None:
    """As if the local clock had been read before the record was."""
    early = INTERVAL_NS if updater.phase is Phase.LOOKING else 0
    return ORIGINAL(updater, reading, now_ns - early)


def seen_in_any_era(updater: Updater, reading: Reading, now_ns: int) -> Advance | None:
    base = updater._base
    if updater.phase is Phase.CHECKING and base is not None and base.now_ns == reading.now_ns:
        updater._base = reading
    return ORIGINAL(updater, reading, now_ns)


def lost_but_kept(updater: Updater) -> Look:
    updater.kept = updater._since_ns  # type: ignore[attr-defined]
    return LOST(updater)


def stand_where_it_stood(updater: Updater, reading: Reading, now_ns: int, *, ticks: int) -> None:
    STAND(updater, reading, now_ns, ticks=ticks)
    updater._since_ns = getattr(updater, "kept", now_ns)
    updater.__dict__.pop("kept", None)


ORIGINAL = Updater.seen
LOST = Updater.lost
STAND = Updater._stand_on


def any_step(current: Reading, since: Reading, elapsed_ns: int) -> Reading:
    return dataclasses.replace(TICK(current, since, 0), now_ns=current.now_ns + elapsed_ns)


TICK = global_clock.tick

ABLATIONS: dict[str, list[tuple[str, Callable[..., object]]]] = {
    "the local clock is read before the record": [("seen", seen_early)],
    "a swap adds all of a stall": [("tick", any_step)],
    "the era is not compared": [("seen", seen_in_any_era)],
    "a loser keeps its interval": [
        ("lost", lost_but_kept),
        ("_stand_on", stand_where_it_stood),
    ],
}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_without_a_safeguard_the_clock_is_too_fast(
    ablation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, replacement in ABLATIONS[ablation]:
        monkeypatch.setattr(global_clock if name == "tick" else Updater, name, replacement)
    step = STEP_NS if ablation == "a swap adds all of a stall" else 10**6
    assert any(play(seed, 3, step=step).too_fast() for seed in range(1000))
