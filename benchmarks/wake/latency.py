"""From the last release until the machine goes down.

Ours: a suspend is asked for and waits for one wake lease; from just before that is closed to the
first line of the back-end, in the governor's process. No listener is asked.

logind's: a suspend is under way and waits for one delay lock; from just before that is closed to
the call that starts ``suspend.target``, as our stand-in for systemd gets it.
"""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from benchmarks.peers import OURS, wheel
from benchmarks.wake.logind import NAME
from holdfast.wake import connect

if TYPE_CHECKING:
    from tests.logind.machine import Machine

__all__ = ["LogindRelease", "OurRelease"]

_SETTLE_S = 0.002
_PATIENCE_S = 60.0


class OurRelease:
    """Of a governor whose back-end says when it was entered."""

    name = OURS
    text = "the last wake_lease.close() → Backend.suspend()"

    def __init__(self, path: str) -> None:
        self._holder, self._asker = connect(path), connect(path)
        self._questions: SimpleQueue[str] = SimpleQueue()
        self._answers: SimpleQueue[float] = SimpleQueue()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while self._questions.get():
            self._answers.put(self._asker.suspend())

    def sample(self) -> float:
        wake_lease = self._holder.acquire("benchmark")
        self._questions.put("suspend")
        while self._holder.status().requests == 0:
            time.sleep(_SETTLE_S)
        before_ns = time.monotonic_ns()
        wake_lease.close()
        return self._answers.get(timeout=_PATIENCE_S) * 1e9 - before_ns

    def close(self) -> None:
        self._questions.put("")
        self._thread.join(_PATIENCE_S)
        self._holder.close()
        self._asker.close()


class LogindRelease:
    """Of a logind that waits for a delay lock."""

    name = NAME
    text = "the last close() of a delay lock → StartUnit('suspend.target')"

    def __init__(self, machine: Machine) -> None:
        jeepney, blocking = wheel("jeepney"), wheel("jeepney.io.blocking")
        self._machine = machine
        self._connection = blocking.open_dbus_connection(machine.address, enable_fds=True)
        place = jeepney.DBusAddress(
            "/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager"
        )
        words = ("sleep", "benchmark", "to be measured", "delay")
        self._inhibit = jeepney.new_method_call(place, "Inhibit", "ssss", words)
        self._suspend = jeepney.new_method_call(place, "Suspend", "b", (False,))

    def sample(self) -> float:
        transcript = self._machine.systemd.transcript
        ended = transcript.count("PrepareForSleep False")
        began = transcript.count("PrepareForSleep True")
        lock = self._connection.send_and_get_reply(self._inhibit).body[0]
        self._connection.send_and_get_reply(self._suspend)
        transcript.wait_for("PrepareForSleep True", began + 1)
        time.sleep(_SETTLE_S)
        before_ns = time.monotonic_ns()
        lock.close()
        transcript.wait_for("PrepareForSleep False", ended + 1)
        return self._machine.systemd.started_ns - before_ns

    def close(self) -> None:
        self._connection.close()
