"""Owners: real processes, alive, dead, undead and out of sight."""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import subprocess
import sys

import pytest

from holdfast import process
from holdfast.errors import InvalidArgument
from holdfast.process import Liveness, Owner

SAY_WHO = """
import json, sys
from holdfast.process import Owner
print(json.dumps(Owner.current(why="a test").to_dict()), flush=True)
sys.stdin.read()
"""


def start() -> tuple[subprocess.Popen[str], Owner]:
    child = subprocess.Popen(
        [sys.executable, "-c", SAY_WHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    return child, Owner.from_dict(json.loads(child.stdout.readline()))


def test_we_are_alive() -> None:
    me = Owner.current(why="to test")
    assert me.pid == os.getpid()
    assert me.uid == os.geteuid()
    assert me.alive() is Liveness.YES
    assert me.why == "to test"


def test_a_child_is_alive_then_undead_then_gone() -> None:
    child, owner = start()
    with child:
        assert owner.pid == child.pid
        assert owner.alive() is Liveness.YES
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert owner.alive() is Liveness.NO  # a zombie: killed, not yet reaped
    assert owner.alive() is Liveness.NO


def test_a_later_process_with_the_same_pid_is_somebody_else() -> None:
    me = Owner.current()
    earlier = dataclasses.replace(me, start_ticks=me.start_ticks - 1)
    assert earlier.alive() is Liveness.NO


@pytest.mark.parametrize("change", [{"boot_id": "other"}, {"boot_id": ""}, {"pid_namespace": 1}])
def test_what_cannot_be_seen_from_here_is_unknown(change: dict[str, object]) -> None:
    me = Owner.current()
    far = dataclasses.replace(me, pid=2**22 + 1, **change)  # type: ignore[arg-type]
    assert far.alive() is Liveness.UNKNOWN


def test_a_process_hidden_by_its_proc_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    me = Owner.current()
    monkeypatch.setattr(process, "_process_facts", lambda _pid: None)
    assert me.alive() is Liveness.UNKNOWN


def test_names_with_spaces_and_parentheses_do_not_confuse_the_start_time() -> None:
    program = (
        "import ctypes; ctypes.CDLL(None).prctl(15, b') R 1 (', 0, 0, 0)\n"  # PR_SET_NAME
        "from holdfast.process import Owner, Liveness\n"
        "assert Owner.current().alive() is Liveness.YES\n"
        "print(Owner.current().start_ticks)"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) >= Owner.current().start_ticks


def test_a_record_survives_json() -> None:
    me = Owner.current(why="to test", since_ns=12)
    assert Owner.from_dict(json.loads(json.dumps(me.to_dict()))) == me
    assert Owner.from_dict(me.to_dict() | {"later": 1}) == me


@pytest.mark.parametrize(
    "change",
    [{"pid": "1"}, {"pid": True}, {"argv": [1]}, {"argv": "x"}, {"host": None}, {"why": 3}],
)
def test_a_record_of_something_else_is_refused(change: dict[str, object]) -> None:
    values = Owner.current().to_dict() | change
    with pytest.raises(InvalidArgument, match=next(iter(change))):
        Owner.from_dict(values)


def test_a_missing_field_is_refused() -> None:
    values = Owner.current().to_dict()
    del values["boot_id"]
    with pytest.raises(InvalidArgument, match="boot_id"):
        Owner.from_dict(values)


def test_the_sentence_names_user_host_pid_command_and_reason() -> None:
    me = Owner.current(since_ns=0)
    owner = dataclasses.replace(
        me, host="web2", pid=4711, argv=("./migrate", "a b"), why="schema 42"
    )
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert owner.describe(now_ns=12 * 10**9) == (
        f"{user}@web2 pid 4711 (./migrate 'a b') for 12 s, why: schema 42"
    )
    far = dataclasses.replace(owner, boot_id="other", uid=1000, why=None)
    assert far.describe() == "uid 1000@web2 pid 4711 (./migrate 'a b')"


def test_a_long_command_line_is_cut_off() -> None:
    words = process._shortened(["cp", "x" * 5000, "never reached"])
    assert words[0] == "cp"
    assert len("".join(words)) <= process.ARGV_CHARS_MAX + len("...")
    assert words[-1].endswith("...")
