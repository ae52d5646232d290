"""Where it was measured, and how much else went on there."""

from __future__ import annotations

import os
import platform
import time

__all__ = ["Disturbance", "describe"]


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() in {"model name", "Model"}:
                    return value.strip()
    except OSError:
        pass
    return platform.machine()


def describe(versions: dict[str, str]) -> dict[str, object]:
    """Machine, interpreter and versions of all that is measured; nothing that names the host."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "kernel": platform.release().partition("-")[0],  # the rest is who built it
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "versions": versions,
    }


class Disturbance:
    """What share of all processors others had while we measured."""

    def __init__(self) -> None:
        self._before = self._ticks()
        self._times = os.times()
        self._began = time.monotonic()
        self._load = os.getloadavg()[0]

    @staticmethod
    def _ticks() -> list[int]:
        with open("/proc/stat", encoding="ascii") as lines:
            return [int(word) for word in lines.readline().split()[1:9]]

    def report(self) -> dict[str, object]:
        """Call it when every process of ours has ended: only then is its time known."""
        ticks = [now - then for now, then in zip(self._ticks(), self._before, strict=True)]
        total = max(sum(ticks), 1)
        idle, steal = ticks[3] + ticks[4], ticks[7]
        ours_s = sum(os.times()[:4]) - sum(self._times[:4])
        ours = ours_s * os.sysconf("SC_CLK_TCK")
        return {
            "seconds": round(time.monotonic() - self._began, 1),
            "load_before": round(self._load, 2),
            "others_share": round(max(0.0, total - idle - steal - ours) / total, 3),
            "stolen_share": round(steal / total, 3),
        }
