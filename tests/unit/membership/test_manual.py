"""What the manual says of repairs, their names and their bytes, is so."""

from __future__ import annotations

import re
from pathlib import Path

from holdfast.membership import Header, Member, Node, Ping, Postcard, Repair, State, notes, talk
from holdfast.membership.messages import Announce
from holdfast.membership.notes import BUCKETS

CODEC = Postcard(Node)
GENERATION = talk.generation(1_760_000_000 * 10**9, marked=True)
A, B = Node("10.0.0.1", 7946, GENERATION), Node("10.0.0.2", 7946, GENERATION)
ITEM_LENGTH = 2


def rows(project: Path) -> dict[str, list[int]]:
    """Each switch, and the numbers in what it costs on the wire."""
    text = (project / "docs" / "reference" / "membership.md").read_text()
    section = text.split("### What it repairs")[1].split("\n## ")[0]
    found = re.findall(r"^\| `([a-z-]+)` \|.*\|([^|]*)\|$", section, flags=re.MULTILINE)
    return {name: [int(n) for n in re.findall(r"\b\d+\b", cost)] for name, cost in found}


def test_the_manual_describes_every_repair_in_order(project: Path) -> None:
    assert list(rows(project)) == [repair.value for repair in Repair]


def test_the_bytes_are_those_of_the_wire(project: Path) -> None:
    costs = rows(project)
    member = Member(A, 0, State.ALIVE)
    update = len(CODEC.encode_member(member))
    header = len(CODEC.encode_header(Header(A, 0, B, Ping(1))))
    announce = len(CODEC.encode_header(Header(A, 0, B, Announce())))
    text = (project / "docs" / "reference" / "membership.md").read_text()
    assert f"IPv4: {header} for a header, {update} for an update." in " ".join(text.split())
    assert costs["isolation-recovery"] == [announce, 1, 2, 4, 16, announce]
    assert update in costs["buddy-notice"]
    assert update in costs["no-record-of-oneself"]
    digest = notes.digest((0,) * BUCKETS, answer=True)
    assert costs["anti-entropy"][0] == len(digest) + ITEM_LENGTH
    assert costs["suspicion-confirmation"] == [
        len(notes.accuse(CODEC, member, member)) + ITEM_LENGTH
    ]
    assert costs["sleep"][0] == len(notes.sleep(CODEC, member, 3600)) + ITEM_LENGTH
