"""``holdfast lease`` as a user meets it: real processes, between two terminals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import lease
from holdfast.cli.main import run as holdfast
from tests.e2e.lease_terminal import LOCAL, PROGRAM, SQLITE, Terminal, terminal_on
from tests.e2e.terminal import PATIENCE_S, ended, line, until

VERBS = ["run", "claim", "release", "ls", "show", "wait", "watch", "pin", "unpin"]


@pytest.fixture(params=[LOCAL, SQLITE])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    with terminal_on(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Terminal]:
    with terminal_on(LOCAL, tmp_path) as one:
        yield one


# -- claim and release ----------------------------------------------------------------------------


def test_claim_extends_and_denies(terminal: Terminal) -> None:
    first = terminal.told("claim", "x", "--holder", "me", "--duration", "10m", "--why", "tests")
    assert (first["name"], first["holder"], first["state"]) == ("x", "me", "held")
    assert 500 < first["left_s"] <= 601
    again = terminal.told("claim", "x", "--holder", "me", "--duration", "1h")
    assert again["epoch"] == first["epoch"]
    assert again["left_s"] > 3000
    denied = terminal.run("claim", "x", "--holder", "you", "--duration", "60", "--json")
    assert denied.returncode == 75
    assert json.loads(denied.stderr)["error"]["code"] == "claim_denied"
    facts = terminal.run("claim", "y", "--holder", "me", "--duration", "60").stdout
    assert facts.startswith("name\ty\nholder\tme\nepoch\t")


def test_claim_waits_if_told_to(local: Terminal) -> None:
    local.run("claim", "x", "--holder", "me", "--duration", "10m")
    waiting = local.start("claim", "x", "--holder", "you", "--duration", "10m", "-w", "10m")
    assert "waiting for x: held by 'me'" in line(waiting, "stderr")
    local.run("release", "x", "--holder", "me")
    assert ended(waiting) == (0, "")
    assert local.told("show", "x")["holder"] == "you"


def test_release_wants_to_know_whose(local: Terminal) -> None:
    epoch = local.told("claim", "x", "--holder", "me", "--duration", "10m")["epoch"]
    unsaid = local.run("release", "x")
    assert unsaid.returncode == 2
    assert "--force" in unsaid.stderr
    for options in (
        ["--holder", "you"],
        ["--epoch", str(epoch + 1)],
        ["--force", "--epoch", "1000000"],
    ):
        wrong = local.run("release", "x", *options)
        assert wrong.returncode == 75
        assert "'me'" in wrong.stderr
    assert local.held() == ["x"]
    assert local.run("release", "x", "--holder", "me", "--epoch", str(epoch)).returncode == 0
    assert local.held() == []
    gone = local.run("release", "x", "--holder", "me", "--json")
    assert gone.returncode == 1
    assert json.loads(gone.stderr)["error"]["code"] == "not_found"
    local.run("claim", "x", "--holder", "me", "--duration", "10m")
    assert local.told("release", "x", "--force")["released"]["holder"] == "me"


# -- looking --------------------------------------------------------------------------------------


def test_ls_and_show_tell_who_why_and_until_when(local: Terminal) -> None:
    child = local.start("run", "b", "--why", "a test", "--", "sh", "-c", "echo on; read x")
    assert line(child) == "on"
    local.run("claim", "a", "--holder", "me", "--duration", "10m")
    local.run("pin", "c", "--by", "maintenance")
    rows = [row.split("\t") for row in local.run("ls").stdout.splitlines()]
    assert [row[0] for row in rows] == ["a", "b", "c"]
    a, b, c = rows
    assert a[1] == "me"
    assert a[4].endswith(" ended")
    assert f"pid {child.pid} (" in b[4]
    assert b[5] == "a test"
    assert 0 < float(b[3]) <= 31
    assert c[1:] == ["-", "-", "-", "-", "-", "maintenance"]
    told = local.told("ls")
    assert [(one["name"], one["state"]) for one in told] == [
        ("a", "held"),
        ("b", "held"),
        ("c", "vacant"),
    ]
    assert told[1]["owner"]["pid"] == child.pid
    assert [one.get("owner_alive") for one in told] == ["no", "yes", None]
    shown = local.told("show", "b")
    assert shown["owner"]["why"] == "a test"
    assert shown["store"] == local.environment["HOLDFAST_STORE"]
    assert int(shown["clock_ns"]) >= 0
    facts = dict(row.split("\t") for row in local.run("show", "b").stdout.splitlines())
    assert facts["owner_alive"] == "yes"
    assert facts["state"] == "held"
    assert local.told("show", "nobody")["state"] == "vacant"
    assert local.told("show", "c")["pins"] == ["maintenance"]
    child.communicate("\n", timeout=PATIENCE_S)


def test_namespaces_are_apart(local: Terminal) -> None:
    local.run("claim", "x", "--holder", "me", "--duration", "10m")
    assert local.run("ls", "--namespace", "other").stdout == ""
    claimed = local.run(
        "claim", "x", "--holder", "you", "--duration", "10m", "--namespace", "other"
    )
    assert claimed.returncode == 0
    assert local.run("ls", HOLDFAST_NAMESPACE="other").stdout.startswith("x\tyou\t")


def test_the_option_says_the_store_before_the_environment(local: Terminal) -> None:
    url = f"sqlite:///{local.directory}/own.db"
    local.run("claim", "x", "--holder", "me", "--duration", "10m", "--store", url)
    assert local.held() == []
    assert local.run("ls", "--store", url).stdout.startswith("x\tme\t")


def test_a_password_is_not_shown() -> None:
    from holdfast.cli.lease_terms import masked

    url = "postgresql+psycopg://ann:secret@host:5432/db?x=1"
    assert masked(url) == "postgresql+psycopg://ann:***@host:5432/db?x=1"
    assert masked("sqlite:///a/b.db") == "sqlite:///a/b.db"
    assert masked("local:?dir=/a") == "local:?dir=/a"


def test_wait_ends_with_the_vacancy(local: Terminal) -> None:
    assert local.run("wait", "x").returncode == 0
    local.run("claim", "x", "--holder", "me", "--duration", "10m")
    late = local.run("wait", "x", "--timeout", "0.3")
    assert late.returncode == 75
    assert "waiting for x: held by 'me'" in late.stderr
    waiting = local.start("wait", "x", "--timeout", "10m", "--json")
    assert json.loads(line(waiting, "stderr"))["waiting_for"]["holder"] == "me"
    local.run("release", "x", "--holder", "me")
    out, _ = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 0
    assert json.loads(out) == {"name": "x", "state": "vacant"}


def test_a_pin_outlasts_the_end_of_a_lease(local: Terminal) -> None:
    assert local.told("pin", "x", "--by", "me") == {"name": "x", "pinned_by": "me"}
    local.run("claim", "x", "--holder", "me", "--duration", "0.2")
    assert until(lambda: local.told("show", "x")["left_s"] <= 0)
    denied = local.run("claim", "x", "--holder", "you", "--duration", "1")
    assert denied.returncode == 75
    assert "pinned by me" in denied.stderr
    assert local.run("unpin", "x", "--by", "me").returncode == 0
    assert local.run("wait", "x", "--timeout", "30").returncode == 0


def test_watch_tells_what_becomes_of_leases(terminal: Terminal) -> None:
    terminal.run("claim", "a", "--holder", "me", "--duration", "10m")
    child = terminal.start("watch", "--timeout", "10m", "--json")
    first = json.loads(line(child))
    assert (first["name"], first["what"], first["lease"]["holder"]) == ("a", "held", "me")
    for arguments, what in (
        (["claim", "b", "--holder", "you", "--duration", "10m"], "claimed"),
        (["pin", "b", "--by", "us"], "pinned"),
        (["unpin", "b", "--by", "us"], "unpinned"),
        (["claim", "b", "--holder", "you", "--duration", "20m"], None),  # a renewal
        (["release", "b", "--holder", "you"], "vacant"),
    ):
        assert terminal.run(*arguments).returncode == 0
        if what is not None:
            told = json.loads(line(child))
            assert (told["name"], told["what"]) == ("b", what)
    assert told["lease"] is None
    child.send_signal(signal.SIGINT)
    assert ended(child) == (130, "")


def test_watch_by_name_and_count(local: Terminal) -> None:
    local.run("claim", "c", "--holder", "me", "--duration", "10m")
    child = local.start("watch", "b", "c", "--count", "3", "--timeout", "10m", "--renewals")
    assert line(child).split("\t")[1:3] == ["c", "held"]
    for name in ("a", "b"):
        local.run("claim", name, "--holder", "me", "--duration", "10m")
    assert line(child).split("\t")[1:4] == ["b", "claimed", "me"]
    local.run("claim", "b", "--holder", "me", "--duration", "20m")  # now, or both are one change
    assert line(child).split("\t")[1:4] == ["b", "renewed", "me"]
    assert ended(child) == (0, "")
    assert local.run("watch", "d", "--count", "1", "--timeout", "0.2").returncode == 75


def test_watch_sees_a_lease_run_out_though_nobody_wants_it(terminal: Terminal) -> None:
    terminal.run("pin", "a", "--by", "us")  # or it may have run out before anybody watches
    terminal.run("claim", "a", "--holder", "me", "--duration", "4")
    child = terminal.start("watch", "--timeout", "10m")
    assert line(child).split("\t")[2] == "held"
    terminal.run("unpin", "a", "--by", "us")
    told = line(child).split("\t")[2]
    if told == "unpinned":  # as a rule; but its end may have passed until somebody looks
        told = line(child).split("\t")[2]
    assert told == "vacant"


def test_watch_on_a_terminal_is_a_table_that_is_kept_up_to_date(local: Terminal) -> None:
    parent, child_end = pty.openpty()
    local.run("claim", "first", "--holder", "me", "--duration", "10m")
    child = subprocess.Popen(
        [*PROGRAM, "watch", "--timeout", "10m"],
        stdout=child_end,
        env=local.environment | {"TERM": "xterm", "COLUMNS": "200", "LINES": "30"},
    )
    os.close(child_end)
    try:
        seen = b""
        while b"first" not in seen:
            seen += os.read(parent, 4096)
        assert b"HOLDER" in seen
        local.run("claim", "second", "--holder", "you", "--duration", "10m")
        while b"second" not in seen:
            seen += os.read(parent, 4096)
        child.send_signal(signal.SIGINT)
        assert child.wait(PATIENCE_S) == 130
    finally:
        child.kill()
        child.wait()
        os.close(parent)


def test_a_watch_into_a_pipe_that_closes_ends_quietly(local: Terminal) -> None:
    local.run("claim", "a", "--holder", "me", "--duration", "10m")
    child = local.start("watch")
    assert line(child)
    assert child.stdout
    assert child.stderr
    child.stdout.close()
    local.run("claim", "b", "--holder", "me", "--duration", "10m")
    assert child.wait(PATIENCE_S) == 141
    assert child.stderr.read() == ""
    child.stdout = None


# -- wrong usage, and a store that is not there ---------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "x"],
        ["run", "x", "--"],
        ["run", "x", "--duration", "soon", "--", "true"],
        ["run", "x", "--duration", "0", "--", "true"],
        ["run", "x", "-n", "-w", "3", "--", "true"],
        ["run", "x", "-E", "300", "--", "true"],
        ["run", "bad\nname", "--", "true"],
        ["run", "x", "--result", "/no/such/directory/file", "--", "true"],
        ["run", "x", "--store", "nonsense", "--", "true"],
        ["claim", "x", "--holder", "me"],
        ["claim", "x", "--duration", "3"],
        ["claim", "x", "--holder", "", "--duration", "3"],
        ["claim", "x", "--holder", "me", "--duration", "-3"],
        ["pin", "x"],
        ["wait", ""],
        ["ls", "--store", "nonsense:"],
        ["show"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("HOLDFAST_STORE", LOCAL)
    assert holdfast(["lease", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert "Traceback" not in told.err
    with lease.open(LOCAL) as leases:
        assert not leases.records()


@pytest.mark.parametrize(
    ("url", "of_ls", "of_run", "error"),
    [
        ("postgresql+psycopg://127.0.0.1:1/nobody", 69, 69, "unavailable"),
        ("sqlite:////no/such/directory/leases.db", 1, 125, "not_found"),
    ],
)
def test_a_store_that_is_away_has_its_code(
    local: Terminal, url: str, of_ls: int, of_run: int, error: str
) -> None:
    result = str(local.directory / "result.json")
    for arguments, code in (
        (["ls"], of_ls),
        (["run", "x", "--result", result, "--", "echo", "never"], of_run),
    ):
        at = arguments.index("--") if "--" in arguments else len(arguments)
        done = local.run(*arguments[:at], "--store", url, "--json", *arguments[at:])
        assert (done.returncode, done.stdout) == (code, "")
        assert json.loads(done.stderr)["error"]["code"] == error
    assert (local.result()["outcome"], local.result()["exit_code"]) == ("error", of_run)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_each_verb_has_an_example(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert holdfast(["lease", verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"\n    holdfast lease {verb}" in shown
    assert "--store URL" in shown
    assert "--json" in shown


def test_the_tests_name_every_verb() -> None:
    from holdfast.cli.lease import lease as noun

    assert list(noun.commands) == VERBS


def test_the_exit_codes_of_the_supervisor_are_those_of_the_table() -> None:
    from holdfast.cli.exit_codes import ExitCode
    from holdfast.supervise import outcome

    assert outcome.LOST == ExitCode.LEASE_LOST
    assert outcome.LIMIT == ExitCode.TIME_LIMIT
    assert outcome.BROKE == ExitCode.WRAPPER_BROKE
    assert outcome.NOT_EXECUTABLE == ExitCode.NOT_EXECUTABLE
    assert outcome.NOT_FOUND == ExitCode.NOT_FOUND


def test_names_are_completed(local: Terminal) -> None:
    local.run("claim", "nightly", "--holder", "me", "--duration", "10m")
    asked = subprocess.run(
        PROGRAM[:3],
        capture_output=True,
        env=local.environment
        | {
            "_HOLDFAST_COMPLETE": "bash_complete",
            "COMP_WORDS": "holdfast lease show ni",
            "COMP_CWORD": "3",
        },
    )
    assert asked.stdout == b"plain,nightly\n"
