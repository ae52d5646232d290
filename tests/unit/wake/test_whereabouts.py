"""Where a wake lease is: what was seen against what was said, and how that is put into words."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from holdfast.wake.holders import look, scan
from holdfast.wake.hops import Hops, Process, Trail
from holdfast.wake.whereabouts import (
    Halt,
    Hiding,
    Holder,
    HoldState,
    Mailbox,
    Place,
    Scan,
    Whereabouts,
    command_of,
    whereabouts,
)
from holdfast.wake.wording import in_words, last_known, whom
from tests.unit.wake.crowd import Crowd, crowd_of_a_test, line, until

S = 1_000_000_000
LEASE = 77
UPLOADER = Process(4711, 100, session=40, command="uploader")
GZIP = Process(4800, 200, session=40, command="gzip")


@pytest.fixture
def hops() -> Hops:
    one = Hops(hops_max=4)
    one.opened(LEASE, UPLOADER, 0)
    return one


def holder_of(process: Process, **more: object) -> Holder:
    facts = {"uid": 1, "argv": (f"/bin/{process.command}",), "fds": (7,), "session": 40} | more
    return Holder(process.pid, process.start_ticks, **facts)  # type: ignore[arg-type]


def seen(hops: Hops, *holders: Holder, **more: object) -> Whereabouts:
    trail = hops.trail(LEASE)
    assert trail is not None
    return whereabouts(trail, Scan(holders={LEASE: holders}, **more))  # type: ignore[arg-type]


def words(where: Whereabouts) -> str:
    return in_words(where, "upload", 0, 12 * S)


ACQUIRED = 'wake lease "upload" was acquired by pid 4711 (uploader) 12 s ago'
STILL = 'wake lease "upload" was acquired 12 s ago by pid 4711 (uploader)'


def test_the_acquirer_holds_it_still(hops: Hops) -> None:
    where = seen(hops, holder_of(UPLOADER))
    assert where.place is Place.HELD
    [holding] = where.holdings
    assert (holding.announced, holding.let_go, holding.heir_of) == (True, False, None)
    assert words(where) == f"{STILL}, which still holds it"
    assert whom(where, 12 * S) == ""
    became = holder_of(UPLOADER, argv=("/bin/rsync",))
    assert "by pid 4711 (rsync), which still holds it" in words(seen(hops, became))


def test_who_was_said_to_have_received_it_is_announced(hops: Hops) -> None:
    hops.sent(LEASE, UPLOADER, 1, index=812)
    hops.received(LEASE, GZIP, 2, index=812)
    hops.released(LEASE, UPLOADER, 3)
    where = seen(hops, holder_of(GZIP))
    [holding] = where.holdings
    assert (holding.announced, holding.index, where.missing) == (True, 812, ())
    assert words(where) == (
        f"{ACQUIRED} and is now held by pid 4800 (gzip), until it has processed message 812"
    )


def test_a_child_that_never_announced_it_is_a_leak(hops: Hops) -> None:
    parents = (Process(4750, 150), Process(4711, 100), Process(1, 1))
    where = seen(hops, holder_of(GZIP, parents=parents))
    [holding] = where.holdings
    assert holding.holder.state is HoldState.LEAKED
    assert holding.heir_of == UPLOADER
    assert words(where) == (
        f"{ACQUIRED} and is now held by pid 4800 (gzip), which never announced that it took it "
        "over: probably leaked into a child of pid 4711 (uploader)"
    )


def test_a_child_that_was_meant_to_have_it_is_none(hops: Hops) -> None:
    hops.shared(LEASE, UPLOADER)
    where = seen(hops, holder_of(GZIP, parents=(UPLOADER,)))
    [holding] = where.holdings
    assert (holding.holder.state, holding.announced) == (HoldState.HOLDING, True)
    assert holding.heir_of == UPLOADER
    assert words(where) == (
        f"{ACQUIRED} and is now held by pid 4800 (gzip), as was meant, below pid 4711 (uploader)"
    )


def test_a_later_process_with_the_acquirers_number_is_not_its_parent(hops: Hops) -> None:
    where = seen(hops, holder_of(GZIP, parents=(Process(4711, 150),), session=9))
    [holding] = where.holdings
    assert (holding.holder.state, holding.heir_of) == (HoldState.HOLDING, None)
    assert words(where).endswith("(gzip), which never announced that it took it over")


def test_an_orphan_is_known_by_its_session(hops: Hops) -> None:
    below_init = (Process(1, 1, session=1),)
    assert seen(hops, holder_of(GZIP, parents=below_init)).holdings[0].heir_of is None
    orphan = holder_of(GZIP, parents=below_init, orphan=True)
    assert seen(hops, orphan).holdings[0].heir_of == UPLOADER
    older = holder_of(Process(4800, 99), parents=below_init, orphan=True)
    assert seen(hops, older).holdings[0].heir_of is None
    elsewhere = holder_of(GZIP, parents=below_init, orphan=True, session=41)
    assert seen(hops, elsewhere).holdings[0].heir_of is None


def test_the_nearest_forebear_is_the_one_who_leaked_it(hops: Hops) -> None:
    hops.received(LEASE, GZIP, 2)
    child = Process(4900, 300, command="sh")
    where = seen(hops, holder_of(child, parents=(GZIP, UPLOADER)))
    assert where.holdings[0].heir_of == GZIP


def test_who_let_go_and_has_it_still_has_forgotten_a_duplicate(hops: Hops) -> None:
    hops.released(LEASE, UPLOADER, 3)
    where = seen(hops, holder_of(UPLOADER, fds=(9,)))
    [holding] = where.holdings
    assert (holding.announced, holding.let_go) == (True, True)
    assert words(where).endswith(
        "though it said that it had let go: probably a forgotten duplicate"
    )


def test_who_received_it_twice_and_let_go_once_holds_it(hops: Hops) -> None:
    hops.received(LEASE, GZIP, 2)
    hops.received(LEASE, GZIP, 3)
    hops.released(LEASE, GZIP, 4)
    assert not seen(hops, holder_of(GZIP)).holdings[0].let_go


def test_where_reports_were_forgotten_nobody_is_called_a_leak(hops: Hops) -> None:
    for at in range(5):
        hops.received(LEASE, Process(at + 1, 1), at)
    where = seen(hops, holder_of(GZIP, parents=(UPLOADER,)))
    assert (where.holdings[0].announced, where.holdings[0].heir_of) == (True, None)


@pytest.mark.parametrize(
    ("halt", "told"),
    [
        (Halt.STOPPED, ", and which is stopped: it cannot let go before `kill -CONT 4711`"),
        (Halt.TRACED, ", and which is stopped by a debugger: it cannot let go before it goes on"),
        (Halt.FROZEN, ", and which is frozen by its cgroup: it cannot let go before it is thawed"),
        (Halt.KERNEL, ", and which waits in the kernel, where no signal reaches it"),
    ],
)
def test_who_cannot_let_go_is_told(hops: Hops, halt: Halt, told: str) -> None:
    where = seen(hops, holder_of(UPLOADER, halt=halt, state=HoldState.FROZEN))
    assert words(where) == f"{STILL}, which still holds it{told}"


def test_several_holders_are_all_told(hops: Hops) -> None:
    hops.received(LEASE, GZIP, 2)
    told = words(seen(hops, holder_of(UPLOADER), holder_of(GZIP)))
    assert told == f"{ACQUIRED} and is now held by pid 4711 (uploader); and by pid 4800 (gzip)"
    where = seen(hops, holder_of(GZIP), holder_of(UPLOADER))
    assert whom(where, 12 * S) == "now held by pid 4800 (gzip) and 1 more"
    assert whom(seen(hops, holder_of(GZIP)), 12 * S) == "now held by pid 4800 (gzip)"


def test_what_nobody_holds_is_in_a_message_or_out_of_sight(hops: Hops) -> None:
    where = seen(hops)
    assert (where.place, where.hiding) == (Place.IN_FLIGHT, (Hiding.MESSAGE,))
    assert where.missing == (UPLOADER,)
    assert whom(where, 12 * S) == "now in no process that was seen"
    assert words(where) == (
        f"{ACQUIRED}; nobody was found to hold it now: it is in a message that nobody has received"
    )
    told = words(seen(hops, denied=3, hidden=True, outside=True, skipped=1))
    assert told.endswith(
        "received, or in one of 3 processes that we may not look into, or in one that /proc hides "
        "from us, or in one outside of our container, or in one of those that were too many to "
        "look into"
    )


def test_a_sent_copy_that_nobody_received_is_told_with_its_likely_place(hops: Hops) -> None:
    hops.sent(LEASE, UPLOADER, 9 * S, receiver=GZIP)
    box = Mailbox(4800, 200, 1, ("gzip",), (5, 6), 1)
    where = seen(hops, mailboxes=(box,))
    assert [hop.receiver for hop in where.on_the_way] == [GZIP]
    assert words(where) == (
        f"{ACQUIRED}; nobody was found to hold it now: pid 4711 (uploader) sent it to pid 4800 "
        "(gzip) 3.0 s ago, and nobody has received it; it is in a message that nobody has received "
        "(such messages wait for pid 4800 (gzip), socket 5, 6)"
    )
    assert seen(hops, holder_of(UPLOADER), mailboxes=(box,)).mailboxes == ()


def test_an_acquirer_that_is_not_known_is_not_made_up() -> None:
    trail = Trail(LEASE, None, 0)
    where = whereabouts(trail, Scan(holders={LEASE: (holder_of(GZIP),)}))
    assert words(where) == (
        'wake lease "upload" was acquired by a process that the kernel did not name 12 s ago and '
        "is now held by pid 4800 (gzip), which never announced that it took it over"
    )


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ((), "?"),
        (("/usr/bin/gzip", "-9"), "gzip"),
        (("/usr/bin/python3", "/opt/up/load.py", "x"), "python3 load.py"),
        (("python3", "-c", "pass"), "python3"),
        (("python3", "-m", "upload", "x"), "python3 -m upload"),
        (("python3",), "python3"),
        (("evil\x1b[2J",), "evil\\x1b[2J"),
        (("dir/",), "dir/"),
        (("x" * 100,), "x" * 64),
    ],
)
def test_what_a_process_is_called(argv: tuple[str, ...], name: str) -> None:
    assert command_of(argv) == name


# -- real processes -------------------------------------------------------------------------------


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with crowd_of_a_test() as one:
        yield one


def test_a_child_that_was_left_behind_is_found_and_blamed(crowd: Crowd) -> None:
    """The commonest leak: a helper that was started without close_fds, and outlives its parent."""
    _, write, inode = crowd.pipe()
    shell = crowd.start("sh", "-c", "read x; sleep 1000 & echo $!", fds=(write,), session=True)
    hops = Hops()
    hops.opened(inode, look(shell.pid), 0)
    crowd.drop(write)
    assert shell.stdin is not None
    shell.stdin.write("\n")
    shell.stdin.flush()
    sleep = crowd.adopt(int(line(shell)))
    assert until(lambda: shell.poll() is not None)

    def where() -> Whereabouts:
        trail = hops.trail(inode)
        assert trail is not None
        return whereabouts(trail, scan([inode]))

    assert until(lambda: where().holdings[0].holder.command == "sleep")
    found = where()
    [holding] = found.holdings
    assert (holding.holder.pid, holding.holder.state) == (sleep, HoldState.LEAKED)
    assert holding.heir_of is not None
    assert holding.heir_of.pid == shell.pid
    assert [one.pid for one in found.missing] == [shell.pid]


def test_ourselves_and_a_child_at_once(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    child = crowd.sleeper(write)
    trail = Trail(inode, look(os.getpid()), 0)
    where = whereabouts(trail, scan([inode]))
    told = {each.holder.pid: (each.announced, each.holder.state) for each in where.holdings}
    assert told == {
        os.getpid(): (True, HoldState.HOLDING),
        child.pid: (False, HoldState.LEAKED),
    }
    assert where.acquirer is not None
    assert where.acquirer.command.startswith(os.path.basename(sys.orig_argv[0]))


def test_a_holder_is_told_with_what_it_waits_for_and_how_far_it_is(hops: Hops) -> None:
    hops.received(LEASE, GZIP, 2, index=812)
    where = seen(hops, holder_of(UPLOADER), holder_of(GZIP))
    assert whom(where, 12 * S) == "now held by pid 4800 (gzip) and 1 more, waiting for index 812"
    hops.progress(LEASE, GZIP, 790, 9 * S)
    where = seen(hops, holder_of(UPLOADER), holder_of(GZIP, halt=Halt.STOPPED))
    assert whom(where, 12 * S) == (
        "now held by pid 4800 (gzip) and 1 more, waiting for index 812, processed 790 (3.0 s ago)"
    )
    assert (
        "until it has processed message 812 (it had processed 790, as it said 3.0 s ago), "
        "and which is stopped"
    ) in words(where)


def test_one_that_is_done_and_keeps_it_for_the_next_is_told_as_such(hops: Hops) -> None:
    hops.received(LEASE, GZIP, 2, index=812)
    hops.progress(LEASE, GZIP, 812, 11 * S)
    told = words(seen(hops, holder_of(GZIP)))
    assert told.endswith("message 812 (it has, as it said 1.0 s ago, and holds it for the next)")


def test_one_that_died_is_told_with_how_far_it_was(hops: Hops) -> None:
    hops.received(LEASE, GZIP, 2, index=812, processed=700)
    hops.progress(LEASE, GZIP, 790, 2 * S)
    lost = (
        "; pid 4800 (gzip) had it, waiting for index 812, processed 790 (10 s ago), "
        "and has it no more"
    )
    for where in (seen(hops, holder_of(UPLOADER)), seen(hops)):
        assert words(where).endswith(lost)
    hops.received(LEASE, Process(5000, 300, command="tar"), 3, index=900)
    where = seen(hops, holder_of(Process(5000, 300, command="tar")))
    assert words(where).endswith(lost)


def test_of_one_that_is_gone_the_last_holder_is_known(hops: Hops) -> None:
    assert last_known((), 12 * S) == ""
    hops.sent(LEASE, UPLOADER, 1, index=812)
    hops.received(LEASE, GZIP, 2, index=812, processed=790)
    hops.sent(LEASE, GZIP, 3)
    hops.closed(LEASE)
    assert last_known(hops.ended(LEASE), 12 * S + 2) == (
        "last with pid 4800 (gzip), waiting for index 812, processed 790 (12 s ago)"
    )
