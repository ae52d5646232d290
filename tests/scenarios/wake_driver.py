"""Runs a script of one governor, and writes down in order what happens and what is to be done.

A script is a text of comments (``#``), commands (``>``) and, below each command, what came of it,
which the driver writes: an event of the ring as it stands there (``lease-granted a``), or behind
an arrow what is to be done (``-> grant a``).

=====================================  =====================================================
``governor [setting=seconds …]``       begins; a setting of Config without its ``_ns``
``acquire a [kind] [by l]``            and ``close a``: when its last copy hung up
``listen l [timeout] [then]``          and ``answer l``, ``gone l``
``suspend r [deadline]``               and ``withdraw r``
``done 5.0`` or ``done words``         the back-end has slept, or has failed
``sleep_begins``, ``sleep_ended 5.0``  the machine goes down of itself
``shutdown``, ``shutdown_ended``
``wait 1.5``                           seconds pass, and what falls due happens
``why``                                the sentences
=====================================  =====================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.wake.causes import explain
from holdfast.wake.model import Config, Event
from tests.unit.wake.stage import SECOND, Stage

if TYPE_CHECKING:
    from holdfast.wake.model import Effect


class Teller(Stage):
    """A stage that writes everything down."""

    def __init__(self, lines: list[str], **settings: object) -> None:
        super().__init__(**settings)
        self.lines = lines

    def word(self, effect: Effect) -> str | None:
        told = super().word(effect)
        if isinstance(effect, Event):
            detail = f" ({effect.detail})" if effect.detail else ""
            self.note(self.kinds[-1] + detail)
        else:
            self.note(f"-> {told}")
        return told

    def note(self, text: str) -> None:
        self.lines.append(f"  {self.now:7.3f}  {text}")

    def command(self, verb: str, words: list[str]) -> None:
        if verb == "why":
            for sentence in explain(self.governor.status(), self.now_ns):
                self.note(sentence)
        elif verb == "acquire":
            by = words.pop() if words[-2:-1] == ["by"] else ""
            kinds = [word for word in words[1:] if word != "by"]
            self.acquire(words[0], kinds[0] if kinds else "wake", by)
        elif verb == "listen":
            timeout, then = (words[1], words[2]) if len(words) == 3 else (None, "abort")
            self.listen(words[0], None if timeout is None else float(timeout), then)
        elif verb == "suspend":
            self.suspend(words[0], *map(float, words[1:]))
        elif verb in {"done", "sleep_ended"}:
            said = " ".join(words)
            getattr(self, verb)(float(said) if said[:1].isdigit() else said)
        elif verb == "wait":
            self.wait(float(words[0]))
        else:
            getattr(self, verb)(*words)


def settings(words: list[str]) -> dict[str, object]:
    """Seconds where the setting is a time, else a number."""
    found: dict[str, object] = {}
    for name, _, value in (word.partition("=") for word in words):
        if hasattr(Config, f"{name}_ns") or f"{name}_ns" in Config.__dataclass_fields__:
            found[f"{name}_ns"] = round(float(value) * SECOND)
        else:
            found[name] = int(value)
    return found


def run(script: str) -> str:
    """The script with what came of it, in place of what stands there."""
    lines: list[str] = []
    teller: Teller | None = None
    for line in script.splitlines():
        if line.startswith("  "):
            continue
        lines.append(line)
        if line.startswith(">"):
            verb, *words = line[1:].split()
            if verb == "governor":
                teller = Teller(lines, **settings(words))
                continue
            assert teller is not None, "a script begins with `governor`"
            teller.command(verb, words)
    return "\n".join(lines) + "\n"
