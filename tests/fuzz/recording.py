"""The corpus: packets that members really send, the shortest of each kind, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import msgpack

from holdfast.membership import (
    Bincode,
    Header,
    Member,
    Node,
    Ping,
    PingReq,
    Postcard,
    State,
    notes,
    talk,
)
from holdfast.membership.messages import WITH_UPDATES
from holdfast.membership.rest import ROUNDS
from tests.fuzz.targets import CRATE, PEER, POOR, RICH, Rich
from tests.unit.membership.net import Net, S


def record(directory: Path) -> None:
    """Write a file for each target: in each line what it is, and its bytes."""
    letters: dict[str, bytes] = {}
    written: dict[str, bytes] = {}
    for name, kind in (("bincode", Bincode), ("postcard", Postcard)):
        codec: Any = kind(Node)
        packets, items = told(codec)
        letters |= {what: item for what, item in items.items() if talk.is_item(item)}
        written |= {f"{what}-{name}": i for what, i in items.items() if notes.is_note(i)}
        members = [Member(one, 251, State.ALIVE) for one in (PEER, CRATE)]
        written[f"STATE-{name}"] = notes.state([*map(codec.encode_member, members)])
        write(directory / f"{name}.txt", packets)
        write(directory / f"{name}-rich.txt", rich(kind(Rich)))
    write(directory / "letter.txt", letters)
    write(directory / "note.txt", written)
    net = Net()
    sessions = [net.add(f"n{at}", at, "10.0.0.1:1", tags={"k": "v" * at}) for at in (1, 2, 3)]
    net.run(3)
    looks = {"bare": talk.Look(7, "", b""), "after": talk.Look(2**40, "10.0.0.1:1", b"\0" * 20)}
    questions = {what: talk.QUESTION + msgpack.encode(look) for what, look in looks.items()}
    write(directory / "question.txt", questions)
    look = looks["bare"]
    answers = {
        "empty": talk.page(look, [], 1200),
        "whole": talk.page(look, sessions[0].members(), 1200),
        "first": talk.page(look, sessions[0].members(), 60),
    }
    write(directory / "page.txt", answers)


def write(path: Path, found: dict[str, bytes]) -> None:
    path.write_text("".join(f"{name} {found[name].hex()}\n" for name in sorted(found)))


def told(codec: Any) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What some members say in a good while with deaths, farewells, events, sleep and loss."""
    net = Net(codec=codec)
    sessions = [net.add("n1", 1, tags={"role": "db"})]
    sessions += [net.add(f"n{at}", at, "10.0.0.1:1") for at in range(2, 7)]
    net.add("crate", 7, "10.0.0.1:1", marked=False)
    net.run(12)
    sessions[1].broadcast("deploy", b"v7", net.now_ns)
    net.carry_out(("10.0.0.1", 2))
    assert sessions[2].prepare_sleep(net.now_ns, 60 * S, ROUNDS)
    net.carry_out(("10.0.0.1", 3))
    net.cut = lambda source, _to: source == ("10.0.0.1", 5)
    net.run(4)
    net.cut = lambda _source, _to: False
    net.run(12)
    net.kill(sessions[5])
    net.run(20)
    sessions[3].leave(net.now_ns, S)
    net.carry_out(("10.0.0.1", 4))
    net.run(12)
    packets: dict[str, bytes] = {}
    items: dict[str, bytes] = {}
    for _, _, data in net.sent:
        header, at = codec.decode_header(data)
        kind = type(header.message).__name__
        if type(header.message) in WITH_UPDATES and at < len(data):
            count, at = int.from_bytes(data[at : at + 2], "big"), at + 2
            members, at = codec.decode_members(data, at, count)
            states = {member.state.name.lower() for member in members}
            kind += "".join(f"+{state}" for state in sorted(states))
        while at < len(data):
            length, at = int.from_bytes(data[at : at + 2], "big"), at + 2
            item, at = data[at : at + length], at + length
            name = named(item)
            kind += f"+{name}"
            keep(items, name, item)
        keep(packets, kind, data)
    return packets, items


def named(item: bytes) -> str:
    """What an item is."""
    if notes.is_note(item):
        return notes.Kind(item[len(notes.MAGIC)]).name
    return type(talk.decode(item)).__name__


def keep(found: dict[str, bytes], kind: str, data: bytes) -> None:
    """Keep the shortest of its kind."""
    if kind not in found or (len(data), data) < (len(found[kind]), found[kind]):
        found[kind] = data


def rich(codec: Any) -> dict[str, bytes]:
    """Headers and updates of an identity that has all that a layout can have."""
    ping = codec.encode_header(Header(RICH, 300, POOR, Ping(7)))
    asking = codec.encode_header(Header(POOR, 0, RICH, PingReq(POOR, 255)))
    members = [Member(RICH, 251, State.SUSPECT), Member(POOR, 65_535, State.DOWN)]
    section = b"".join(map(codec.encode_member, members))
    return {"ping": ping + b"\0\0", "asking": asking + b"\0\2" + section}
