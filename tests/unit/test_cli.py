"""The frame of the command line: every ending has its code, and every error its three parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from holdfast import errors
from holdfast.cli import main, output, report
from holdfast.cli.exit_codes import MEANINGS, ExitCode, exit_code_of
from holdfast.cli.nouns import Noun

Planter = Callable[[Callable[[], object]], None]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Planter:
    """Make ``holdfast planted`` a command that runs the function given."""

    def make(body: Callable[[], object]) -> None:
        @click.command
        @output.json_option
        def planted(as_json: bool) -> object:
            return body()

        monkeypatch.setattr(main, "planted", planted, raising=False)
        monkeypatch.setitem(main.NOUNS, "planted", Noun(main.__name__, "planted", "a test"))

    return make


def holdfast(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | more,
    )


ENDINGS: list[tuple[BaseException, int]] = [
    (errors.InvalidArgument("w"), 2),
    (errors.InvalidConfig("w"), 78),
    (errors.NotPermitted("w"), 77),
    (errors.Unavailable("w"), 69),
    (errors.NotFound("w"), 1),
    (errors.Unsupported("w"), 69),
    (errors.GovernorGone("w"), 69),
    (errors.Conflict("w", started=1, current=2), 75),
    (errors.Busy("w"), 75),
    (errors.ClaimDenied("w"), 75),
    (errors.SuspendAborted("w"), 75),
    (errors.LeaseLost("w"), 90),
    (errors.Damaged("w"), 1),
    (errors.OutOfSpace("w"), 1),
    (PermissionError(13, "Permission denied"), 77),
    (FileNotFoundError(2, "No such file"), 1),
    (RuntimeError("a fault"), 1),
    (KeyboardInterrupt(), 130),
    (click.UsageError("w"), 2),
]


@pytest.mark.parametrize(("error", "code"), ENDINGS, ids=lambda value: type(value).__name__)
def test_each_ending_has_its_exit_code(error: BaseException, code: int, plant: Planter) -> None:
    def body() -> None:
        raise error

    plant(body)
    assert main.run(["planted"]) == code


def test_every_exception_of_the_library_has_a_code_of_the_table() -> None:
    shown = {number for number, _ in MEANINGS} | {"130", "141"}
    assert {str(code.value) for code in ExitCode} <= shown
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert isinstance(exit_code_of(kind.__new__(kind)), ExitCode)


def test_a_command_may_return_its_code(plant: Planter) -> None:
    plant(lambda: 75)
    assert main.run(["planted"]) == 75
    plant(lambda: None)
    assert main.run(["planted"]) == 0


def test_an_error_is_told_in_three_parts(
    plant: Planter, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise errors.Busy("others are subscribed", on="imu", hint="holdfast state stat imu")

    plant(body)
    assert main.run(["planted"]) == 75
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "error: others are subscribed\n  on: imu\n  next: holdfast state stat imu\n"
    )
    assert main.run(["planted", "--json"]) == 75
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "code": "busy",
            "what": "others are subscribed",
            "on": "imu",
            "hint": "holdfast state stat imu",
        }
    }


def test_absent_parts_leave_no_empty_lines(
    plant: Planter, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        raise errors.Closed("the handle is closed")

    plant(body)
    assert main.run(["planted"]) == 1
    assert capsys.readouterr().err == "error: the handle is closed\n"


def test_a_fault_of_ours_is_told_without_a_traceback_unless_wanted(
    plant: Planter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def body() -> None:
        raise RuntimeError("a fault")

    plant(body)
    assert main.run(["planted"]) == 1
    told = capsys.readouterr().err
    assert "unexpected RuntimeError: a fault" in told
    assert "Traceback" not in told
    monkeypatch.setenv("HOLDFAST_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        main.run(["planted"])


def test_the_error_of_the_system_names_its_file(
    plant: Planter, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(lambda: os.stat("/no/such"))
    assert main.run(["planted"]) == 1
    assert capsys.readouterr().err == "error: No such file or directory\n  on: /no/such\n"


def test_the_word_error_is_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in report._painted("error:")
    monkeypatch.setenv("NO_COLOR", "1")
    assert report._painted("error:") == "error:"


def test_help_lists_nouns_and_exit_codes_and_imports_no_part() -> None:
    program = (
        "import sys\nfrom holdfast.cli.main import run\ncode = run(['--help'])\n"
        "late = ('holdfast.state', 'rich', 'msgspec')\n"
        "print(code, [name for name in sys.modules if name.startswith(late)])"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert child.stdout.splitlines()[-1] == "0 []", child.stderr
    for noun in main.NOUNS:
        assert f"\n  {noun} " in child.stdout
    for code, _ in MEANINGS:
        assert f"\n  {code} " in child.stdout


def test_version_and_a_bare_call() -> None:
    assert holdfast("--version").stdout == "holdfast 0.1.0\n"
    bare = holdfast()
    assert bare.returncode == 0
    assert bare.stdout == holdfast("--help").stdout


def test_a_typing_error_is_answered_with_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["stat"]) == 2
    assert capsys.readouterr().err == (
        "error: no such command: 'stat', did you mean 'state'?\n"
        "  on: holdfast\n  next: holdfast --help\n"
    )
    assert main.run(["xyzzy", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["what"] == "no such command: 'xyzzy'"


def test_json_after_a_double_dash_is_not_ours() -> None:
    assert main._wants_json(["state", "get", "--json"])
    assert not main._wants_json(["lease", "run", "x", "--", "prog", "--json"])


def test_a_closed_pipe_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    child = subprocess.run(
        [sys.executable, "-m", "holdfast", "--help"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert child.stderr == b""
    assert child.returncode == 141


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_each_shell(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["completion", shell]) == 0
    assert "_HOLDFAST_COMPLETE" in capsys.readouterr().out


def test_the_shell_completes_nouns_without_importing_them() -> None:
    child = holdfast(_HOLDFAST_COMPLETE="bash_complete", COMP_WORDS="holdfast st", COMP_CWORD="1")
    assert child.stdout == "plain,state\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**60), "-1152921504606846976"),
        (True, True),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", {"b64": "/wA="}),
        ({"a_ns": 5, "b": (1, b"x")}, {"a_ns": "5", "b": [1, "x"]}),
        (ExitCode.BUSY, 75),
        (Path("/a"), "/a"),
        (None, None),
    ],
)
def test_values_in_json(value: object, expected: object) -> None:
    assert output.to_json(value) == expected


def test_text_from_strangers_cannot_command_the_terminal() -> None:
    assert output.as_text(b"a\tb\x1b[2J\xff") == "a\\tb\\x1b[2J\\xff"
    assert output.as_text(None) == "-"


def test_a_table_in_a_pipe_is_columns_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("NAME", "SIZE"), [("imu", 256), ("a\tb", 1)])
    assert capsys.readouterr().out == "imu\t256\na\\tb\t1\n"


def test_a_table_on_a_terminal_has_a_heading(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    output.print_table(("NAME", "SIZE"), [("[red]imu", 256)])
    shown = capsys.readouterr().out
    assert "NAME" in shown
    assert "[red]imu" in shown
