"""A deterministic simulation: nodes, clocks, a network, services and faults, all from one seed.

The same seed does the same in every process; another seed does it in another order, with other
faults. `explore` runs many, and prints one line by which the one that failed runs again. There is
no thread in it, no event loop, no file, no real time and no chance but that of the seed.

Machines
--------

A machine is an object that is told what happens, and says what it wants. Its node is its runtime::

    class Echo:
        def __init__(self, node):
            self.node = node
            node.submit_after("tick", 1_000_000_000)      # int nanoseconds, on the node's clock

        def on_timer(self, timer):
            self.node.send_to("other", b"are you there?")
            self.node.submit_after("tick", 1_000_000_000)

        def on_message(self, source, data):
            ...

    def scenario(world):
        for name in ("one", "other"):
            world.node(name).start(lambda node: node.attach(Echo(node)))   # again after a restart
        world.network.link = Link(loss=0.1, duplicate=0.05, reorder=0.1)
        world.at(5_000_000_000, lambda: world.node("one").pause(for_ns=3_000_000_000))
        world.run(until=60_000_000_000)
        assert ...

    explore(scenario, range(100))

Scripts
-------

A script is a generator that yields what it wants done, and is sent what came of it. `Sleep` and
`Later` are understood; an interpreter, which is the caller's, says what becomes of the rest::

    def worker(store):
        try:
            record = yield Claim("nightly")            # an effect of the program's own
        except Unavailable:
            yield Sleep(1_000_000_000)

    database = world.service("database", ServiceFaults(lose_answer=0.1, refuse=0.1, late=0.05))

    def setup(node):
        def interpret(effect):
            return database.call(node, "claim", store.claim, effect.name, "me", 30_000_000_000)

        node.spawn(worker(store), interpret)

    world.node("a", drift_ppm=200).start(setup)

A service applies each call to a real object, at one instant between the request and the answer;
either may be delayed or lost, and the caller hears "unavailable" or "unknown".

Rooms
-----

=================  ==========================================================================
``world``          `World`: seed, streams of chance, `run`, `heal`
``scheduler``      the order of everything
``clock``          three faces that differ from node to node
``node``           timers, letters, pause, sleep, crash, restart
``script``         generators as processes
``later``          results to come, and `Sleep`
``network``        links, loss, partitions
``service``        calls that are delayed, refused and lost
``descriptors``    a host with programs: pipes, sockets, copies in tables and in messages
``power``          the host goes down and comes back
``trace``          a line for each event, and their hash
``exploring``      many seeds, reports; ``__main__`` runs one again
=================  ==========================================================================
"""

from __future__ import annotations

from holdfast.testing.world.clock import NodeClock, WorldClock
from holdfast.testing.world.descriptors import Host, Letter, Program
from holdfast.testing.world.exploring import Explored, Played, explore, first_failure, play
from holdfast.testing.world.failures import Deadlock, Livelock, OutOfTime, SeedFailed
from holdfast.testing.world.later import Later, Sleep
from holdfast.testing.world.network import Cut, Link, Network
from holdfast.testing.world.node import Machine, Node
from holdfast.testing.world.power import Power
from holdfast.testing.world.script import Killed, Process
from holdfast.testing.world.service import Service, ServiceFaults
from holdfast.testing.world.trace import Trace
from holdfast.testing.world.world import World

__all__ = [
    "Cut",
    "Deadlock",
    "Explored",
    "Host",
    "Killed",
    "Later",
    "Letter",
    "Link",
    "Livelock",
    "Machine",
    "Network",
    "Node",
    "NodeClock",
    "OutOfTime",
    "Played",
    "Power",
    "Process",
    "Program",
    "SeedFailed",
    "Service",
    "ServiceFaults",
    "Sleep",
    "Trace",
    "World",
    "WorldClock",
    "explore",
    "first_failure",
    "play",
]
