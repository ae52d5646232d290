"""A group of commands that imports a command only when it is called.

``holdfast --help`` lists the nouns from a table, so that it stays quick however many parts there
are, and works where a part cannot be imported.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from holdfast.cli.exit_codes import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Noun", "Nouns", "Verbs"]


class Verbs(click.Group):
    """A group that keeps its commands in the order of their definition and guesses at typos."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a newcomer should meet them."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help where nothing was asked for; that is no error."""
        if not args and not ctx.resilient_parsing:  # the latter is a shell that asks for words
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command named by the first argument, or an error that proposes the nearest one.

        Raises:
            UsageError: There is no such command.
        """
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-"):
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            guess = f", did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"no such command: {name!r}{guess}", ctx=ctx)
        return super().resolve_command(ctx, args)


@dataclass(frozen=True)
class Noun:
    """Where a command is found, and what the list of commands says about it."""

    module: str
    attribute: str
    summary: str


class Nouns(Verbs):
    """The outermost group, made from a table of `Noun`."""

    def __init__(self, *args: Any, nouns: Mapping[str, Noun], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.nouns = nouns

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the table."""
        return list(self.nouns)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command of the table."""
        noun = self.nouns.get(cmd_name)
        if noun is None:
            return None
        command = getattr(importlib.import_module(noun.module), noun.attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, and the exit codes below it, without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, noun.summary) for name, noun in self.nouns.items()])
        with formatter.section("Exit codes"):
            formatter.write_dl(MEANINGS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names and options that begin like this, without an import."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=noun.summary)
            for name, noun in self.nouns.items()
            if name.startswith(incomplete)
        ]
