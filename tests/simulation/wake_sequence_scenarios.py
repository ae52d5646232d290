"""Pipelines of one, two and three steps on a machine that suspends whenever it may.

Each scenario is a function of a World, and takes ``without``: the name of a safeguard that is
switched off while it runs (`tests.simulation.wake_sequence_safeguards`). With all safeguards none
of them may fail; without one, the explorer finds a seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.testing.world import Node, World
from tests.simulation.wake_sequence_host import MILLION, SECOND, Host
from tests.simulation.wake_sequence_safeguards import switched_off
from tests.simulation.wake_sequence_site import RETAIN_NS, Bystander, Head, Stage

WORK_NS = 20 * MILLION
SLOW_NS = 60 * MILLION
# All that was sent is processed, stages connect anew, and attempts are made until one succeeds.
BOUND_NS = 10 * SECOND


def steady(world: World, *, without: str | None = None, steps: int = 1) -> None:
    """A head and as many stages after it; bursts of interrupts; nobody dies."""
    with switched_off(without):
        host, _ = _pipeline(world, steps)
        _interrupts(host, mean_ns=40 * MILLION)
        world.run(4 * SECOND)
        _settles(host)


def chains(world: World, *, without: str | None = None) -> None:
    """The same with two steps or three: what one has processed, the next one may not have."""
    steady(world, without=without, steps=2 + world.seed % 2)


def outsiders(world: World, *, without: str | None = None) -> None:
    """Somebody else suspends the machine, too: that is delayed by messages, and by nothing else."""
    with switched_off(without):
        host, _ = _pipeline(world, 1 + world.seed % 3)
        _interrupts(host, mean_ns=100 * MILLION)
        world.every(230 * MILLION, host.put_to_sleep)
        world.run(6 * SECOND)
        _settles(host)


def storms(world: World, *, without: str | None = None) -> None:
    """One, two or three steps, and everybody is stopped, killed and started again."""
    with switched_off(without):
        host, nodes = _pipeline(world, 1 + world.seed % 3)
        _interrupts(host, mean_ns=40 * MILLION)
        world.every(300 * MILLION, lambda: _strike(host, nodes))
        world.run(5 * SECOND)
        _settles(host)


def crowds(world: World, *, without: str | None = None) -> None:
    """One head with three clients of different pace, which come and go."""
    with switched_off(without):
        host = Host(world)
        names = ["c0", "c1", "c2"]
        head = _head(host, names)
        for number, name in enumerate(names):
            _stage(host, name, head, (), WORK_NS * (1 + 2 * number))
        _bystanders(host)
        _interrupts(host, mean_ns=60 * MILLION)
        nodes = [world.node(name) for name in names]
        world.every(500 * MILLION, lambda: _strike(host, nodes))
        world.run(4 * SECOND)
        _settles(host)


def rebirths(world: World, *, without: str | None = None) -> None:
    """The head is started again and again, in the middle of attempts that it was not asked for."""
    with switched_off(without):
        host, nodes = _pipeline(world, 1, slow_ns=200 * MILLION)
        _interrupts(host, mean_ns=30 * MILLION)
        world.every(150 * MILLION, lambda: host.kill(nodes[0], MILLION))
        world.run(4 * SECOND)
        _settles(host)


def deserted(world: World, *, without: str | None = None) -> None:
    """The client dies and does not come back, or never came; or the head does."""
    with switched_off(without):
        host = Host(world)
        head = _head(host, ["s1"])
        client = world.node("s1")
        who = world.seed % 3
        if who:
            _stage(host, "s1", head, (), WORK_NS)
        _bystanders(host)
        _interrupts(host, mean_ns=30 * MILLION)
        world.run(SECOND)
        if who:
            host.kill((client, head)[who - 1], None)
        if who == 2:
            host.interrupts, host.mute = 0, True  # its device has died with it
        world.run(2 * SECOND)
        _settles(host, restart=False)


# -- what they share ------------------------------------------------------------------------------


def _pipeline(world: World, steps: int, *, slow_ns: int = SLOW_NS) -> tuple[Host, list[Node]]:
    host = Host(world)
    names = [f"s{number}" for number in range(1, steps + 1)]
    before = _head(host, names[:1])
    nodes = [before]
    for number, name in enumerate(names):
        before = _stage(host, name, before, names[number + 1 : number + 2], WORK_NS)
        nodes.append(before)
    _bystanders(host, slow_ns)
    return host, nodes


def _head(host: Host, clients: Sequence[str]) -> Node:
    node = host.world.node("head")
    node.start(lambda node: host.serve(node, Head(host, node, clients)))
    return node


def _stage(host: Host, name: str, upstream: Node, clients: Sequence[str], work_ns: int) -> Node:
    node = host.world.node(name)
    node.start(lambda node: host.serve(node, Stage(host, node, upstream, clients, work_ns)))
    return node


def _bystanders(host: Host, slow_ns: int = SLOW_NS) -> None:
    for name in ("b0", "b1")[: host.world.rng("bystanders").randrange(3)]:
        node = host.world.node(name)
        node.start(lambda node: Bystander(host, node, slow_ns))


def _interrupts(host: Host, *, mean_ns: int) -> None:
    """Bursts, with quiet between them, in which the machine goes down."""
    rng = host.world.rng("interrupts")

    def burst() -> None:
        for _ in range(rng.randrange(1, 8)):
            delay_ns = rng.randrange(mean_ns)
            host.world.after(delay_ns, host.raise_interrupt)

    host.world.every(4 * mean_ns, burst, name="bursts")


def _strike(host: Host, nodes: Sequence[Node]) -> None:
    rng = host.world.rng("strikes")
    node = rng.choice(nodes)
    for_ns = rng.choice([MILLION, 30 * MILLION, 300 * MILLION])
    if rng.random() < 0.5:
        host.counts["paused"] += 1
        node.pause(for_ns)
    else:
        host.kill(node, for_ns)


def _settles(host: Host, *, restart: bool = True) -> None:
    """No more interrupts: the machine goes down within the bound, and nothing is left behind."""
    world = host.world
    host.wake()
    world.heal(restart=restart)
    host.wake()
    world.run(world.now_ns + RETAIN_NS)  # the last burst, and what is held for who never comes
    quiet = host.counts["suspended"]
    world.run(until=lambda: host.counts["suspended"] >= quiet + 2, limit_ns=BOUND_NS)
    left = [copy for copy in host.copies if copy.owner is None or copy.owner.name != "b0"]
    if left:
        raise host.broken(f"{len(left)} copies of wake leases are left behind")
