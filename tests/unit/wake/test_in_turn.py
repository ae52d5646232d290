"""What is wanted is done in the order in which it was said, even by what is being done."""

from __future__ import annotations

import pytest

from holdfast.wake.in_turn import InTurn


def test_what_comes_of_one_waits_for_those_before_it() -> None:
    done: list[str] = []
    finished: list[bool] = []

    def do(effect: str) -> None:
        if effect == "first":
            finished.append(in_turn(["third"]))
        done.append(effect)

    in_turn = InTurn(do)
    assert in_turn(["first", "second"])
    assert done == ["first", "second", "third"]
    assert finished == [False]


def test_one_that_fails_leaves_the_others_to_the_next_call() -> None:
    done: list[str] = []

    def do(effect: str) -> None:
        if effect == "bad":
            raise RuntimeError(effect)
        done.append(effect)

    in_turn = InTurn(do)
    with pytest.raises(RuntimeError, match="bad"):
        in_turn(["bad", "second"])
    assert not in_turn.busy
    assert in_turn(["third"])
    assert done == ["second", "third"]
