"""What becomes of samples: the arithmetic of the benchmarks."""

from __future__ import annotations

import pytest

from benchmarks.measure import Contender, Loop, Measurement, Plan, Statement, compare, measure
from benchmarks.results import Answer, Bar


def measurement(name: str, *rounds: list[float]) -> Measurement:
    return Measurement(name, "pass", 1, list(rounds))


def test_every_pass_runs_every_copy_with_the_payloads_by_turns() -> None:
    seen: list[str] = []
    statement = Statement("seen.append(payload)", {"seen": seen}, ("a", "b"))
    Loop(statement, copies=4)(3)
    assert seen == ["a", "b"] * 6


def test_statements_of_several_lines_are_kept_whole() -> None:
    seen: list[int] = []
    text = "with context:\n    for number in range(2):\n        seen.append(number)"
    names = {"seen": seen, "context": pytest.MonkeyPatch.context(), "range": range}
    Loop(Statement(text, names), copies=1)(1)
    assert seen == [0, 1]


def test_contenders_take_turns_and_all_rounds_are_kept() -> None:
    order: list[str] = []
    contenders = [
        Contender(name, Statement("order.append(name)", {"order": order, "name": name}))
        for name in ("ours", "peer")
    ]
    found = measure(contenders, Plan(rounds=3, turn=2, sample_ns=1))
    assert [m.name for m in found] == ["ours", "peer"]
    assert all([len(samples) for samples in m.rounds] == [2, 2, 2] for m in found)
    assert order[-1] == "peer"  # the third round begins with the first again


def test_quantiles() -> None:
    found = measurement("x", [3, 1, 2, 10], [4, 5, 6, 7, 8, 9])
    assert found.minimum_ns == 1
    assert found.median_ns == 5.5
    assert found.p90_ns == 9
    assert found.maximum_ns == 10


def test_a_ratio_is_of_rounds_not_of_the_whole() -> None:
    # The machine was ten times slower in the last two rounds: for both.
    ours = measurement("ours", [1, 1], [10, 10], [10, 10])
    peer = measurement("peer", [3, 3], [30, 30], [30, 30])
    ratio = compare(ours, peer)
    assert (ratio.low, ratio.median, ratio.high) == (3, 3, 3)


@pytest.mark.parametrize(
    ("factor", "reached", "words"),
    [
        (2.9, True, "3.00x faster (3.00 to 3.00)"),
        (3.1, False, "3.00x faster (3.00 to 3.00)"),
        (1 / 1.5, True, "0.33x as long (0.33 to 0.33)"),
    ],
)
def test_bars(factor: float, reached: bool, words: str) -> None:
    answer = Answer("q", "q", "", [measurement("ours", [2.0]), measurement("peer", [6.0])])
    verdict = Bar(1, "…", "q", "peer", factor).judge([answer])
    assert verdict.reached is reached
    assert verdict.measured == words


def test_a_bar_that_was_not_measured() -> None:
    answer = Answer("q", "q", "", [measurement("ours", [2.0])])
    verdict = Bar(1, "…", "q", "peer", 2.0).judge([answer])
    assert verdict.reached is None
    assert verdict.word == "not measured"
