# orders.py
"""Orders that are routed by membership, in the same simulation as the members themselves."""

from __future__ import annotations

import contextlib
import hashlib

from holdfast.errors import MembershipError
from holdfast.membership import Config, MemberDown, Membership, MemberUp, Node, Postcard
from holdfast.testing import Link

SECOND = 1_000_000_000
CODEC = Postcard(Node)
NAMES = ["n1", "n2", "n3", "n4", "n5"]


class Site:
    """A machine: a member, its runtime, and a service that does the orders which fall to it."""

    def __init__(self, node, done, buries):
        self.node, self.done, self.buries = node, done, buries
        me = Node(f"10.0.0.{node.name[1:]}", 7946, generation=node.life)
        rng = node.world.rng(f"member {node.name}")
        self.member = Membership(me, Config.lan(len(NAMES)), rng=rng, codec=CODEC)
        self.there = {node.name}
        self.join()

    # -- the service ------------------------------------------------------------------------------

    def owner(self, order):
        """Whose it is, as far as this site knows: all that know the same members agree."""
        return max(self.there, key=lambda name: hashlib.sha256(f"{name} {order}".encode()).digest())

    def take(self, customer, order, passed_on):
        owner = self.owner(order)
        if owner == self.node.name:
            self.done.add(order)
            self.node.send_to(customer, ("done", order))
        elif not passed_on:  # or else it could go round in circles; the customer asks again
            self.node.send_to(owner, ("order", customer, order, True))

    # -- what the World calls ---------------------------------------------------------------------

    def on_message(self, source, data):
        if isinstance(data, bytes):
            self.engine(self.member.handle_data, data)
        else:
            self.take(*data[1:])

    def on_timer(self, timer):
        if timer == "join":
            self.join()
        else:
            self.engine(self.member.handle_timer, timer)

    def join(self):
        if not self.member.num_members:  # call somebody, until anybody is known
            for name in NAMES[:2]:
                if name != self.node.name:
                    self.member.announce(Node(f"10.0.0.{name[1:]}", 7946), self)
            self.node.submit_after("join", SECOND)

    def engine(self, handle, given):
        with contextlib.suppress(MembershipError):  # no packet, say; the manual has the list
            handle(given, self)

    # -- what the member calls: its runtime -------------------------------------------------------

    def notify(self, notification):
        self.node.notify(notification)
        match notification:
            case MemberUp(node):
                self.there.add(name_of(node))
            case MemberDown(node) if self.buries:
                self.there.discard(name_of(node))

    def send_to(self, member, data):
        self.node.send_to(name_of(member), data)

    def submit_after(self, timer, delay_ns):
        self.node.submit_after(timer, delay_ns, priority=timer.priority)

    def now_ns(self):
        return self.node.now_ns()


class Customer:
    """Orders one thing after the other, from anybody, again and again until it is done."""

    def __init__(self, node, wanted):
        self.node, self.order, self.wanted = node, 0, wanted
        self.rng = node.world.rng("customer")
        node.submit_after("ask", 0)

    def on_timer(self, timer):
        site = self.rng.choice(NAMES)
        self.node.send_to(site, ("order", self.node.name, self.order, False))
        self.node.submit_after("ask", SECOND // 2)

    def on_message(self, source, data):
        if data[1] == self.order < self.wanted:
            self.order += 1


def name_of(node):
    return "n" + node.ip.rpartition(".")[2]


def storm(world, buries=True):
    """Members crash, stop and are cut off; one stays dead. All that is ordered is done."""
    done = set()
    for name in NAMES:
        world.node(name).start(lambda node: node.attach(Site(node, done, buries)))
    customer = world.node("customer")
    customer.start(lambda node: node.attach(Customer(node, wanted=80)))
    rng = world.rng("storm")
    world.network.link = Link.drawn(rng)

    def strike():
        node, for_ns = world.node(rng.choice(NAMES)), rng.randrange(8 * SECOND)
        match rng.randrange(3):
            case 0:
                node.crash(for_ns)
            case 1:
                node.pause(for_ns)
            case 2:
                world.network.partition([node.name], for_ns=for_ns)

    world.every(4 * SECOND, strike)
    world.run(until=30 * SECOND)
    world.heal(restart=True)
    world.node(rng.choice(NAMES)).crash()
    world.run(until=lambda: customer.machine.order == 80, limit_ns=200 * SECOND)
    assert done == set(range(80)), "said to be done, and was not"
