"""The ``holdfast`` command: finds the noun, and turns every ending into an exit code."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from holdfast import __version__
from holdfast.cli.exit_codes import ExitCode, exit_code_of
from holdfast.cli.nouns import Noun, Nouns
from holdfast.cli.report import report

__all__ = ["holdfast", "main", "run"]

COMPLETION_VARIABLE = "_HOLDFAST_COMPLETE"

NOUNS = {
    "demo": Noun("holdfast.cli.demo", "demo", "The whole system on this machine, with real data."),
    "state": Noun("holdfast.cli.state", "state", "Shared states: get, set, watch, ls, stat, rm."),
    "lease": Noun("holdfast.cli.lease", "lease", "Leases: run, claim, release, ls, show, wait."),
    "member": Noun("holdfast.cli.member", "member", "Members: run, ls, watch."),
    "members": Noun("holdfast.cli.member", "ls", "The same as `member ls`."),
    "wake": Noun("holdfast.cli.wake", "wake", "Wake leases: serve, run, ls, why, watch, suspend."),
    "completion": Noun(
        "holdfast.cli.completion", "completion", "Print what makes a shell complete our words."
    ),
}


@click.group(
    cls=Nouns,
    nouns=NOUNS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="holdfast", message="%(prog)s %(version)s")
def holdfast() -> None:
    """Optimistic coordination for processes that must survive crash, partition and sleep.

    Standard output is data, standard error is talk: a table on a terminal, plain columns separated
    by tabs in a pipe, and with --json what a program can read. NO_COLOR is respected.
    """


def main() -> NoReturn:
    """The entry point of the ``holdfast`` script and of ``python -m holdfast``."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; the exit code. What it has to say is on standard output and error."""
    try:
        code = _invoke(arguments)
        sys.stdout.flush()  # here, where a closed pipe is still ours to handle
    except KeyboardInterrupt as error:
        return exit_code_of(error)
    except BrokenPipeError as error:
        # Whoever read our output is satisfied. The interpreter would complain when it flushes
        # standard output at exit, so that is turned elsewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_code_of(error)
    except Exception as error:
        if os.environ.get("HOLDFAST_TRACEBACK"):
            raise
        return report(error, as_json=_wants_json(arguments))
    return code


def _invoke(arguments: list[str]) -> int:
    # Not click's own main(): that one prints on Ctrl-C, and decides about pipes and exit codes.
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        from click.shell_completion import shell_complete

        return shell_complete(holdfast, {}, "holdfast", COMPLETION_VARIABLE, instruction)
    try:
        with holdfast.make_context("holdfast", list(arguments)) as context:
            result = holdfast.invoke(context)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    return result if isinstance(result, int) else ExitCode.OK


def _wants_json(arguments: list[str]) -> bool:
    # Looked up in the raw arguments, because the error may be that they cannot be parsed.
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours
