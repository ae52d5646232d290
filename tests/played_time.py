"""Time that only those who sleep spend: who is kept from the processor is not late by it."""

from __future__ import annotations


class PlayedTime:
    """Stands in for the module `time` where a loop sleeps until a deadline."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, delay_s: float) -> None:
        self.now_s += delay_s
