"""How an error is told: what failed, on which object, what to do next; and its exit code."""

from __future__ import annotations

import json
import os
import sys

import click

from holdfast.cli.exit_codes import ExitCode, exit_code_of
from holdfast.errors import HoldfastError

__all__ = ["report"]


def report(error: Exception, *, as_json: bool) -> ExitCode:
    """Tell of `error` on standard error, as text or as one JSON object; the exit code for it."""
    parts = _parts(error)
    if as_json:
        print(json.dumps({"error": parts}, ensure_ascii=False), file=sys.stderr)
    else:
        lines = [_painted("error:") + f" {parts['what']}"]
        if parts["on"] is not None:
            lines.append(f"  on: {parts['on']}")
        if parts["hint"] is not None:
            lines.append(f"  next: {parts['hint']}")
        print("\n".join(lines), file=sys.stderr)
    return ExitCode.USAGE if isinstance(error, click.ClickException) else exit_code_of(error)


def _parts(error: Exception) -> dict[str, str | None]:
    if isinstance(error, HoldfastError):
        return {"code": error.code, "what": error.what, "on": error.on, "hint": error.hint}
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "holdfast"
        message = error.format_message().rstrip(".")
        what = message[:1].lower() + message[1:]
        return {"code": "usage", "what": what, "on": command, "hint": f"{command} --help"}
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        where = None if error.filename is None else os.fsdecode(error.filename)
        return {"code": "os_error", "what": what, "on": where, "hint": None}
    return {
        "code": "internal",
        "what": f"unexpected {type(error).__name__}: {error}",
        "on": None,
        "hint": "this is a fault of holdfast; HOLDFAST_TRACEBACK=1 shows where, please report it",
    }


def _painted(text: str) -> str:
    # no-color.org: present and not empty means no colour, whatever the value.
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
        return text
    return click.style(text, fg="red", bold=True)
