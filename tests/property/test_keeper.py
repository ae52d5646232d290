"""Any sequence of answers and times: the keeper never believes more than the store has promised.

What the store has promised is kept beside it: the last instant of every yes, counted from before
its call. Time only goes forward; answers come late, never, or after the end.
"""

from __future__ import annotations

from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from holdfast.lease import Record
from holdfast.lease.keeper import DRIFT_PPM, ENDED, Keeper, Phase, Renew, deadline_of

START = 1_000
RENEWS: list[Renew] = ["auto", "progress", None]
WORDS = ["begin", "yes", "no", "unknown", "expire", "progress", "release"]
# A refusal and a release end everything: rarer, so that there is something to end.
STEPS = st.lists(
    st.tuples(st.sampled_from(WORDS[:2] * 6 + WORDS[3:6] * 4 + WORDS), st.integers(0, 4_000)),
    max_size=60,
)


@given(st.sampled_from(RENEWS), st.integers(1, 10_000), STEPS, st.integers(0, 9))
def test_the_keeper_never_believes_more_than_was_promised(
    renew: Renew, duration_ns: int, steps: list[tuple[str, int]], seed: int
) -> None:
    record = Record("n", "h", 1, 0, duration_ns, "w", "e")
    keeper, rng = Keeper(record, START, duration_ns, renew), Random(seed)
    now_ns, asked_ns, promised_ns = START, START, START + duration_ns
    for word, passed_ns in steps:
        now_ns += passed_ns
        before = (keeper.phase, keeper.deadline_ns, keeper.due_ns, keeper.record)
        match word:
            case "begin":
                if keeper.begin(now_ns):
                    assert before[2] is not None
                    assert now_ns >= before[2]
                    assert now_ns < before[1]
                    asked_ns = now_ns
            case "yes" if keeper.phase is not Phase.HELD:
                if not keeper.over:
                    promised_ns = max(promised_ns, asked_ns + duration_ns)
                keeper.renewed(Record("n", "h", 1, asked_ns, duration_ns, "w", "e"), asked_ns)
            case "no":
                keeper.refused("no")
            case "unknown" if keeper.phase is not Phase.HELD:
                keeper.unanswered(now_ns, rng, "away")
                assert keeper.deadline_ns == before[1]
            case "expire":
                assert keeper.expire(now_ns) == (now_ns >= before[1] >= 0)
            case "progress":
                keeper.progress()
            case "release":
                assert keeper.release() == (before[0] not in ENDED)
        assert keeper.deadline_ns <= promised_ns
        assert keeper.over == (keeper.phase in ENDED) == (keeper.deadline_ns < 0)
        assert keeper.over == bool(keeper.ending)
        if before[0] in ENDED:
            assert (keeper.phase, keeper.deadline_ns, keeper.due_ns, keeper.record) == before
        elif not keeper.over:
            assert keeper.deadline_ns >= before[1]
        if keeper.over or keeper.phase is Phase.RENEWING:
            assert keeper.due_ns is None
        if renew == "auto" and keeper.phase is Phase.HELD:
            assert keeper.due_ns is not None  # it is never forgotten


@given(st.integers(1, 10**12), st.integers(0, DRIFT_PPM))
def test_a_clock_as_slow_as_it_may_be_stops_believing_in_time(duration_ns: int, ppm: int) -> None:
    """In true time, and to the nanosecond; what the clock shows is rounded down."""
    deadline_ns = deadline_of(0, duration_ns)
    rate = 1 - Fraction(ppm, 1_000_000)
    # The clock shows floor(true * rate), so it shows the deadline from this true instant on.
    assert Fraction(deadline_ns) / rate <= duration_ns
