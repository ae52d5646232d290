"""``holdfast demo``: a door to `holdfast.demo`, which is imported only when it is called."""

from __future__ import annotations

import click

__all__ = ["demo"]


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="\b\nExample:\n  holdfast demo",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> int:
    """The whole system on this machine, with real data."""
    from holdfast.demo.main import main

    return main(list(arguments))
