"""A process that supervises one command, told by its arguments; what came of it goes to a file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import time
from typing import Any

from holdfast.supervise import Signals, find_command, supervise, supervisor


class Promise:
    """Lost when its descriptor says so, or when its time is over, or when a test says that it is.

    That says a file which the test makes, however late it is. Until then a little time is left.
    """

    def __init__(self, fd: int, seconds: float | None, lapse: str | None) -> None:
        self._fd = fd
        self._lapse = lapse
        self._end = None if seconds is None else time.clock_gettime(time.CLOCK_BOOTTIME) + seconds

    def fileno(self) -> int:
        return self._fd

    def remaining(self) -> float:
        if self._lapse is not None:
            return -1.0 if os.path.exists(self._lapse) else 0.05
        if self._end is None:
            return math.inf
        return self._end - time.clock_gettime(time.CLOCK_BOOTTIME)


def main(told: str, *argv: str) -> None:
    settings: dict[str, Any] = json.loads(told)
    fd = settings.pop("fd", None)
    deadline = settings.pop("deadline", None)
    result = settings.pop("result")
    lapse = settings.pop("lapse", None)
    gate = settings.pop("gate", None)
    told_to_end = False
    supervisor.DRAIN_S_MAX = settings.pop("drain", supervisor.DRAIN_S_MAX)
    with Signals() as signals:
        print("warden is up", file=sys.stderr, flush=True)
        while gate is not None and not os.path.exists(gate):
            if signals.first is not None and not told_to_end:
                print("told to end", file=sys.stderr, flush=True)
                told_to_end = True
            time.sleep(0.01)
        outcome = supervise(
            find_command(argv[0]),
            argv,
            signals=signals,
            watched=None if fd is None else Promise(fd, deadline, lapse),
            tell=lambda text: print(text, file=sys.stderr, flush=True),
            **settings,
        )
    with open(result, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(outcome) | {"ending": outcome.ending.value}, file)
    sys.exit(outcome.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
