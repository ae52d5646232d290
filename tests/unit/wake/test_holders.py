"""Who has a pipe open for writing, with real processes, real signals and real messages."""

from __future__ import annotations

import array
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.process import Owner
from holdfast.wake import holders
from holdfast.wake.holders import look, scan
from holdfast.wake.whereabouts import Halt, Hiding, Holder, HoldState
from tests.unit.wake.crowd import Crowd, crowd_of_a_test, line, state_of, until


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with crowd_of_a_test() as one:
        yield one


def held(inode: int, *first: int) -> tuple[Holder, ...]:
    return scan([inode], first=first).holders[inode]


def test_a_holder_is_named_with_all_that_identifies_it(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    [holder] = held(inode)
    me = Owner.current()
    assert (holder.pid, holder.start_ticks, holder.uid) == (me.pid, me.start_ticks, me.uid)
    assert holder.fds == (write,)
    command = Path("/proc/self/cmdline").read_bytes()  # a program may have given itself another
    assert holder.argv[0] == command.split(b"\0")[0].decode()
    assert (holder.state, holder.halt) == (HoldState.HOLDING, None)
    assert holder.session == os.getsid(0)
    # The first process of a container has a parent that cannot be seen: 0.
    assert [one.pid for one in holder.parents[:1]] == [pid for pid in [os.getppid()] if pid]


def test_duplicates_are_one_holder_and_the_read_end_is_none(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    copy = os.dup(write)
    crowd.descriptors.append(copy)
    [holder] = held(inode)
    assert holder.fds == tuple(sorted((write, copy)))
    crowd.drop(copy)
    crowd.drop(write)
    assert held(inode) == ()


def test_a_copy_that_was_opened_anew_counts_if_it_can_write(crowd: Crowd) -> None:
    """Whoever may look into a process can open its descriptors again, by their path in /proc."""
    read, write, inode = crowd.pipe()
    again = os.open(f"/proc/self/fd/{read}", os.O_RDWR)
    only_a_name = os.open(f"/proc/self/fd/{write}", os.O_PATH)
    crowd.descriptors += [again, only_a_name]
    crowd.drop(write)
    [holder] = held(inode)
    assert holder.fds == (again,)


def test_a_program_that_inherited_it_is_found_below_its_parents(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    child = crowd.start("sh", "-c", "sleep 1000 & echo $!; wait", fds=(write,))
    sleep = crowd.adopt(int(line(child)))
    crowd.drop(write)
    assert until(lambda: {one.command for one in held(inode)} == {"sh", "sleep"})
    shell, below = sorted(held(inode), key=lambda one: one.command)  # by pid, numbers may wrap
    assert (shell.pid, below.pid) == (child.pid, sleep)
    assert shell.argv[:2] == ("sh", "-c")
    assert below.argv == ("sleep", "1000")
    assert [one.pid for one in below.parents[:2]] == [child.pid, os.getpid()]
    assert below.parents[0] == shell.process
    assert not below.orphan


def test_a_child_of_a_fork_holds_it_too(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    source = "import os, time; pid = os.fork(); pid and print(pid, flush=True); time.sleep(1000)"
    parent = crowd.program(source, fds=(write,))
    child = crowd.adopt(int(line(parent)))
    crowd.drop(write)
    assert {one.pid for one in held(inode)} == {parent.pid, child}


def test_many_leases_cost_one_look(crowd: Crowd) -> None:
    pipes = [crowd.pipe() for _ in range(40)]
    child = crowd.start("sleep", "1000", fds=tuple(write for _, write, _ in pipes[::2]))
    for _, write, _ in pipes[::2]:
        crowd.drop(write)
    seen = scan(inode for _, _, inode in pipes)
    assert len(seen.holders) == 40
    for at, (_, _, inode) in enumerate(pipes):
        [holder] = seen.holders[inode]
        assert holder.pid == (os.getpid() if at % 2 else child.pid)


def test_nothing_is_looked_for_and_nothing_is_looked_at() -> None:
    assert scan([]).processes == 0


# -- who does not run -----------------------------------------------------------------------------


def test_who_was_stopped_is_frozen_until_it_goes_on(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    child = crowd.start("sleep", "1000", fds=(write,))
    crowd.drop(write)
    os.kill(child.pid, signal.SIGSTOP)
    assert until(lambda: state_of(child.pid) == "T")
    [holder] = held(inode)
    assert (holder.state, holder.halt) == (HoldState.FROZEN, Halt.STOPPED)
    os.kill(child.pid, signal.SIGCONT)
    assert until(lambda: held(inode)[0].state is HoldState.HOLDING)


def freezer() -> Path | None:
    """Where a group that can be frozen can be made; None: not on this machine."""
    for place in ("freezer", "unified", ""):
        top = Path("/sys/fs/cgroup") / place
        known = (top / "tasks").exists() if place == "freezer" else (top / "cgroup.procs").exists()
        if known and os.access(top, os.W_OK):
            return top
    return None


@pytest.mark.skipif(freezer() is None, reason="no group can be made below /sys/fs/cgroup here")
def test_who_is_in_a_frozen_group_is_frozen(crowd: Crowd) -> None:
    top = freezer()
    assert top is not None
    group = top / f"holdfast-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group can be made here: {error}")
    old = (group / "freezer.state").exists()
    switch, on, off = ("freezer.state", "FROZEN", "THAWED") if old else ("cgroup.freeze", "1", "0")
    _, write, inode = crowd.pipe()
    child = crowd.start("sleep", "1000", fds=(write,))
    crowd.drop(write)
    try:
        try:
            (group / "cgroup.procs").write_text(str(child.pid))
        except OSError as error:
            pytest.skip(f"nobody can be put into a group here: {error}")
        (group / switch).write_text(on)
        assert until(lambda: held(inode)[0].halt is Halt.FROZEN)
        assert held(inode)[0].state is HoldState.FROZEN
        (group / switch).write_text(off)
        assert until(lambda: held(inode)[0].state is HoldState.HOLDING)
    finally:
        (group / switch).write_text(off)
        child.kill()
        child.wait()
        assert until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


# -- who is nowhere -------------------------------------------------------------------------------


def a_socket_tells_of_descriptors() -> bool:
    one, other = socket.socketpair()
    with one, other:
        return "scm_fds" in Path(f"/proc/self/fdinfo/{one.fileno()}").read_text()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_a_copy_in_an_unread_message_is_in_no_process(crowd: Crowd, kind: int) -> None:
    read, write, inode = crowd.pipe()
    here, there = socket.socketpair(socket.AF_UNIX, kind)
    with here, there:
        rights = array.array("i", [write])
        here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        crowd.drop(write)
        seen = scan([inode])
        assert seen.holders[inode] == ()
        assert Hiding.MESSAGE in seen.hiding
        if a_socket_tells_of_descriptors():
            [box] = [box for box in seen.mailboxes if box.pid == os.getpid()]
            assert there.fileno() in box.sockets
            assert here.fileno() not in box.sockets
            assert box.waiting >= 1
        _, fds, _, _ = socket.recv_fds(there, 1, 1)
        crowd.descriptors += fds
        [holder] = held(inode)
        assert holder.fds == tuple(fds)
    assert os.fstat(read).st_ino == inode


def test_mailboxes_are_not_looked_for_while_there_is_a_holder(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    here, there = socket.socketpair()
    with here, there:
        rights = array.array("i", [write])
        here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        assert scan([inode]).mailboxes == ()


SECRETIVE = """
import ctypes, sys, time
PR_SET_DUMPABLE = 4
assert ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0
print("secret", flush=True)
time.sleep(1000)
"""

STRANGER = """
import json, os, sys
from holdfast.wake.holders import scan
inode, *pids = map(int, sys.argv[1:])
if os.geteuid() == 0:
    try:
        os.setgroups([])
        os.setuid(65534)
    except OSError:
        sys.exit("no other user can be had")
told = []
for pid in pids:
    seen = scan([inode], first=[pid], processes_max=0)
    told.append([len(seen.holders[inode]), seen.denied, seen.processes])
    hiding = [one.value for one in seen.hiding]
print(json.dumps([told, hiding]))
"""


def test_who_may_not_be_looked_into_is_counted_and_a_zombie_is_not(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    secretive = crowd.program(SECRETIVE, fds=(write,))
    assert line(secretive) == "secret"
    zombie = crowd.start("true")
    assert until(lambda: state_of(zombie.pid) == "Z")
    arguments = map(str, (inode, zombie.pid, secretive.pid))
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, *arguments], capture_output=True, text=True
    )
    if "no other user" in done.stderr:
        pytest.skip(done.stderr)
    told, hiding = json.loads(done.stdout)
    assert [counts[:2] for counts in told] == [[0, 0], [0, 1]]
    assert Hiding.DENIED.value in hiding


EXIT = {"x86_64": 60, "aarch64": 93}

HEADLESS = """
import ctypes, sys, threading, time
def live():
    time.sleep(0.1)
    print("alone", flush=True)
    time.sleep(1000)
threading.Thread(target=live).start()
ctypes.CDLL(None).syscall(ctypes.c_long(int(sys.argv[1])), ctypes.c_long(0))
"""


@pytest.mark.skipif(platform.machine() not in EXIT, reason="the number of exit(2) is not known")
def test_the_threads_of_a_dead_first_thread_hold_on(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    child = crowd.program(HEADLESS, str(EXIT[platform.machine()]), fds=(write,))
    assert line(child) == "alone"
    assert until(lambda: state_of(child.pid) == "Z")
    crowd.drop(write)
    [holder] = held(inode)
    assert (holder.pid, holder.fds) == (child.pid, (write,))


# -- limits and races -----------------------------------------------------------------------------


def test_the_likely_ones_are_looked_into_before_the_limit_counts(crowd: Crowd) -> None:
    _, write, inode = crowd.pipe()
    assert len(held(inode)) == 1
    limited = scan([inode], processes_max=0)
    assert limited.holders[inode] == ()
    assert limited.skipped > 0
    assert Hiding.SKIPPED in limited.hiding
    assert write in scan([inode], first=[os.getpid()], processes_max=0).holders[inode][0].fds


def test_descriptors_are_limited_as_well(crowd: Crowd) -> None:
    _, _, inode = crowd.pipe()
    seen = scan([inode], first=[os.getpid()], descriptors_max=1)
    assert seen.skipped > 0


def test_processes_that_come_and_go_disturb_nobody(crowd: Crowd) -> None:
    _, _, inode = crowd.pipe()
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            subprocess.run(["true"], check=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(30):
            [holder] = [one for one in held(inode) if one.pid == os.getpid()]
            assert holder.state is HoldState.HOLDING
    finally:
        over.set()
        thread.join()


def test_what_was_opened_is_never_that_of_a_later_process(crowd: Crowd) -> None:
    child = crowd.start("sleep", "1000")
    with holders._Place(f"/proc/{child.pid}") as place:
        assert place.read("stat")
        child.kill()
        child.wait()
        for read in (lambda: place.read("stat"), lambda: place.names("fd")):
            with pytest.raises((ProcessLookupError, FileNotFoundError)):
                read()


def test_looking_at_a_process_never_fails(crowd: Crowd) -> None:
    child = crowd.start("sleep", "1000")
    seen = look(child.pid)
    assert (seen.pid, seen.session) == (child.pid, os.getsid(child.pid))
    assert seen.start_ticks > 0
    assert until(lambda: look(child.pid).command == "sleep")
    child.kill()
    child.wait()
    gone = look(child.pid)
    assert (gone.pid, gone.start_ticks) == (child.pid, 0)
    assert gone.is_same(seen)  # as far as is known


# -- a made-up /proc ------------------------------------------------------------------------------


class MadeUp:
    """A directory that looks like /proc to whoever reads it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "proc").mkdir()

    def process(
        self, pid: int, *, parent: int = 0, state: str = "S", ticks: int = 5, session: int = 1
    ) -> Path:
        entry = self.place / "proc" / str(pid)
        (entry / "fd").mkdir(parents=True)
        (entry / "fdinfo").mkdir()
        words = ["0"] * 40
        words[0], words[1], words[3] = state, str(parent), str(session)
        words[17], words[19] = "1", str(ticks)
        (entry / "stat").write_text(f"{pid} (a) b (c) {' '.join(words)}")
        (entry / "cmdline").write_bytes(b"./a\0b\0")
        (entry / "cgroup").write_text("")
        return entry

    def give(self, entry: Path, inode: int) -> None:
        (entry / "fd" / "7").symlink_to(f"pipe:[{inode}]")
        (entry / "fdinfo" / "7").write_text(f"pos:\t0\nflags:\t0{os.O_WRONLY | os.O_CLOEXEC:o}\n")

    def scan(self, inode: int) -> tuple[Holder, ...]:
        proc, groups = str(self.place / "proc"), str(self.place / "cgroup")
        return scan([inode], proc=proc, cgroups=groups).holders[inode]


@pytest.mark.parametrize(
    ("line_of_group", "file", "text"),
    [
        ("0::/a/b", "a/b/cgroup.events", "populated 1\nfrozen 1\n"),
        ("0::/a/b", "unified/a/b/cgroup.events", "populated 1\nfrozen 1\n"),
        ("4:memory:/x\n6:freezer:/a", "freezer/a/freezer.state", "FROZEN\n"),
    ],
)
def test_frozen_is_known_by_every_kind_of_group(
    tmp_path: Path, line_of_group: str, file: str, text: str
) -> None:
    made = MadeUp(tmp_path)
    entry = made.process(12)
    made.give(entry, 77)
    (entry / "cgroup").write_text(line_of_group + "\n")
    [holder] = made.scan(77)
    assert (holder.state, holder.halt) == (HoldState.HOLDING, None)
    state = tmp_path / "cgroup" / file
    state.parent.mkdir(parents=True)
    state.write_text(text)
    [holder] = made.scan(77)
    assert (holder.state, holder.halt) == (HoldState.FROZEN, Halt.FROZEN)
    state.write_text(text.replace("1", "0").replace("FROZEN", "THAWED"))
    assert made.scan(77)[0].state is HoldState.HOLDING


@pytest.mark.parametrize(
    ("state", "halt"),
    [("T", Halt.STOPPED), ("t", Halt.TRACED), ("D", Halt.KERNEL), ("R", None), ("S", None)],
)
def test_each_letter_of_a_state(tmp_path: Path, state: str, halt: Halt | None) -> None:
    made = MadeUp(tmp_path)
    made.give(made.process(12, state=state), 77)
    assert made.scan(77)[0].halt is halt


def test_who_is_in_the_kernel_for_a_moment_only_is_not_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MadeUp(tmp_path)
    entry = made.process(12, state="D")
    made.give(entry, 77)

    def meanwhile(_: float) -> None:
        stat = (entry / "stat").read_text()
        (entry / "stat").write_text(stat.replace(") D ", ") S "))

    monkeypatch.setattr(time, "sleep", meanwhile)
    assert made.scan(77)[0].halt is None


def test_a_parent_younger_than_its_child_is_another_with_its_number(tmp_path: Path) -> None:
    made = MadeUp(tmp_path)
    made.give(made.process(12, parent=11, ticks=50), 77)
    made.process(11, parent=10, ticks=50)
    made.process(10, ticks=51)
    assert [one.pid for one in made.scan(77)[0].parents] == [11]


def test_who_stays_in_a_session_without_its_parent_is_an_orphan(tmp_path: Path) -> None:
    made = MadeUp(tmp_path)
    made.process(1, session=1)
    for pid, parent, session in ((20, 1, 20), (21, 1, 20), (22, 21, 20)):
        made.give(made.process(pid, parent=parent, session=session), 77)
    assert [one.orphan for one in made.scan(77)] == [False, True, False]


def test_in_a_container_orphans_are_of_the_session_of_the_first_process(tmp_path: Path) -> None:
    made = MadeUp(tmp_path)
    made.process(1, session=1)
    for pid, parent in ((20, 1), (21, 20)):
        made.give(made.process(pid, parent=parent, session=1), 77)
    assert [one.orphan for one in made.scan(77)] == [True, False]


def test_a_copy_that_changes_hands_while_we_look_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MadeUp(tmp_path)
    old, new = made.process(12), made.process(13)  # the newer one is looked into first
    made.give(old, 77)
    visit = holders._Look._visit

    def passing_on(self: holders._Look, pid: int, see: holders._See) -> None:
        if pid == 12 and (old / "fd" / "7").is_symlink():
            (old / "fd" / "7").unlink()
            made.give(new, 77)
        visit(self, pid, see)

    monkeypatch.setattr(holders._Look, "_visit", passing_on)
    assert [one.pid for one in made.scan(77)] == [13]


def test_that_proc_hides_processes_is_told(tmp_path: Path) -> None:
    made = MadeUp(tmp_path)
    made.process(12)
    assert Hiding.HIDDEN in scan([77], proc=str(tmp_path / "proc")).hiding
    made.process(1)
    assert Hiding.HIDDEN not in scan([77], proc=str(tmp_path / "proc")).hiding


def test_another_pid_namespace_is_told(tmp_path: Path) -> None:
    made = MadeUp(tmp_path)
    ours = tmp_path / "proc" / "self" / "ns"
    ours.mkdir(parents=True)
    (ours / "pid").write_text("")
    made.process(1)
    assert Hiding.OUTSIDE in scan([77], proc=str(tmp_path / "proc")).hiding
