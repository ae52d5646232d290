"""Generators as processes of a node."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import pytest

from holdfast.testing.world import Killed, Later, Livelock, Process, Sleep, World

SECOND = 1_000_000_000


def test_what_the_interpreter_returns_is_sent_and_what_it_raises_is_thrown() -> None:
    world = World(1)
    heard: list[object] = []

    def script() -> Generator[Any, Any, str]:
        heard.append((yield 20))
        try:
            yield 0
        except ZeroDivisionError:
            heard.append("no")
        return "the end"

    process = world.node("a").spawn(script(), lambda effect: 100 // effect)
    assert heard == []  # not before the world runs
    world.run()
    assert (heard, process.done.result(), process.alive) == ([5, "no"], "the end", False)
    assert world.node("a").processes == {}


def test_what_is_not_known_yet_is_sent_when_it_is() -> None:
    world = World(1)
    answer: Later[str] = Later("an answer")
    heard: list[object] = []

    def script() -> Generator[Any, Any, None]:
        heard.append((yield "ask"))
        heard.append(world.now_ns)

    process = world.node("a").spawn(script(), lambda _: answer, name="asker")
    world.run(SECOND)
    assert process.waits_for == "ask: an answer"
    world.after(SECOND, lambda: answer.resolve("yes"))
    world.run()
    assert heard[0] == "yes"
    assert 2 * SECOND <= int(str(heard[1])) < 3 * SECOND


def test_what_fails_later_is_thrown() -> None:
    world = World(1)
    answer: Later[str] = Later()

    def script() -> Generator[Any, Any, str]:
        try:
            yield answer
        except OSError as error:
            return str(error)
        return "not raised"

    process = world.node("a").spawn(script())
    world.after(SECOND, lambda: answer.fail(OSError("gone")))
    world.run()
    assert process.done.result() == "gone"


def test_the_first_who_settles_wins() -> None:
    later: Later[int] = Later()
    assert not later.settled
    assert later.resolve(1)
    assert not later.resolve(2)
    assert not later.fail(OSError())
    heard: list[int] = []
    later.then(lambda one: heard.append(one.result()))
    assert heard == [1]


def test_sleep_is_understood_from_the_script_and_from_its_interpreter() -> None:
    world = World(1)
    whens: list[int] = []

    def script() -> Generator[Any, Any, None]:
        for effect in (Sleep(SECOND), "nap"):
            assert (yield effect) is None
            whens.append(world.now_ns // SECOND)

    world.node("a").spawn(script(), lambda _: Sleep(2 * SECOND))
    world.run()
    assert whens == [1, 3]


def test_a_script_can_wait_for_another_and_for_a_while() -> None:
    world = World(1)
    node = world.node("a")

    def slow() -> Generator[Any, Any, str]:
        yield Sleep(10 * SECOND)
        return "slow"

    def waits(process: Process, patience_ns: int) -> Generator[Any, Any, object]:
        return (yield node.within(process.done, patience_ns, otherwise="late"))

    process = node.spawn(slow())
    short = node.spawn(waits(process, SECOND))
    long = node.spawn(waits(process, 20 * SECOND))
    world.run(11 * SECOND)
    assert (short.done.result(), long.done.result()) == ("late", "slow")
    assert len(node.timers) == 0


def test_an_error_that_nobody_expects_fails_the_run() -> None:
    world = World(1)

    def script() -> Generator[Any, Any, None]:
        yield Sleep(SECOND)
        raise OSError("oh")

    world.node("a").spawn(script(), name="s")
    with pytest.raises(OSError, match="oh") as caught:
        world.run()
    assert caught.value.__notes__[0].startswith("in s on a at 10000")


def test_an_error_that_is_expected_ends_the_script_alone() -> None:
    world = World(1)

    def script() -> Generator[Any, Any, None]:
        yield Sleep(SECOND)
        raise OSError("oh")

    process = world.node("a").spawn(script(), expected=(OSError,))
    world.run()
    assert isinstance(process.done.error, OSError)


def test_an_effect_without_an_interpreter_is_thrown_back() -> None:
    world = World(1)

    def script() -> Generator[Any, Any, None]:
        yield "what?"

    world.node("a").spawn(script())
    with pytest.raises(TypeError, match="nobody interprets"):
        world.run()


def test_a_script_that_never_waits_is_noticed() -> None:
    world = World(1)

    def script() -> Generator[Any, Any, None]:
        while True:
            yield "again"

    world.node("a").spawn(script(), lambda _: None)
    with pytest.raises(Livelock):
        world.run()


def test_the_dead_do_not_act() -> None:
    """A script that is killed with its node must not do what it would do at its end."""
    world = World(1)
    node = world.node("a")
    done: list[str] = []

    def script() -> Generator[Any, Any, None]:
        try:
            yield Sleep(10 * SECOND)
        finally:
            yield "release"
            done.append("released")

    process = node.spawn(script(), done.append, name="s")
    world.run(SECOND)
    node.crash()
    world.run()
    assert (done, process.alive) == ([], False)
    assert isinstance(process.done.error, Killed)


def test_a_script_that_cannot_be_killed_is_noticed() -> None:
    world = World(1)
    node = world.node("a")
    stop = False

    def script() -> Generator[Any, Any, None]:
        while not stop:
            with contextlib.suppress(GeneratorExit):
                yield Sleep(SECOND)

    process = node.spawn(script())
    world.run(SECOND)
    with pytest.raises(Livelock, match="cannot be killed"):
        node.crash()
    stop = True  # the interpreter closes it once more
    assert not process.alive


def test_what_a_dying_script_raises_is_of_no_account() -> None:
    world = World(1)
    node = world.node("a")

    def script() -> Generator[Any, Any, None]:
        try:
            yield Sleep(SECOND)
        finally:
            raise OSError("at the end")

    node.spawn(script())
    world.run(SECOND // 2)
    node.crash()
    assert any("says OSError" in line for line in world.trace.lines)


def test_an_answer_that_comes_after_the_crash_goes_nowhere() -> None:
    world = World(1)
    node = world.node("a")
    answer: Later[str] = Later()
    heard: list[object] = []

    def script() -> Generator[Any, Any, None]:
        heard.append((yield answer))

    node.start(lambda node: node.spawn(script()) if node.life == 0 else None)
    world.run(SECOND)
    node.crash()
    node.restart()
    answer.resolve("late")
    world.run()
    assert heard == []


@pytest.mark.parametrize("how", ["in its code", "in its interpreter", "and be answered at once"])
def test_a_script_may_crash_its_own_node(how: str) -> None:
    world = World(1)
    node = world.node("a")
    after: list[str] = []

    def script() -> Generator[Any, Any, None]:
        yield Sleep(SECOND)
        if how == "in its code":
            node.crash()
        yield "crash"
        after.append("went on")

    def interpret(effect: str) -> Sleep | None:
        if how == "in its code":
            after.append("was heard when it was dead")
        node.crash()
        return Sleep(SECOND) if how == "in its interpreter" else None

    process = node.spawn(script(), interpret, name="s")
    world.run()
    assert (after, node.crashed, process.alive) == ([], True, False)
    assert world.trace.lines[-1].endswith(" a s killed")


def test_a_script_that_was_killed_stays_dead() -> None:
    world = World(1)
    answer: Later[str] = Later()

    def script() -> Generator[Any, Any, None]:
        yield answer

    node = world.node("a")
    process = node.spawn(script(), name="s")
    world.run(SECOND)
    process.kill()
    process.kill()
    answer.resolve("late")
    world.run()
    assert not process.alive
    assert isinstance(process.done.error, Killed)
    assert sum("killed" in line for line in world.trace.lines) == 1
    assert not any("ended" in line for line in world.trace.lines)


def test_a_pause_holds_the_answer_back() -> None:
    world = World(1)
    node = world.node("a")
    answer: Later[str] = Later()
    heard: list[int] = []

    def script() -> Generator[Any, Any, None]:
        yield answer
        heard.append(world.now_ns)

    node.spawn(script())
    world.run(SECOND)
    node.pause(for_ns=5 * SECOND)
    answer.resolve("now")
    world.run()
    assert heard[0] >= 6 * SECOND


def test_two_scripts_of_one_name_are_told_apart() -> None:
    world = World(1)

    def script() -> Generator[Any, Any, None]:
        yield Sleep(SECOND)

    node = world.node("a")
    names = [node.spawn(script(), name="s").name, node.spawn(script(), name="s").name]
    assert len(set(names)) == 2
    assert list(node.processes) == names
