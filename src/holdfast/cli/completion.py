"""``holdfast completion SHELL``: the script that teaches a shell our words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command(
    epilog="\b\nExample:\n"
    '  eval "$(holdfast completion bash)"            in ~/.bashrc\n'
    '  eval "$(holdfast completion zsh)"             in ~/.zshrc\n'
    "  holdfast completion fish | source             in ~/.config/fish/config.fish"
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL."""
    from holdfast.cli.main import COMPLETION_VARIABLE, holdfast

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(holdfast, {}, "holdfast", COMPLETION_VARIABLE).source())
