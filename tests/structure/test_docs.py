"""The manual agrees with the code, and its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.cli.exit_codes import MEANINGS
from holdfast.cli.main import NOUNS

PROJECT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PAGES = sorted(
    page.relative_to(PROJECT)
    for page in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")]
    if "_build" not in page.parts
)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    heads = re.findall(r"^#+ +(.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def broken_links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue  # another site: not ours to look at from a test
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        missing = not aim.exists()
        if missing or (anchor and aim.suffix == ".md" and anchor not in anchors(aim)):
            found.append(target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_relative_links_resolve(page: Path) -> None:
    assert broken_links(PROJECT / page) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A head\n[a](page.md#a-head) [b](gone.md) [c](#no) [d](https://x.y/z)\n")
    assert broken_links(page) == ["gone.md", "#no"]


def test_the_manual_shows_the_table_of_exit_codes() -> None:
    text = (PROJECT / "docs/reference/cli.md").read_text()
    section = text.split("## Exit codes")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, flags=re.MULTILINE) == list(MEANINGS)


def test_the_manual_lists_every_command() -> None:
    import click

    from holdfast.cli.main import holdfast

    text = (PROJECT / "docs/reference/cli.md").read_text()
    context = click.Context(holdfast)
    for noun in NOUNS:
        command = holdfast.get_command(context, noun)
        verbs = command.commands if isinstance(command, click.Group) else {"": None}
        for verb in verbs:
            assert re.search(rf"`holdfast {noun} ?{verb}\b", text), f"{noun} {verb}"
