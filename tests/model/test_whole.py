"""With every safeguard in place, no state of the protocol breaks an invariant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model import bell, table
from tests.model.cases import WHOLE, Whole
from tests.model.explorer import Explorer, explore
from tests.model.memory import Buffered, Weak
from tests.model.safeguards import CORE

pytestmark = pytest.mark.timeout(600)  # much to reckon, for machines that have much else to do


def label(case: Whole) -> str:
    return f"{case.title}, {case.memory.name}"


@pytest.mark.parametrize("case", [case for case in WHOLE if not case.long], ids=label)
def test_the_protocol_holds_in_every_state(case: Whole) -> None:
    report = case.run()
    assert report.violation is None, str(report)
    assert report.exhausted
    assert report.endings > 0
    assert table.recorded(case.title, case.memory.name) == pytest.approx(report.states, rel=0.3)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("case", [case for case in WHOLE if case.long], ids=label)
def test_the_protocol_holds_in_every_state_of_larger_sizes(case: Whole, *, full: bool) -> None:
    if not full:
        pytest.skip("with --full")
    test_the_protocol_holds_in_every_state(case)


def test_everybody_can_succeed_and_can_fail() -> None:
    """The scenarios are not empty: both ways out of a race are taken."""
    report = next(case for case in WHOLE if case.title.startswith("1 + 1 commits")).run()
    assert report.results["writer 1"] == report.results["writer 2"] == {"ok", "conflict"}


def test_c11_needs_the_fence_of_the_waiter() -> None:
    """The waiter's load of head only acquires: by the letter it may pass the raising of `wanted`.

    x86-64 makes the read-modify-write a full barrier; the fence between the two is for the letter,
    and for machines that go by it.
    """
    for bare in (
        bell.scenario("without the fence", 1, fenced=False),
        bell.joint_scenario("without the fence", fenced=False),
    ):
        found = explore(bare, Weak())
        assert found.violation is not None
        assert found.violation.invariant == "bell"
        assert explore(bare, Buffered()).violation is None
    for scenario in (
        bell.scenario("with the fence", 1),
        bell.scenario("with the fence", 2),
        bell.joint_scenario("with the fence"),
    ):
        mended = explore(scenario, Weak())
        assert mended.violation is None, str(mended)
        assert mended.exhausted


def test_the_code_has_the_fence(project: Path) -> None:
    want = (project / CORE / "commit.c").read_text().split("void hf_want(")[1].split("\n}")[0]
    assert want.index("atomic_fetch_add_explicit") < want.index("order_want_before_look();")
    fence = (project / CORE / "race.h").read_text().split("order_want_before_look(void) {\n")[1]
    assert "atomic_thread_fence(memory_order_seq_cst);" in fence.split("\n}")[0]


@pytest.mark.parametrize("case", [WHOLE[0], WHOLE[15], WHOLE[16]], ids=label)
def test_variables_are_the_whole_state_of_an_actor(case: Whole) -> None:
    explorer = Explorer(case.build(case.title), case.memory())
    explorer.run()
    merged = sum(len(automaton.merged) for automaton in explorer.automata)
    assert merged > 0
    assert [automaton.contradictions() for automaton in explorer.automata] == [[]] * len(
        explorer.automata
    )
