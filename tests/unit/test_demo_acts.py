"""What the acts of the demo make of what they see, and what is shown of it meanwhile."""

from __future__ import annotations

import itertools
import random
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.demo import reign, screen
from holdfast.demo import stage as stage_module
from holdfast.demo.acts import hosting
from holdfast.demo.acts.act import Line
from holdfast.demo.acts.counting import Counting
from holdfast.demo.acts.gathering import bound_s
from holdfast.demo.acts.hosting import CONFIG
from holdfast.demo.acts.pacing import Pacing
from holdfast.demo.acts.pairing import Pairing
from holdfast.demo.screen import Screen
from holdfast.demo.stage import Event, Stage
from holdfast.demo.tally import Row, Tally
from holdfast.membership import Member, Node, State
from holdfast.membership.member import Members
from holdfast.state import Namespace

# -- two at once ----------------------------------------------------------------------------------


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    tally = Tally(str(tmp_path / "tally"))
    return [tally.row(number) for number in range(3)]


def test_turns_that_follow_each_other_do_not_overlap(rows: list[Row]) -> None:
    first, second, third = rows
    reign.begin(first, 6, now_ns=100)
    assert reign.overlaps(first, [second, third], asked_ns=110) == 0
    reign.begin(second, 7, now_ns=120)
    assert reign.overlaps(second, [first, third], asked_ns=130) == 0


@pytest.mark.parametrize("token", [6, 7])
def test_who_acts_on_after_its_heir_has_begun_is_seen_by_it(rows: list[Row], token: int) -> None:
    """Also one with the same token: nobody gets the same twice."""
    first, second, third = rows
    reign.begin(first, token, now_ns=100)
    reign.begin(second, 7, now_ns=120)
    reign.overlaps(first, [second, third], asked_ns=121)
    assert reign.overlaps(second, [first, third], asked_ns=130) == 1


def test_who_acts_too_early_sees_it_when_the_other_goes_on(rows: list[Row]) -> None:
    first, second, third = rows
    reign.begin(first, 6, now_ns=100)
    reign.begin(second, 7, now_ns=120)
    assert reign.overlaps(second, [first, third], asked_ns=130) == 0
    assert reign.overlaps(first, [second, third], asked_ns=140) == 0, "it is the elder"
    assert reign.overlaps(second, [first, third], asked_ns=150) == 1


# -- the bound ------------------------------------------------------------------------------------


def test_a_member_is_asked_again_within_the_bound() -> None:
    """Two rounds, mixed anew: at worst it is the first of one and the last of the next."""
    longest = 0
    for seed in range(200):
        members: Members[Node] = Members(random.Random(seed))
        for port in range(1, 5):
            node = Node("127.0.0.1", port, 0)
            members.apply(Member(node, 0, State.ALIVE), node.addr)
        asked = [member.identity.port for _ in range(40) if (member := members.next_to_probe())]
        at = [index for index, port in enumerate(asked) if port == 1]
        longest = max([longest, *(b - a for a, b in itertools.pairwise(at))])
    assert longest == 2 * 4 - 1
    # One period more until the verdict; then the longest suspicion there is.
    assert bound_s(CONFIG, 5) == pytest.approx((longest + 1) * 0.25 + 6 * 0.75)


# -- a death, and those who go on -----------------------------------------------------------------


def stage_for(namespace: Namespace, row: Row) -> Any:
    """With players that are ready at first; those that are started later are not."""
    process = SimpleNamespace(send_signal=lambda _: None)
    killed: list[object] = []

    def start(*_: object, **__: object) -> Any:
        player = SimpleNamespace(row=row, process=process, say=lambda _: None)
        player.ready = not killed
        player.kill = lambda: killed.append(player)
        return player

    return SimpleNamespace(
        killed=killed,
        namespace=namespace,
        chance=random.Random(1),
        sabotage=frozenset(),
        elapsed_s=0.0,
        note=lambda _: None,
        reserve_row=lambda: 0,
        start=start,
    )


@pytest.mark.parametrize("act", [Counting, Pairing])
@pytest.mark.parametrize("goes_on", [True, False])
def test_only_who_has_not_gone_on_has_halted_however_late_one_looks(
    act: Callable[[Any], Any], namespace: Namespace, rows: list[Row], *, goes_on: bool
) -> None:
    stage = stage_for(namespace, rows[0])
    played = act(stage)
    stage.elapsed_s = 1.0
    played.step()  # somebody is killed
    if goes_on:
        for name in namespace.names():
            with namespace.subscribe(name, "rw") as state, state.transaction() as txn:
                txn.data[0] = 1
    stage.elapsed_s = 100.0
    played.step()
    [halts] = [promise for promise in played.promises() if promise.name.startswith("halt")]
    assert halts.seen == (not goes_on)


@pytest.mark.parametrize("act", [Counting, Pairing])
def test_nobody_is_killed_as_long_as_no_other_is_there_to_go_on(
    act: Callable[[Any], Any], namespace: Namespace, rows: list[Row]
) -> None:
    stage = stage_for(namespace, rows[0])
    played = act(stage)
    for _ in range(200):
        stage.elapsed_s += 100.0
        played.step()
    assert len(stage.killed) == 2, "of three; their successors are still to come"


# -- what is shown --------------------------------------------------------------------------------


def showing(events: list[Event], lines: list[Line]) -> tuple[Any, Screen]:
    stage = SimpleNamespace(events=events, elapsed_s=2.0, seconds=5.0)
    shown = Screen(cast(Stage, stage), lambda: lines)
    shown.open()
    return stage, shown


def host(number: int, count: int = 0) -> Line:
    return Line(f"host{number}", "stands by", count, (), "sees 0 1", group="2 hosts")


def test_in_a_pipe_a_group_is_one_and_what_matters_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "LINE_S", 0.0)
    events = [Event(0.5, "counter 1 killed"), Event(1.25, "host1 is killed", aloud=True)]
    _, shown = showing(events, [Line("reader", "reads", 0, ()), host(0), host(1)])
    shown._due = 0.0
    shown.update()
    told, sentence = capsys.readouterr().err.splitlines()
    assert told == "   1.25 s  host1 is killed"
    assert re.fullmatch(
        r"   2 s  reader 0/s  2 hosts 0/s  \(2 events, last: host1 is killed\)", sentence
    )
    events.append(Event(2.5, "host1 is back", aloud=True))
    shown.rest()
    assert capsys.readouterr().err.splitlines() == ["   2.50 s  host1 is back"]
    events.append(Event(3.5, "host0 is killed", aloud=True))
    shown.close()
    assert capsys.readouterr().err.splitlines() == ["   3.50 s  host0 is killed"]


@pytest.mark.parametrize(("height", "seen"), [(60, 6), (24, 5), (10, 2)])
def test_a_picture_has_room_for_its_lines_first(
    monkeypatch: pytest.MonkeyPatch, height: int, seen: int
) -> None:
    monkeypatch.setenv("LINES", str(height))
    events = [Event(float(i), f"event {i}") for i in range(9)]
    lines = [host(number) for number in range(15)]
    _, shown = showing(events, lines)
    picture = shown._picture([(line, 0) for line in lines])
    with shown._console.capture() as captured:
        shown._console.print(picture)
    text = captured.get()
    assert text.count("host") == 15
    assert [f"event {i}" in text for i in range(9)].count(True) == seen
    assert "event 8" in text
    assert text.startswith("2 of 5 s\n")


# -- those who are kept from the processor --------------------------------------------------------


@pytest.fixture
def host_of(tmp_path: Path) -> Callable[..., Any]:
    """A host that has seen all five, and does not see the last any more."""
    tally = Tally(str(tmp_path / "tally"))

    def make(*, sabotage: frozenset[str] = frozenset()) -> Any:
        part = SimpleNamespace(
            row=tally.row(0), number=0, sibling=tally.row, sabotage=sabotage, namespace=None
        )
        cluster = SimpleNamespace(members=list, counts={})
        host = hosting._Host(cast(Any, part), cast(Any, cluster), cast(Any, None), cast(Any, None))
        host._seen = 1 << 4
        tally.row(hosting.HOSTS)[hosting.LIVE] = hosting.ALL
        for number in range(hosting.HOSTS):
            tally.row(number)[hosting.THERE_NS] = hosting.now_ns()
        return host

    return make


def missing(host: Any) -> tuple[int, int]:
    host.note_view()
    return host._row[hosting.MISSING], host._row[hosting.PARDONED]


def test_a_live_host_may_not_be_missing(host_of: Callable[..., Any]) -> None:
    assert missing(host_of()) == (1, 0)


@pytest.mark.parametrize("word", [hosting.THERE_NS, hosting.BACK_NS])
@pytest.mark.parametrize("number", [2, 4])
def test_unless_some_host_was_kept_from_the_processor(
    host_of: Callable[..., Any], number: int, word: int
) -> None:
    host = host_of()
    row = host._part.sibling(number)
    long_ago = row[hosting.THERE_NS] - 2 * hosting.AWAY_NS_MIN
    row[word] = long_ago if word == hosting.THERE_NS else hosting.now_ns()
    assert missing(host) == (0, 1)


def test_who_notices_that_it_was_away_itself_says_so(host_of: Callable[..., Any]) -> None:
    host = host_of()
    host._row[hosting.THERE_NS] -= 2 * hosting.AWAY_NS_MIN
    assert missing(host) == (0, 1)
    assert host._row[hosting.BACK_NS] > 0


def test_what_the_stage_has_stopped_is_no_excuse(host_of: Callable[..., Any]) -> None:
    host = host_of()
    host._book[hosting.LIVE] = hosting.ALL & ~(1 << 0 | 1 << 3)
    for number in (0, 3):
        host._part.sibling(number)[hosting.THERE_NS] -= 2 * hosting.AWAY_NS_MIN
    assert missing(host) == (1, 0)
    assert host._row[hosting.BACK_NS] == 0


def test_a_writer_that_dies_before_its_first_commit_is_replaced(
    namespace: Namespace, rows: list[Row]
) -> None:
    stage = stage_for(namespace, rows[0])
    played = Pacing(stage)
    stage.elapsed_s = 100.0
    played.step()
    assert len(stage.killed) == 1
    played.step()
    assert played._gauge not in stage.killed


def test_ctrl_c_amid_a_start_comes_when_the_process_is_known() -> None:
    seen: list[str] = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("told"))
    try:
        with stage_module._held_back((signal.SIGINT,)):
            signal.raise_signal(signal.SIGINT)
            seen.append("started")
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["started", "told"]
