"""Runs a script of a small cluster, and writes down every effect in its order.

A script is a text of comments (``#``), commands (``>``) and, below each command, its effects, which
the driver writes. A member is a letter, with its bump if it was renamed (``b``, ``b.1``).

=============================  =============================================================
``member a b … [option …]``    members with the settings `Config.simple`, and these options:
                               ``rejoins`` (it can be renewed), ``tells`` (notify_down_members),
                               ``gossips``, ``announces``, ``calls-down`` (periodic, every second)
``a announce b``               and ``a gossip``, ``a leave``, ``a reuse``, ``a become a.1``
``a loads b c``                a learns that b and c are alive, and does not pass it on
``a hears suspect b 0``        a takes an update in
``wait 1.5``                   seconds pass: timers fire when due, packets arrive at once
``kill b``                     it neither receives nor acts any more
``mute b``                     what it sends is lost; ``cut b`` loses what it is sent, too
``heal``                       nothing is lost any more
``show``                       what each member knows
=============================  =============================================================

In the effects ``->`` is a packet that arrived, ``-x`` one that was lost; its updates stand in
brackets. Timers are written as the time when they are due.
"""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random
from typing import Any

from holdfast.errors import MembershipError
from holdfast.membership import Config, Member, Membership, Periodic, State
from holdfast.timers import TimerQueue
from tests.unit.membership.stage import CODEC, Id, take_apart

NS = 1_000_000_000
EVERY_SECOND = Periodic(NS, 2)
OPTIONS: dict[str, dict[str, Any]] = {
    "tells": {"notify_down_members": True},
    "gossips": {"periodic_gossip": EVERY_SECOND},
    "announces": {"periodic_announce": EVERY_SECOND},
    "calls-down": {"periodic_announce_to_down_members": EVERY_SECOND},
}


def named(identity: Id) -> str:
    return chr(96 + identity.addr) + (f".{identity.bump}" if identity.bump else "")


def identity(name: str, *, rejoins: bool = False) -> Id:
    letter, _, bump = name.partition(".")
    return Id(ord(letter) - 96, int(bump or 0), rejoins)


def told(member: Member[Id]) -> str:
    incarnation = f" {member.incarnation}" if member.incarnation else ""
    return f"{named(member.identity)} {member.state.name.lower()}{incarnation}"


def value(it: Any) -> str:
    """A message, a notification or a timer, with members by their names and no tokens."""
    shown = []
    for field in fields(it):
        held = getattr(it, field.name)
        if field.name != "token":
            shown.append(named(held) if isinstance(held, Id) else str(held))
    return f"{type(it).__name__} {' '.join(shown)}".rstrip()


class Stage:
    """The cluster: its members, its clock, and what is on the way."""

    def __init__(self) -> None:
        self.members: dict[str, Membership[Id]] = {}
        self.now_ns = 0
        self.timers: TimerQueue[tuple[str, Any]] = TimerQueue()
        self.flying: list[tuple[str, Id, bytes]] = []
        self.dead: set[str] = set()
        self.muted: set[str] = set()
        self.cut: set[str] = set()
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(f"  {self.now_ns / NS:7.3f}  {text}")

    # -- what members do --------------------------------------------------------------------------

    def act(self, name: str, method: str, *arguments: Any) -> None:
        try:
            getattr(self.members[name], method)(*arguments)
        except MembershipError as error:
            self.note(f"{name} fails: {type(error).__name__}")
        self.deliver()

    def deliver(self) -> None:
        while self.flying:
            name, to, data = self.flying.pop(0)
            packet = take_apart(to, data)
            other = named(to)[0]
            lost = (
                other not in self.members
                or other in self.dead | self.cut
                or name in self.muted | self.cut
            )
            updates = "".join(f" [{told(update)}]" for update in packet.updates or ())
            who = named(packet.header.src)
            if packet.header.src_incarnation:
                who += f"({packet.header.src_incarnation})"
            self.note(f"{who} -{'x' if lost else '>'} {named(to)} {value(packet.message)}{updates}")
            if not lost:
                self.act(other, "handle_data", data, Seam(self, other))

    # -- commands ---------------------------------------------------------------------------------

    def command(self, line: str) -> None:
        words = line.split()
        if words[0] in self.members:
            self.member_command(words[0], words[1], words[2:])
        else:
            getattr(self, f"do_{words[0]}")(*words[1:])

    def member_command(self, name: str, verb: str, words: list[str]) -> None:
        seam = Seam(self, name)
        if verb == "announce":
            self.act(name, "announce", identity(words[0]), seam)
        elif verb == "gossip":
            self.act(name, "gossip", seam)
        elif verb == "leave":
            self.act(name, "leave_cluster", seam)
        elif verb == "reuse":
            self.act(name, "reuse_down_identity")
        elif verb == "become":
            self.act(name, "change_identity", identity(words[0]), seam)
        elif verb == "loads":
            loaded = [Member(identity(word), 0, State.ALIVE) for word in words]
            self.members[name].apply_many(loaded, seam, broadcast=False)
            self.deliver()
        elif verb == "hears":
            state, whom, incarnation = words
            update = Member(identity(whom), int(incarnation), State[state.upper()])
            self.act(name, "apply_many", [update], seam)
        else:
            raise ValueError(f"no command: {verb}")

    def do_member(self, *words: str) -> None:
        config = Config.simple()
        for word in words:
            config = replace(config, **OPTIONS.get(word, {}))
        for name in words:
            if len(name) == 1:
                self.dead.discard(name)
                self.members[name] = Membership(
                    identity(name, rejoins="rejoins" in words),
                    config,
                    rng=Random(ord(name)),
                    codec=CODEC,
                    repairs=frozenset(),
                )

    def do_wait(self, seconds: str) -> None:
        end_ns = self.now_ns + round(float(seconds) * NS)
        while (due := self.timers.next_due()) is not None and due <= end_ns:
            self.now_ns = due
            taken = self.timers.pop_due(due)
            assert taken is not None
            name, timer = taken[1]
            if name not in self.dead:
                self.note(f"{name} fires {value(timer)}")
                self.act(name, "handle_timer", timer, Seam(self, name))
        self.now_ns = end_ns

    def do_kill(self, name: str) -> None:
        self.dead.add(name)

    def do_mute(self, name: str) -> None:
        self.muted.add(name)

    def do_cut(self, *names: str) -> None:
        self.cut.update(names)

    def do_heal(self) -> None:
        self.muted.clear()
        self.cut.clear()

    def do_show(self) -> None:
        for name, member in self.members.items():
            if name not in self.dead:
                known = ", ".join(sorted(map(told, member.membership_state()))) or "nobody"
                who = f"{named(member.identity)}({member.incarnation})"
                self.note(f"{who} is {member.connection.value}, knows {known}")


class Seam:
    """The runtime of one member."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.name = name

    def notify(self, notification: Any, /) -> None:
        self.stage.note(f"{self.name} says {value(notification)}")

    def send_to(self, member: Id, data: bytes, /) -> None:
        self.stage.flying.append((self.name, member, data))

    def submit_after(self, timer: Any, delay_ns: int, /) -> None:
        due = self.stage.now_ns + delay_ns
        self.stage.note(f"{self.name} waits for {value(timer)} at {due / NS:.3f}")
        self.stage.timers.add(due, (self.name, timer), priority=timer.priority)


def run(script: str) -> str:
    """The script with its effects, in place of those that it has."""
    stage = Stage()
    for line in script.splitlines():
        if line.startswith("  "):
            continue
        stage.lines.append(line)
        if line.startswith(">"):
            stage.command(line[1:].strip())
    return "\n".join(stage.lines) + "\n"
