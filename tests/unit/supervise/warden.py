"""A process that supervises one command, told by its arguments; what came of it goes to a file."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from typing import Any

from holdfast.supervise import Signals, find_command, supervise


class Promise:
    """Lost when its descriptor says so, or when its time is over."""

    def __init__(self, fd: int, seconds: float | None) -> None:
        self._fd = fd
        self._end = None if seconds is None else time.clock_gettime(time.CLOCK_BOOTTIME) + seconds

    def fileno(self) -> int:
        return self._fd

    def remaining(self) -> float:
        if self._end is None:
            return math.inf
        return self._end - time.clock_gettime(time.CLOCK_BOOTTIME)


def main(told: str, *argv: str) -> None:
    settings: dict[str, Any] = json.loads(told)
    fd = settings.pop("fd", None)
    deadline = settings.pop("deadline", None)
    result = settings.pop("result")
    hesitate = settings.pop("hesitate", 0)
    with Signals() as signals:
        print("warden is up", file=sys.stderr, flush=True)
        time.sleep(hesitate)
        outcome = supervise(
            find_command(argv[0]),
            argv,
            signals=signals,
            watched=None if fd is None else Promise(fd, deadline),
            tell=lambda text: print(text, file=sys.stderr, flush=True),
            **settings,
        )
    with open(result, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(outcome) | {"ending": outcome.ending.value}, file)
    sys.exit(outcome.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
