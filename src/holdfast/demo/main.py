"""``holdfast demo``: play, and judge."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from typing import TYPE_CHECKING, NoReturn

import click

from holdfast import __version__
from holdfast.demo.acts.playbill import ACTS, SABOTAGE
from holdfast.demo.screen import Screen, print_promises
from holdfast.demo.stage import ENDINGS, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from holdfast.demo.acts.act import Line
    from holdfast.demo.promise import Promise

__all__ = ["main"]

STEP_S = 0.01
SECONDS = 15.0
_OVER = object()


def main(arguments: list[str]) -> int:
    """Run the demo.

    Returns:
        0 if every promise was kept, 1 if one was broken.

    Raises:
        click.UsageError: The arguments cannot be understood.
        Unavailable: The processes of the demo do not start.
        KeyboardInterrupt: Ctrl-C, or a request to end; everything was cleared away.
    """
    try:
        with demo.make_context("holdfast demo", list(arguments)) as context:
            return int(demo.invoke(context))
    except click.exceptions.Exit as ending:  # --help
        return ending.exit_code


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  holdfast demo\n  holdfast demo --seconds 60 --json >result.json",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=SECONDS,
    show_default=True,
    help="How long to play.",
)
@click.option("--seed", type=int, help="Decides who is killed when; chosen by chance if absent.")
@click.option(
    "--act",
    "names",
    type=click.Choice(list(ACTS)),
    multiple=True,
    help="Play only this one, or these; all if absent.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
@click.option(
    "--break", "sabotage", type=click.Choice(sorted(SABOTAGE)), multiple=True, hidden=True
)
def demo(
    seconds: float,
    seed: int | None,
    names: tuple[str, ...],
    as_json: bool,
    sabotage: tuple[str, ...],
) -> int:
    """The whole system on this machine, with real data.

    A process writes this host's counters from /proc into a shared state, a thousand times a
    second; others read it at will and on change; several processes count in one state; two wait
    for each other; some commit two states at once; one looks at a pace of its own; states come and
    go with their subscribers; five hosts know over UDP which of them are there, and a lease says
    which of them samples; a machine suspends, in play, amid a pipeline that takes no wake leases.
    Writers are killed with SIGKILL, and others take over. At the end a table says what was promised
    and what was seen. The exit code is 1 if a promise was broken.

    Everything happens in a directory of its own, which is removed at the end.
    """
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    with _ending_by_signal(), Stage(seconds, seed, frozenset(sabotage)) as stage:
        promises = _play(stage, [name for name in ACTS if name in names or not names])
        kept = all(promise.kept for promise in promises)
        if as_json:
            print(json.dumps(_document(stage, seed, promises), ensure_ascii=False))
        else:
            print_promises(promises)
    if not as_json:
        broken = [promise.name for promise in promises if not promise.kept]
        print(f"\nBROKEN: {', '.join(broken)}" if broken else "\nAll promises were kept.")
    return 0 if kept else 1


def _play(stage: Stage, names: list[str]) -> list[Promise]:
    acts = [ACTS[name](stage) for name in names]

    def lines() -> list[Line]:
        return [line for act in acts for line in act.lines()]

    screen = Screen(stage, lines)
    screen.say(
        f"holdfast {__version__}: {stage.seconds:g} seconds with {len(stage.players)} processes, "
        f"in {stage.directory}"
    )
    stage.begin([player for act in acts for player in act.players()])
    for act in acts:
        act.begin()
    screen.open()
    try:
        while stage.elapsed_s < stage.seconds:
            for act in acts:
                act.step()
            screen.update()
            time.sleep(STEP_S)
        screen.rest()
        endings = [act.finish() for act in acts]
        while endings := [ending for ending in endings if next(ending, _OVER) is not _OVER]:
            screen.update()
            time.sleep(STEP_S)
    finally:
        screen.close()
    return [promise for act in acts for promise in act.promises()] + stage.promises()


def _document(stage: Stage, seed: int, promises: list[Promise]) -> dict[str, object]:
    return {
        "holdfast": __version__,
        "seconds": stage.seconds,
        "seed": seed,
        "kept": all(promise.kept for promise in promises),
        "promises": [promise.to_dict() for promise in promises],
        "events": [{"at_s": event.at_s, "what": event.what} for event in stage.events],
    }


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    """A polite request to end is treated like Ctrl-C: nothing stays behind."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
