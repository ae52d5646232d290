"""The Rust crate foca, given the same packets: what the engine is measured beside.

It is the program of ``tests/interop/foca-node``, built by cargo without the crate's own assertions.
"""

from __future__ import annotations

import functools
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers import Missing

if TYPE_CHECKING:
    from benchmarks.membership.packets import Reader

__all__ = ["NAME", "Crate", "version"]

NAME = "foca (Rust)"
_ROOT = Path(__file__).parents[2]
_PATIENCE_S = 60


@functools.cache
def program() -> Path:
    """The program.

    Raises:
        Missing: This machine cannot build it, and why.
    """
    from tests.interop.building import CannotBuild, build

    try:
        return build(_ROOT, "bare")
    except CannotBuild as why:
        raise Missing(str(why)) from why


def version() -> str:
    """Of the crate, as it is locked.

    Raises:
        Missing: It cannot be measured here.
    """
    program()
    locked = _ROOT / "tests" / "interop" / "foca-node" / "Cargo.lock"
    packages = tomllib.loads(locked.read_text(encoding="utf-8"))["package"]
    return next(str(one["version"]) for one in packages if one["name"] == "foca")


class Crate:
    """Reads what a reader of ours reads; each sample in a process of its own.

    Args:
        reader: Whose packets.
    """

    name = NAME
    text = "foca.handle_data(&packet, &mut runtime)"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        lines = [f"known {one}/0/a" for one in reader.members[1:]]
        lines += [f"settle {packet.hex()}" for packet in reader.settling]
        lines += [f"packet {packet.hex()}" for packet in reader.packets]
        self._input = "".join(f"{line}\n" for line in lines)

    def sample(self) -> float:
        """Nanoseconds, as the reader's."""
        reader = self._reader
        command = [str(program()), "read", str(reader.members[0]), str(len(reader.members))]
        done = subprocess.run(
            command,
            input=self._input,
            check=True,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
        took_ns, known = map(int, done.stdout.split())
        reader.check(known)
        return took_ns / reader.by
