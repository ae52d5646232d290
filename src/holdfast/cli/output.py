"""What is printed: tables for people, columns for pipes, JSON for programs.

In JSON, integers beyond 2**53 are strings, because many readers keep numbers as doubles (RFC 8259
section 6); times in nanoseconds (``*_ns``) always are, so that they do not change their type when
they grow. Bytes are a string if they are UTF-8, else ``{"b64": "..."}``.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["as_text", "json_option", "print_facts", "print_json", "print_table", "to_json"]

EXACT_INT_MAX = 2**53  # the largest n for which every integer up to n is a double


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--json``, passed on as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, errors included.")(
        command
    )


def to_json(value: object) -> Any:
    """`value` in the types that JSON has, by the rules at the top of this module."""
    match value:
        case None | bool() | float() | str():
            return value
        case enum.Enum():
            return to_json(value.value)
        case int():
            return value if abs(value) <= EXACT_INT_MAX else str(value)
        case bytes() | bytearray() | memoryview():
            data = bytes(value)
            try:
                return data.decode("utf-8")
            except UnicodeDecodeError:
                return {"b64": base64.b64encode(data).decode("ascii")}
        case dict():
            return {str(key): _member(str(key), item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [to_json(item) for item in value]
        case os.PathLike():
            return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json(dataclasses.asdict(value))
    return str(value)


def _member(key: str, value: object) -> Any:
    return str(value) if key.endswith("_ns") and isinstance(value, int) else to_json(value)


def print_json(value: object) -> None:
    """One JSON document on a line of its own, flushed: a reader behind a pipe sees it at once."""
    print(json.dumps(to_json(value), ensure_ascii=False), flush=True)


def as_text(value: object) -> str:
    r"""`value` on one line: control characters, tabs and bytes that are no text are escaped.

    It keeps columns apart, and keeps what a stranger wrote from commanding the terminal.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="backslashreplace")
    text = "-" if value is None else str(value)
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table with a heading on a terminal; in a pipe, columns between tabs without a heading."""
    texts = [[as_text(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in texts:
            print("\t".join(row))
        return
    # Only here, because it takes as long to import as everything else together.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)


def print_facts(facts: dict[str, object]) -> None:
    """Names and values, one pair to a line."""
    print_table(("FACT", "VALUE"), facts.items())
