"""The safeguards of optimistic lease management, each of which can be switched off from outside.

What is put in its place is what somebody would write who does not know better; much of it is what
the program behind the seed does. There are no switches in the code itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from holdfast.wake.sequence import Client, Deliver, Effect, Lease, Phase, Receiver, Release, Sender
from holdfast.wake.sequence.clients import Clients
from tests.simulation.wake_sequence_host import MILLION, Copy
from tests.simulation.wake_sequence_site import Head, Stage


def two_listeners(head: Head, call_id: int) -> None:
    """One flushes, another one marks; both are called at once, and both have to answer."""
    head.perform(head.machine.flush(head.now_ns()))

    def mark(_: object) -> None:
        if head.machine.lease is Lease.WANTED:
            head.node.after(MILLION).then(mark)
            return
        head.machine.phase = Phase.DOWN
        head.machine.flushes += 1
        head.calls.send("answered", call_id)

    head.node.after(head.rng.randrange(4 * MILLION)).then(mark)


def awake_after_the_first(sender: Sender, now_ns: int) -> list[Effect]:
    """Held once, so resumed: the copy is delivered, and nothing more is taken."""
    effects = _HELD(sender, now_ns)
    if sender.phase is Phase.DOWN:
        sender.phase = Phase.AWAKE
        effects += sender._settle(now_ns)
    return effects


def not_kept(sender: Sender, now_ns: int) -> list[Effect]:
    """Released as soon as everybody has his copy."""
    effects = _SETTLE(sender, now_ns)
    if sender.lease is Lease.HELD and not sender.clients.due:
        sender.lease = Lease.NONE
        effects.append(Release())
    return effects


def keeps_on(sender: Sender, now_ns: int, *, begins: bool) -> list[Effect]:
    """Until the resume, whoever puts the machine to sleep."""
    return []


def the_same_client(client: Client, epoch: int) -> list[Effect]:
    """It counts on where the one before has ended."""
    sent = client.sent
    effects = _SUBSCRIBE(client, epoch)
    client.sent = sent
    return effects


_NOTED: dict[int, int] = {}


def note_the_index(clients: Clients) -> None:
    before = {number for number, client in clients.items() if client.due}
    _MAKE_DUE(clients)
    for number, client in clients.items():
        if client.due and number not in before:
            _NOTED[id(client)] = client.sent


def index_of_the_acquisition(client: Client) -> Deliver:
    delivery = _TAKE(client)
    index = _NOTED.pop(id(client), delivery.index)
    return Deliver(delivery.client, delivery.request, index, delivery.epoch)


def answers_at_once(sender: Sender) -> bool:
    return True


def believes_to_be_awake(sender: Sender, **settings: Any) -> None:
    _INIT(sender, **settings)
    sender.phase = Phase.AWAKE


def holds_on(receiver: Receiver[Any]) -> None:
    receiver.ended = True


def done_at_the_first(receiver: Receiver[Any]) -> Any:
    """The baton is for the messages; one is processed, so it has done its work."""
    done, receiver.held = receiver.held, None
    return done


def closes_what_is_late(stage: Stage, baton: Copy) -> None:
    baton.close()


def owed_to_nobody(client: Client) -> bool:
    return client.delivered < client.sent


def waits_for_ever(clients: Clients, now_ns: int) -> None:
    clients.next_due_ns = None


_HELD, _SETTLE, _INIT = Sender.held, Sender._settle, Sender.__init__
_SUBSCRIBE, _TAKE, _MAKE_DUE = Client.subscribe, Client.take_delivery, Clients.make_due

Patches = tuple[tuple[object, str, object], ...]

SAFEGUARDS: Mapping[str, Patches] = {
    "one-listener": ((Head, "before_suspend", two_listeners),),
    "down-until-after-resume": ((Sender, "held", awake_after_the_first),),
    "kept-until-after-resume": ((Sender, "_settle", not_kept),),
    "released-if-inevitable": ((Sender, "sleeps", keeps_on),),
    "epoch": ((Client, "subscribe", the_same_client),),
    "index-of-delivery": (
        (Clients, "make_due", note_the_index),
        (Client, "take_delivery", index_of_the_acquisition),
    ),
    "answer-when-held": ((Sender, "_may_answer", answers_at_once),),
    "unknown-at-first": ((Sender, "__init__", believes_to_be_awake),),
    "released-at-the-end": ((Receiver, "end", holds_on),),
    "held-until-processed": ((Receiver, "_done", done_at_the_first),),
    "late-is-passed-on": ((Stage, "done_at_once", closes_what_is_late),),
    "absent-is-not-owed": ((Client, "owed", property(owed_to_nobody)),),
    "expected-for-a-time": ((Clients, "wait_from", waits_for_ever),),
}


@contextmanager
def switched_off(safeguard: str | None) -> Iterator[None]:
    """Without that safeguard; None: with all of them."""
    with ExitStack() as stack:
        for where, name, instead in SAFEGUARDS[safeguard] if safeguard is not None else ():
            assert getattr(where, name) is not instead
            stack.enter_context(patch.object(where, name, instead))
        yield
