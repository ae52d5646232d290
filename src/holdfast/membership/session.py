"""What a node of a cluster decides besides the protocol: whom to call, whom to ask, how to go.

A `Session` is an engine with a name. It is as pure as the engine: whoever drives it hands in
datagrams, the time and what names resolve to, and carries out its `Effects` after each call. Where
it stands, and what moves it, is the table in `stages`.

=============  ==================================================================================
question       answer
=============  ==================================================================================
joining        every seed is called, not one after the other: a dead seed costs nothing
isolation      a node that lost everybody calls the seeds again; the engine calls those whom it knew
two clusters   a seed that is no member is called also by who is joined, every `SEED_CALL_NS`
a new life     a generation is the time of the start in ms, so that it wins against the last life;
               where the clock went back, and others refuse it, it leaps ahead (`lives`)
declared down  the engine takes the next generation, and tells those who said so (`Rejoin`)
leaving        the news of the end, with a farewell, goes straight to `FAREWELL_FANOUT` members,
               `FAREWELL_ROUNDS` times, and from them to all; packets that come in are ignored
               meanwhile, since the engine would take its own end for a slander, and come back
slow readers   queues are bounded; what is gone is counted (`changes.Reader`)
sleep          it is said before, to kin, and then nothing else (`rest`); afterwards what came is
               read before what fell due asleep, and `resumed` says that the member is back
=============  ==================================================================================
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from holdfast.errors import InvalidArgument, MembershipError
from holdfast.membership import talk
from holdfast.membership.addresses import address_of
from holdfast.membership.changes import Change, ClusterEvent, ClusterMember
from holdfast.membership.engine import Membership
from holdfast.membership.identity import Node
from holdfast.membership.lives import Lives
from holdfast.membership.mailbox import Mailbox, farewell_packet, hello_packet
from holdfast.membership.member import State as MemberState
from holdfast.membership.notifications import (
    Active,
    Idle,
    MemberDown,
    MemberUp,
    Rejoin,
    Rename,
)
from holdfast.membership.outbox import Effects, Outbox, Own
from holdfast.membership.repairs import ALL_REPAIRS, WIRE_REPAIRS, Repair
from holdfast.membership.rest import Event as RestEvent
from holdfast.membership.rest import Phase, Rest
from holdfast.membership.roster import Entry, Roster
from holdfast.membership.seeds import CALL_FIRST_NS, SEED_CALL_NS, Seeds
from holdfast.membership.sleep import SLEEP_MAX_NS
from holdfast.membership.stages import TABLE, TALKING, Act, Event, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from holdfast.membership.codec.base import Codec
    from holdfast.membership.config import Config
    from holdfast.membership.notifications import Notification

__all__ = ["ON_THE_CRATES_WIRE", "Effects", "Session"]

_MS = 1_000_000
ASK_NS = 200 * _MS
ASK_FANOUT = 16
PATIENCE_NS = 2_000 * _MS
REFUSED_FANOUT = 3
FAREWELL_FANOUT = 64
FAREWELL_ROUNDS = 3

# Without those for which the crate has no word.
ON_THE_CRATES_WIRE: Final[frozenset[Repair]] = ALL_REPAIRS - WIRE_REPAIRS


class Session:
    """An engine with a name, seeds and manners. Not thread-safe: one caller at a time.

    Args:
        name: What this member calls itself.
        node: Its identity. `talk.generation` makes the number.
        config: The engine's settings.
        rng: Where chance comes from.
        codec: What packets look like.
        seeds: Whom to call in order to join, ``host:port`` each.
        tags: What it says about itself.
        marked: Whether it speaks with its kind; False: it is as a node of the crate.
        repairs: What the engine does better than the crate; None: all that `marked` allows.

    Raises:
        InvalidArgument: Name and tags are too long, or a seed is no address.
    """

    def __init__(
        self,
        name: str,
        node: Node,
        config: Config,
        *,
        rng: Random,
        codec: Codec[Node],
        seeds: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        marked: bool = True,
        repairs: frozenset[Repair] | None = None,
    ) -> None:
        self.name = name
        self.tags = talk.check_about(name, tags or {})
        self.stage = Stage.NEW
        self.marked = marked
        self.counts: Counter[str] = Counter()
        self._codec = codec
        self._rng = rng
        self._seeds = Seeds(seeds, rng)
        self._rest = Rest()
        self._lives = Lives()
        self._mailbox = Mailbox(marked=marked)
        if repairs is None:
            repairs = ALL_REPAIRS if marked else ON_THE_CRATES_WIRE
        self.engine: Membership[Node] = Membership(
            node,
            config,
            rng=rng,
            codec=codec,
            repairs=repairs,
            broadcast_handler=self._mailbox,
        )
        self.roster = Roster(names=marked, first_ask_ns=ASK_NS, patience_ns=PATIENCE_NS)
        self._outbox = Outbox()
        self._rounds = 0
        self._linger_ns = 0
        self._listeners: list[Node] = []
        self._shouts = 0

    # -- what the driver says ---------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        """Begin to call the seeds."""
        self._outbox.at(now_ns)
        self._move(Event.START)

    def handle_data(self, data: bytes, source: tuple[str, int], now_ns: int) -> None:
        """A datagram has come from `source`. It may be any bytes: nothing is raised."""
        self._outbox.at(now_ns)
        self.counts["received"] += 1
        if self.stage not in TALKING:
            return
        if data.startswith(talk.QUESTION):
            self._answer(data, source)
        else:
            entry = self.roster.get(source)
            if entry is not None:
                entry.heard_ns = now_ns
            said = len(self._outbox.effects.sends)
            try:
                self.engine.handle_data(data, self._outbox)
            except MembershipError as error:
                self.counts[error.code] += 1
            self._settle()
            if self._rest.resting:
                del self._outbox.effects.sends[said:]

    def handle_timers(self, now_ns: int) -> None:
        """Fire what is due. Hand in first what has come: it may be what is waited for."""
        self._outbox.at(now_ns)
        if self._rest.resting and self._sleep_on():
            return
        while (timer := self._outbox.pop_due()) is not None:
            if isinstance(timer, Own):
                self._fire(timer)
            elif self.stage in TALKING:
                try:
                    self.engine.handle_timer(timer, self._outbox)
                except MembershipError as error:
                    self.counts[error.code] += 1
            self._settle()

    def next_due(self) -> int | None:
        """When to call `handle_timers`, in the driver's nanoseconds; None: not at all."""
        return self._rest.next_due() if self._rest.resting else self._outbox.next_due()

    def resolved(self, seed: str, addresses: Iterable[tuple[str, int]], now_ns: int) -> None:
        """A seed was looked up; none: it could not be found."""
        self._outbox.at(now_ns)
        found = tuple(dict.fromkeys(addresses))
        if not found:
            self.counts["unresolved"] += 1
            return
        if seed in self._seeds and self.stage in TALKING and not self._rest.resting:
            self._announce(addr for addr in found if self.roster.get(addr) is None)

    def clocks(self, at_least_ns: int, at_most_ns: int, now_ns: int) -> bool:
        """How long the machine has slept since it was started, between two bounds.

        Hand in first what has come, and call `handle_timers` afterwards.

        Returns:
            Whether it has slept since the last time: then all is done that `resumed` does.
        """
        slept = self._rest.clocks(at_least_ns, at_most_ns)
        if slept:
            self.resumed(now_ns)
        return slept

    def resumed(self, now_ns: int) -> None:
        """The machine has slept: say so, and call at once if nobody is there."""
        self._outbox.at(now_ns)
        self._rest.back()
        self.counts["resumed"] += 1
        if self.stage in TALKING:
            self.engine.resumed(self._outbox)
            if self.stage is Stage.CALLING:
                self._act(Act.FIRST_CALL_SOON)
            self._settle()

    def take(self) -> Effects:
        """What is to be done since the last time."""
        return self._outbox.take()

    # -- what the application wants ---------------------------------------------------------------

    def leave(self, now_ns: int, linger_ns: int) -> None:
        """Say farewell, for `linger_ns`; `stage` is LEFT when it is over."""
        self._outbox.at(now_ns)
        self._rest.back()
        self._linger_ns = linger_ns
        self._move(Event.LEAVE)

    @property
    def telling(self) -> bool:
        """Whether it is still being said that the machine goes to sleep."""
        return self._rest.phase is Phase.TELLING

    def prepare_sleep(self, now_ns: int, at_most_ns: int, linger_ns: int) -> bool:
        """Say to kin, for `linger_ns`, that the machine sleeps for so long at most; then be silent.

        Returns:
            Whether anybody was told; if not, nothing has changed.

        Raises:
            InvalidArgument: `at_most_ns` is not positive.
        """
        self._outbox.at(now_ns)
        if self.stage not in TALKING:
            return False
        if self._rest.resting:
            return True
        at_most_ns = min(at_most_ns, SLEEP_MAX_NS)  # nobody waits for it longer
        told = self._say_good_night(at_most_ns)
        return told and self._rest.prepare(now_ns, at_most_ns, linger_ns)

    def broadcast(self, name: str, payload: bytes, now_ns: int) -> None:
        """Tell all members of ours about an event, as far as they can be reached.

        Raises:
            InvalidArgument: It is too long for a packet.
        """
        self._outbox.at(now_ns)
        item = talk.Shout(talk.who(self.engine.identity), self._shouts + 1, name, payload)
        encoded = talk.encode(item)
        room = min(talk.ITEM_MAX, self.engine.config.max_packet_size // 2)
        if len(encoded) > room:
            raise InvalidArgument(
                f"an event of {len(encoded)} bytes, name and payload",
                on=name,
                hint=f"at most {room} bytes travel in one packet; send a reference",
            )
        self._shouts += 1
        self.engine.add_broadcast(encoded)
        if not self._rest.resting:
            self.engine.broadcast(self._outbox)
            self._settle()

    def members(self) -> list[ClusterMember]:
        """Everybody who is there, this member first."""
        known = {one.identity.addr: one for one in self.engine.members()}
        found = [self.me()]
        for entry in self.roster:
            record = known.get(entry.node.addr)
            if record is not None and entry.told is not None:
                state = "suspect" if record.state is MemberState.SUSPECT else "alive"
                incarnation = record.incarnation
                found.append(replace(entry.told, state=state, incarnation=incarnation))
        return found

    def me(self) -> ClusterMember:
        """This member."""
        node = self.engine.identity
        return ClusterMember(
            self.name,
            address_of(node),
            node,
            state="left" if self.stage in (Stage.LEAVING, Stage.LEFT) else "alive",
            incarnation=self.engine.incarnation,
            tags=dict(self.tags),
            me=True,
        )

    def known_as(self, name: str) -> list[Entry]:
        """Who calls himself so, or has that address; those that are gone too."""
        return [
            entry for entry in self.roster.known() if name in (entry.name, address_of(entry.node))
        ]

    # -- the stages -------------------------------------------------------------------------------

    def _move(self, event: Event) -> None:
        row = TABLE.get((self.stage, event))
        if row is None:
            return
        self.stage, acts = row
        for act in acts:
            self._act(act)

    def _act(self, act: Act) -> None:
        match act:
            case Act.CALL_ALL:
                self._call_again()
            case Act.FIRST_CALL_SOON | Act.NEXT_SEED_CALL:
                self._seeds.start_anew()
                if self._seeds:
                    delay_ns = CALL_FIRST_NS if act is Act.FIRST_CALL_SOON else SEED_CALL_NS
                    self._outbox.schedule(Own.CALL, self._seeds.scattered(delay_ns))
            case Act.CALL_MISSING_SEEDS:
                self._call_seeds()
            case Act.SAY_FAREWELL:
                self._say_farewell()

    def _fire(self, timer: Own) -> None:
        if timer is Own.CALL:
            self._move(Event.CALL)
        elif timer is Own.ASK:
            self._ask()
        else:
            self._move(Event.LINGER if self._rounds < FAREWELL_ROUNDS else Event.OVER)

    # -- sleep ------------------------------------------------------------------------------------

    def _sleep_on(self) -> bool:
        """Say once more that the machine sleeps, if need be. Returns whether it still does."""
        match self._rest.step(self._outbox.now_ns()):
            case RestEvent.TOLD:
                self._say_good_night(self._rest.at_most_ns)
            case RestEvent.BACK:
                self.resumed(self._outbox.now_ns())
            case _:
                pass
        return self._rest.resting

    def _say_good_night(self, at_most_ns: int) -> bool:
        said = len(self._outbox.effects.sends)
        self.engine.announce_sleep(self._outbox, at_most_ns=at_most_ns)
        return len(self._outbox.effects.sends) > said

    # -- calls ------------------------------------------------------------------------------------

    def _call_again(self) -> None:
        self._call_seeds()
        if self._seeds:
            self._outbox.schedule(Own.CALL, self._seeds.next_call_ns())

    def _call_seeds(self) -> None:
        """Call the seeds that are no members; those that are names are looked up first."""
        self._outbox.effects.resolve += self._seeds.names
        self._announce(addr for addr in self._seeds if self.roster.get(addr) is None)

    def _announce(self, addresses: Iterable[tuple[str, int]]) -> None:
        own = self.engine.identity.addr
        for addr in addresses:
            if addr != own:
                self.counts["calls"] += 1
                self.engine.announce(Node(*addr), self._outbox)

    # -- what the engine has said -----------------------------------------------------------------

    def _settle(self) -> None:
        """Turn what the engine and its peers have said into changes.

        Farewells were noted when they were read; all else is done in this order: who is there, what
        they are called, what they shout.
        """
        mailbox = self._mailbox
        if self._outbox.notifications or mailbox.hellos or mailbox.farewells or mailbox.shouts:
            for node in mailbox.take_farewells():
                self.roster.farewell(node)
            while self._outbox.notifications:
                self._on_notification(self._outbox.notifications.popleft())
            for sender, hello in mailbox.take_hellos():
                if hello.answer:
                    self._say_hello(sender, answer=False)
                self._tell(self.roster.hello(sender, hello.name, hello.tags, self._outbox.now_ns()))
            for node, shout in mailbox.take_shouts():
                self._tell([ClusterEvent(self._named(node), shout.name, shout.payload)])
        self._ask_if_need_be()

    def _on_notification(self, notification: Notification[Node]) -> None:
        roster, now_ns = self.roster, self._outbox.now_ns()
        match notification:
            case MemberUp(node):
                self._tell(roster.up(node, now_ns))
            case MemberDown(node):
                self._tell(roster.down(node, now_ns))
            case Rename(old, new):
                self._tell(roster.renamed(old, new, now_ns))
            case Active():
                self._move(Event.SOMEBODY)
            case Idle():
                self._move(Event.NOBODY)
            case Rejoin(node):
                self.counts["rejoins"] += 1
                self._go_on_as(self._lives.refused(node, now_ns))
            case _:
                pass  # Defunct: a generation of 64 bits does not end

    def _go_on_as(self, higher: Node | None) -> None:
        """Whoever was refused calls some, under a generation that is higher still if need be."""
        if higher is not None:
            self.engine.change_identity(higher, self._outbox)
        # A member that does not tell those that are down answers a call all the same.
        for entry in islice(self.roster, REFUSED_FANOUT):
            self.engine.announce(entry.node, self._outbox)

    def _named(self, node: Node) -> ClusterMember:
        entry = self.roster.get(node.addr)
        return Entry(node, 0).member() if entry is None else entry.member()

    def _tell(self, changes: list[Change]) -> None:
        self._outbox.effects.changes += changes

    # -- names, farewells, questions --------------------------------------------------------------

    def _ask_if_need_be(self) -> None:
        if self.roster.next_ask_ns() is not None and not self._outbox.is_scheduled(Own.ASK):
            self._ask()

    def _ask(self) -> None:
        if self.stage not in TALKING:
            return
        for node in self.roster.to_ask(self._outbox.now_ns(), ASK_FANOUT):
            self._say_hello(node, answer=True)
        self._tell(self.roster.tell_nameless(self._outbox.now_ns()))
        next_ns = self.roster.next_ask_ns()
        if next_ns is not None:
            self._outbox.schedule(Own.ASK, max(next_ns - self._outbox.now_ns(), ASK_NS // 4))

    def _say_hello(self, node: Node, *, answer: bool) -> None:
        if self.marked and talk.is_ours(node):
            hello = talk.Hello(self.name, self.tags, answer)
            engine = self.engine
            self._outbox.send_to(
                node, hello_packet(self._codec, engine.identity, engine.incarnation, node, hello)
            )

    def _say_farewell(self) -> None:
        engine = self.engine
        if self._rounds == 0:
            there = [member.identity for member in engine.members()]
            self._listeners = self._rng.sample(there, min(len(there), FAREWELL_FANOUT))
        self._rounds += 1
        if not self._listeners:
            self._rounds = FAREWELL_ROUNDS
            self._move(Event.OVER)
            return
        for node in self._listeners:
            self._outbox.send_to(
                node, farewell_packet(self._codec, engine.identity, engine.incarnation, node)
            )
        self._outbox.schedule(Own.LINGER, self._linger_ns // FAREWELL_ROUNDS)

    def _answer(self, data: bytes, source: tuple[str, int]) -> None:
        try:
            look = talk.read_question(data)
        except MembershipError as error:
            self.counts[error.code] += 1
            return
        self.counts["questions"] += 1
        self._outbox.effects.sends.append((source, talk.page(look, self.members(), len(data))))
