"""What befalls a node, and in which order it catches up afterwards."""

from __future__ import annotations

import functools
from collections.abc import Generator
from typing import Any

import pytest

from holdfast.errors import InvalidArgument
from holdfast.testing.world import Link, Machine, Node, Sleep, World

SECOND = 1_000_000_000


class Recorder:
    """A machine that notes what it is told, and when."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.timers: list[tuple[int, Any]] = []
        self.letters: list[tuple[int, str, Any]] = []
        self.order: list[Any] = []

    def on_timer(self, timer: Any) -> None:
        self.timers.append((self.node.world.now_ns, timer))
        self.order.append(timer)

    def on_message(self, source: str, data: Any) -> None:
        self.letters.append((self.node.world.now_ns, source, data))
        self.order.append(data)


def recorder(node: Node) -> Recorder:
    machine = Recorder(node)
    node.attach(machine)
    return machine


def test_timers_of_one_node_fire_in_the_order_of_its_queue_under_every_seed() -> None:
    for seed in range(30):
        world = World(seed, jitter_ns=SECOND)
        node = world.node("a")
        machine = recorder(node)
        for timer, delay_ns, priority in [("d", 3, 0), ("b", 2, 1), ("c", 2, 1), ("a", 2, 0)]:
            node.submit_after(timer, delay_ns, priority=priority)
        world.run()
        assert machine.order == ["a", "b", "c", "d"]


def test_what_falls_due_at_one_instant_on_several_nodes_is_permuted_by_the_seed() -> None:
    orders = set()
    for seed in range(50):
        world = World(seed, jitter_ns=0)
        order: list[str] = []
        for name in "abc":
            note = functools.partial(order.append, name)
            world.node(name).after(SECOND).then(lambda _, note=note: note())  # type: ignore[misc]
        world.run()
        orders.add("".join(order))
    assert len(orders) == 6


def test_steps_come_late_by_up_to_the_jitter() -> None:
    world = World(1, jitter_ns=0)
    node = world.node("a", jitter_ns=SECOND)
    machine = recorder(node)
    for _ in range(50):
        node.submit_after("tick", 0)
        world.run()
    late = [when for when, _ in machine.timers]
    gaps = [b - a for a, b in zip([0, *late], late, strict=False)]
    assert all(0 <= gap <= SECOND for gap in gaps)
    assert min(gaps) < SECOND // 5 < 4 * SECOND // 5 < max(gaps)


def test_a_timer_that_was_cancelled_does_not_fire() -> None:
    world = World(1)
    node = world.node("a")
    machine = recorder(node)
    entry = node.submit_after("never", SECOND)
    node.submit_after("then", 2 * SECOND)
    assert node.cancel(entry)
    assert not node.cancel(entry)
    world.run()
    assert machine.order == ["then"]
    assert 2 * SECOND <= world.now_ns < 3 * SECOND


def test_a_timer_that_was_overtaken_wakes_nobody_early() -> None:
    world = World(1, jitter_ns=0)
    node = world.node("a")
    machine = recorder(node)
    for second in (10, 1, 20):
        node.submit_after(second, second * SECOND)
    world.run()
    assert machine.timers == [(1 * SECOND, 1), (10 * SECOND, 10), (20 * SECOND, 20)]


def test_a_drift_that_changes_moves_the_timers_that_are_waiting() -> None:
    for ppm, when_ns in [(250_000, 80 * SECOND), (-200_000, 125 * SECOND)]:
        world = World(1, jitter_ns=0)
        node = world.node("a")
        machine = recorder(node)
        node.submit_after("due", 100 * SECOND)
        node.drift(ppm)
        world.run()
        assert machine.timers == [(when_ns, "due")]


def test_a_machine_may_submit_what_falls_due_before_all_others() -> None:
    world = World(1)
    node = world.node("a")
    order: list[int] = []

    class Impatient:
        def on_timer(self, timer: int) -> None:
            order.append(timer)
            if timer == 1:
                node.submit_after(2, 10)
                node.submit_after(4, SECOND)

        def on_message(self, source: str, data: Any) -> None: ...

    node.attach(Impatient())
    node.submit_after(3, SECOND // 2)
    node.submit_after(1, 0)
    world.run()
    assert order == [1, 2, 3, 4]


def test_in_a_pause_nothing_runs_and_afterwards_timers_come_late_in_order() -> None:
    for seed in range(20):
        world = World(seed)
        node = world.node("a")
        machine = recorder(node)
        for number in range(5):
            node.submit_after(number, number * SECOND)
        world.run(SECOND // 2)
        node.pause(for_ns=3 * SECOND)
        world.run(3 * SECOND)
        assert machine.order == [0]
        world.run(9 * SECOND)
        assert machine.order == [0, 1, 2, 3, 4]
        whens = [when for when, _ in machine.timers[1:]]
        assert all(3 * SECOND < when < 4 * SECOND for when in whens[:3])
        assert whens[3] >= 4 * SECOND


def test_letters_wait_for_the_end_of_a_pause_in_the_order_in_which_they_came() -> None:
    mixed = set()
    for seed in range(40):
        world = World(seed)
        world.network.link = Link(latency_ns=(0, 0))
        node = world.node("a")
        machine = recorder(node)
        node.pause(for_ns=10 * SECOND)
        for number in range(4):
            send = functools.partial(world.node("b").send_to, "a", number)
            world.after(number * SECOND, send)
            node.submit_after(f"timer {number}", number * SECOND)
        world.run(9 * SECOND)
        assert machine.order == []
        world.run()
        assert [data for _, _, data in machine.letters] == [0, 1, 2, 3]
        assert [timer for _, timer in machine.timers] == [f"timer {n}" for n in range(4)]
        mixed.add(tuple(machine.order))
    assert len(mixed) > 10  # letters and timers come in between each other, as the seed says


def test_a_letter_that_comes_while_others_wait_comes_after_them() -> None:
    for seed in range(30):
        world = World(seed, jitter_ns=SECOND)
        world.network.link = Link(latency_ns=(0, 0))
        node = world.node("a")
        machine = recorder(node)
        node.pause(for_ns=2 * SECOND)
        for number in range(8):
            send = functools.partial(world.node("b").send_to, "a", number)
            world.after(number * SECOND // 2, send)
        world.run()
        assert machine.order == list(range(8))


def test_a_sleeping_machine_hears_nothing_and_its_timers_fire_on_resume() -> None:
    world = World(1)
    node = world.node("a")
    machine = recorder(node)
    node.submit_after("due", SECOND)
    node.sleep()
    world.node("b").send_to("a", b"lost")
    world.run(5 * SECOND)
    assert (machine.order, world.network.missed) == ([], 1)
    node.wake()
    world.run(6 * SECOND)
    assert machine.order == ["due"]
    assert machine.timers[0][0] < 5 * SECOND + SECOND // 2


def test_timers_on_the_monotonic_face_do_not_count_the_time_asleep() -> None:
    world = World(1, jitter_ns=0)
    node = world.node("a", face="monotonic")
    machine = recorder(node)
    node.submit_after("due", 3 * SECOND)
    world.run(SECOND)
    node.sleep(for_ns=10 * SECOND)
    world.run()
    assert machine.timers == [(13 * SECOND, "due")]


def test_pause_and_sleep_end_each_for_itself() -> None:
    world = World(1)
    node = world.node("a")
    node.pause(for_ns=2 * SECOND)
    node.sleep(for_ns=4 * SECOND)
    world.run(3 * SECOND)
    assert repr(node) == "<Node a: asleep>"
    world.run(5 * SECOND)
    assert node.running


def test_a_stall_stops_the_node_between_two_steps_of_a_script() -> None:
    """The gap between looking and acting, which a pause at a random instant hardly ever hits."""

    def late_writes(probability: float) -> int:
        world = World(5)
        node = world.node("a")
        late: list[int] = []

        def script() -> Generator[Any, Any, None]:
            for _ in range(100):
                looked_ns = yield "look"
                acted_ns = yield "act"
                late.append(acted_ns - looked_ns)

        node.stall(probability, 10 * SECOND)
        node.spawn(script(), lambda _: node.clock.boottime_ns())
        world.run(until=lambda: len(late) == 50)
        world.heal()
        before = world.now_ns
        world.run()
        assert world.now_ns - before < SECOND
        return sum(gap > SECOND for gap in late)

    assert late_writes(0.0) == 0
    assert 5 < late_writes(0.3) < 30


def test_of_several_pauses_the_longest_counts_and_resume_ends_them_all() -> None:
    world = World(1)
    node = world.node("a")
    node.pause(for_ns=4 * SECOND)
    node.pause(for_ns=SECOND)
    world.run(3 * SECOND)
    assert repr(node) == "<Node a: paused>"
    node.resume()
    assert repr(node) == "<Node a: running>"
    node.pause(for_ns=10 * SECOND)
    world.run(5 * SECOND)
    assert not node.running  # what was left of the first pause is over


def test_a_crash_takes_timers_letters_and_scripts() -> None:
    world = World(1)
    node = world.node("a")
    closed: list[str] = []

    def script() -> Any:
        try:
            yield Sleep(10 * SECOND)
            closed.append("ran on")
        finally:
            closed.append("closed")

    def setup(node: Node) -> None:
        recorder(node)
        node.submit_after("due", 2 * SECOND)
        node.spawn(script(), name="s")

    node.start(setup)
    first = node.machine
    world.run(SECOND)
    node.pause()
    world.node("b").send_to("a", b"in the queue")
    world.run(SECOND + SECOND // 2)
    node.crash()
    assert (closed, node.processes, node.machine, node.life) == (["closed"], {}, None, 1)
    node.crash()
    world.run(4 * SECOND)
    assert isinstance(first, Recorder)
    assert first.order == []
    node.restart()
    node.restart()
    assert (node.life, repr(node)) == (1, "<Node a: running>")
    world.run(5 * SECOND)
    second = node.machine
    assert isinstance(second, Recorder)
    assert second is not first
    assert second.letters == []
    world.run(20 * SECOND)
    assert second.order == ["due"]
    assert closed == ["closed", "ran on", "closed"]


def test_a_crashed_node_takes_no_letters_and_starts_nothing() -> None:
    world = World(1)
    node = world.node("a")
    node.crash(for_ns=SECOND)
    world.node("b").send_to("a", b"lost")
    with pytest.raises(InvalidArgument):
        node.spawn(iter(()))  # type: ignore[arg-type]
    world.run(SECOND // 2)
    assert (world.network.missed, node.crashed) == (1, True)
    world.run(2 * SECOND)
    assert not node.crashed


def test_a_step_that_was_to_come_is_gone_with_the_crash() -> None:
    world = World(1)
    node = world.node("a")
    taken: list[str] = []
    node.soon(taken.append, "before")
    node.crash()
    node.restart()
    node.soon(taken.append, "after")
    world.run()
    assert taken == ["after"]


def test_the_clocks_of_a_machine_that_died_asleep_go_on() -> None:
    world = World(1)
    node = world.node("a")
    node.sleep()
    node.crash()
    before = node.clock.monotonic_ns()
    world.run(SECOND)
    assert node.clock.monotonic_ns() - before == SECOND


@pytest.mark.parametrize("restart", [False, True])
def test_healing_lets_every_node_go_on_and_restarts_on_demand(restart: bool) -> None:
    world = World(1)
    for verb in ("pause", "sleep", "crash"):
        getattr(world.node(verb), verb)()
    world.heal(restart=restart)
    running = [name for name, node in world.nodes.items() if node.running]
    assert running == (["pause", "sleep", "crash"] if restart else ["pause", "sleep"])


def test_a_restart_that_was_planned_does_not_undo_a_later_crash() -> None:
    world = World(1)
    node = world.node("a")
    node.crash(for_ns=SECOND)
    node.restart()
    node.crash()
    world.run(2 * SECOND)
    assert node.crashed


@pytest.mark.parametrize("verb", ["crash", "pause", "sleep", "drift"])
def test_a_machine_may_do_it_to_its_own_node(verb: str) -> None:
    world = World(1)
    node = world.node("a")
    fired: list[str] = []

    class Own:
        def on_timer(self, timer: str) -> None:
            fired.append(timer)
            node.submit_after("after", SECOND)
            if len(fired) == 1:
                getattr(node, verb)(*([-500] if verb == "drift" else []))

        def on_message(self, source: str, data: Any) -> None: ...

    machine: Machine = Own()
    node.attach(machine)
    node.submit_after("first", SECOND)
    world.run(5 * SECOND)
    assert len(fired) == (4 if verb == "drift" else 1)
    node.restart()
    node.resume()
    node.wake()
    world.run(8 * SECOND)
    assert len(fired) == (1 if verb == "crash" else 7 if verb == "drift" else 4)


def test_the_mailbox_of_a_stopped_node_is_bounded() -> None:
    world = World(1)
    node = world.node("a")
    machine = recorder(node)
    node.pause()
    for _ in range(10_050):
        world.node("b").send_to("a", b"")
    world.run(SECOND)
    assert world.network.missed == 50
    node.resume()
    world.run()
    assert len(machine.letters) == 10_000
