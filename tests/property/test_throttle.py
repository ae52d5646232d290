"""Throttled handles against the rules P1 to P7, by a clock that the test moves."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from holdfast.testing.conformance import Make
from holdfast.testing.conformance.state_throttle import SHOWING
from tests.makes import MakeCore, MakeMemory

R = 1_000_000_000
SOON_S = 20.0  # a bound for liveness, never a measure


class Broken(AssertionError):
    """A rule was broken; the first word says which."""


# -- the rules -------------------------------------------------------------------------------------


@dataclass
class Rules:
    """P1 to P7 of K56, told what happened when; it knows nothing of how a handle works."""

    interval_ns: int = 0
    newest: int = 0
    shown: int | None = None
    shown_at_ns: int | None = None  # None: no look since it is throttled

    def due(self, now_ns: int) -> bool:
        return self.shown_at_ns is None or now_ns - self.shown_at_ns >= self.interval_ns

    def throttle(self, interval_ns: int) -> None:
        """From off to on it begins anew; else the interval counts from the last change shown."""
        if self.interval_ns == 0:
            self.shown_at_ns = None
        self.interval_ns = interval_ns

    def look(self, now_ns: int, version: int) -> None:
        if version > self.newest:
            raise Broken(f"P0: {version} was shown before it was committed")
        if self.shown is None and version != self.newest:
            raise Broken(f"P2: the first look shows {version}, the newest is {self.newest}")
        if self.shown is not None and version < self.shown:
            raise Broken(f"P4: {version} after {self.shown}")
        if version != self.shown and not self.due(now_ns):
            raise Broken(f"P1: {self.shown} at {self.shown_at_ns}, {version} at {now_ns}")
        if self.due(now_ns) and version != self.newest:
            raise Broken(f"P3: {version} was shown, {self.newest} was due")
        if version != self.shown or self.shown_at_ns is None:
            self.shown, self.shown_at_ns = version, now_ns

    def changed(self, now_ns: int, said: bool) -> None:
        news = self.newest != (self.shown or 0) and self.due(now_ns)
        if said != news:
            raise Broken(f"P5: changed() is {said} where {self.newest} is newest")

    def write_transaction(self, now_ns: int, version: int) -> None:
        if version != self.newest:
            raise Broken(f"P6: a write transaction starts from {version}, not {self.newest}")
        if self.interval_ns == 0:
            self.look(now_ns, version)


# -- driving --------------------------------------------------------------------------------------


@dataclass
class Driven:
    """One handle beside the rules, and a writer."""

    make: Make
    writer: Any
    handle: Any
    rules: Rules = field(default_factory=Rules)
    now_ns: int = 0

    def commit(self, times: int) -> None:
        for _ in range(times):
            with self.writer.transaction() as txn:
                txn.data[:] = (self.rules.newest + 1).to_bytes(8, "little")
            self.rules.newest += 1

    def advance(self, elapsed_ns: int) -> None:
        self.make.advance(elapsed_ns)
        self.now_ns += elapsed_ns

    def throttle(self, interval_ns: int) -> None:
        self.handle.throttle(interval_ns / R)
        self.rules.throttle(interval_ns)

    def look(self, kind: str) -> None:
        version = int.from_bytes(SHOWING[kind](self.handle), "little")
        if kind == "transaction" and self.handle.permissions == "rw":
            self.rules.write_transaction(self.now_ns, version)
        else:
            self.rules.look(self.now_ns, version)

    def changed(self, _: object) -> None:
        self.rules.changed(self.now_ns, self.handle.changed())

    def run(self, steps: Iterable[tuple[str, Any]]) -> None:
        for what, argument in steps:
            getattr(self, what)(argument)


INTERVALS = st.sampled_from([0, R // 10, R, 3 * R])
STEPS = st.one_of(
    st.tuples(st.just("commit"), st.integers(1, 3)),
    st.tuples(st.just("advance"), st.sampled_from([1, R // 10, R // 2, R - 1, R, R + 1, 4 * R])),
    st.tuples(st.just("advance"), st.integers(0, 2 * R)),
    st.tuples(st.just("look"), st.sampled_from(sorted(SHOWING))),
    st.tuples(st.just("look"), st.sampled_from(sorted(SHOWING))),
    st.tuples(st.just("changed"), st.none()),
    st.tuples(st.just("throttle"), INTERVALS),
)


@contextmanager
def make_core() -> Iterator[Make]:
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    above = tempfile.mkdtemp(prefix="holdfast-test-", dir=base)
    make = MakeCore(Path(above) / "states", no_peer)
    try:
        yield make
    finally:
        make.close()
        shutil.rmtree(above)


def no_peer(**_: Any) -> Any:
    raise NotImplementedError


@contextmanager
def make_memory() -> Iterator[Make]:
    yield MakeMemory()


MAKES = {"core": make_core, "memory": make_memory}


def drive(make: Make, permissions: str, steps: Iterable[tuple[str, Any]]) -> None:
    namespace = make()
    writer = namespace.subscribe("s", "rw", size=8)
    Driven(make, writer, namespace.subscribe("s", permissions)).run(steps)


@pytest.mark.parametrize("implementation", MAKES)
def test_every_look_keeps_the_rules(implementation: str, full: bool) -> None:
    """K56, P1-P7: in any order of commits, looks, steps of time and changes of the interval."""

    @settings(
        max_examples=5000 if full else 400,
    )
    @given(
        permissions=st.sampled_from(["r", "rw"]),
        steps=st.lists(STEPS, max_size=60),
    )
    def run(permissions: str, steps: list[tuple[str, Any]]) -> None:
        with MAKES[implementation]() as make:
            drive(make, permissions, steps)

    run()


# -- ablations: handles that break a rule, to see that the rules find out --------------------------


class Faulty:
    """A handle whose `shows` decides which version a look shows; by default the newest."""

    permissions = "r"

    def __init__(self, driven: Driven) -> None:
        self._driven = driven
        self._interval_ns = 0
        self._shown = 0
        self._shown_at_ns: int | None = None

    def throttle(self, interval: float) -> None:
        self._interval_ns = round(interval * R)

    def due(self) -> bool:
        last = self._shown_at_ns
        return last is None or self._driven.now_ns - last >= self._interval_ns

    def read(self) -> bytes:
        newest = self._driven.rules.newest
        version = self.shows(newest)
        if version != self._shown or self._shown_at_ns is None:
            self._shown, self._shown_at_ns = version, self._driven.now_ns
        return version.to_bytes(8, "little")

    def shows(self, newest: int) -> int:
        return newest if self.due() else self._shown

    def changed(self) -> bool:
        return self._driven.rules.newest != self._shown and self.due()


class Unthrottled(Faulty):
    def shows(self, newest: int) -> int:
        return newest


class Stuck(Faulty):
    def shows(self, newest: int) -> int:
        return newest if self._shown_at_ns is None else self._shown


class Late(Faulty):
    def due(self) -> bool:
        last = self._shown_at_ns
        return last is None or self._driven.now_ns - last > self._interval_ns


class Early(Faulty):
    def due(self) -> bool:
        last = self._shown_at_ns
        return last is None or self._driven.now_ns - last >= self._interval_ns - 1


class OnAGrid(Faulty):
    def due(self) -> bool:
        last, step = self._shown_at_ns, self._interval_ns or 1
        return last is None or self._driven.now_ns // step > last // step


class FirstIsStale(Faulty):
    def shows(self, newest: int) -> int:
        return max(0, newest - 1) if self._shown_at_ns is None else super().shows(newest)


class GoesBack(Faulty):
    def shows(self, newest: int) -> int:
        shown = super().shows(newest)
        return shown if shown != self._shown or self.due() else max(0, shown - 1)


class Silent(Faulty):
    def changed(self) -> bool:
        return False


class Chatty(Faulty):
    def changed(self) -> bool:
        return self._driven.rules.newest != self._shown


def random_steps(chance: random.Random) -> list[tuple[str, Any]]:
    steps: list[tuple[str, Any]] = [("throttle", R)]
    for _ in range(60):
        steps += [
            ("commit", 1),
            ("advance", chance.choice([1, R // 2, R - 1, R])),
            ("changed", None),
            ("look", "read"),
        ]
    return steps


@pytest.mark.parametrize(
    ("faulty", "rules"),
    [
        (Faulty, set()),
        (Unthrottled, {"P1"}),
        (Early, {"P1", "P5"}),
        (OnAGrid, {"P1", "P5"}),
        (Stuck, {"P3"}),
        (Late, {"P3", "P5"}),
        (FirstIsStale, {"P2"}),
        (GoesBack, {"P4"}),
        (Silent, {"P5"}),
        (Chatty, {"P5"}),
    ],
)
def test_a_handle_that_breaks_a_rule_is_found_out(
    faulty: Callable[[Driven], Any], rules: set[str]
) -> None:
    """K56: the checker can fail: an ablation for each rule; and the sound one passes."""
    broken = set()
    for seed in range(50):
        make = MakeMemory()
        driven = Driven(make, make().subscribe("s", "rw", size=8), None)
        driven.handle = faulty(driven)
        try:
            driven.run(random_steps(random.Random(seed)))
        except Broken as error:
            broken.add(str(error)[:2])
    assert broken <= rules
    assert bool(broken) == bool(rules)
