"""A real logind on a private bus, in a mount namespace of its own; no machine sleeps.

What is needed is root that may mount, and the Debian packages ``dbus`` and ``systemd``, whose
programs are started here by their paths; they need not be running. `MachineMissing` says what is
not there. logind gets a /run/systemd of its own, and a /sys/power/state that says that this machine
can be suspended; both end with its mount namespace.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.logind.systemd1 import Systemd

LOGIND_PLACES = ("/usr/lib/systemd/systemd-logind", "/lib/systemd/systemd-logind")
PATIENCE_S = 30.0

BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={directory}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow send_type="signal"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""

# $1: the directory of this machine; $2: logind. What logind remembers of its inhibitors must
# outlive it, as on a machine whose logind is restarted, and its namespace: hence the bind mount.
START = """\
set -eu
mkdir -p /run/systemd
mount --bind "$1/run" /run/systemd
mount --bind "$1/power" /sys/power/state
exec "$2"
"""


class MachineMissing(Exception):
    """No logind can be run here; the message says why."""


@functools.cache
def needed() -> str:
    """Where logind is.

    Raises:
        MachineMissing: It cannot be run here.
    """
    if importlib.util.find_spec("dbus_fast") is None:
        raise MachineMissing("dbus-fast is not installed: the extra [test] has it")
    for program, package in (("dbus-daemon", "dbus"), ("unshare", "util-linux")):
        if shutil.which(program) is None:
            raise MachineMissing(f"there is no {program} here: the package {package} has it")
    logind = next(filter(os.path.exists, LOGIND_PLACES), None)
    if logind is None:
        raise MachineMissing("there is no systemd-logind here: the package systemd has it")
    if os.geteuid() != 0:
        raise MachineMissing("only root may run a logind")
    if not os.path.exists("/sys/power/state"):
        raise MachineMissing("this kernel has no /sys/power/state to put another in front of")
    attempt = [
        *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
        "mkdir -p /run/systemd && mount -t tmpfs none /run/systemd"
        " && mount --bind /dev/null /sys/power/state",
    ]
    done = subprocess.run(attempt, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise MachineMissing(f"mounts are not permitted here: {done.stderr.strip()}")
    return logind


class Machine:
    """A bus, a stand-in for systemd and a logind, for as long as the block runs.

    Entering it raises `MachineMissing` where one of them ends at once: something else than what
    `needed` looks for is not permitted here.

    Attributes:
        address: Of the bus, for ``DBUS_SYSTEM_BUS_ADDRESS``.
        systemd: The stand-in, and what it saw.

    Args:
        delay_s: logind's InhibitDelayMaxSec.
        states: What the kernel offers in /sys/power/state.
        polkit: Whether there is a PolicyKit.
    """

    systemd: Systemd

    def __init__(
        self, *, delay_s: float = 5.0, states: str = "freeze mem", polkit: bool = True
    ) -> None:
        self._logind = needed()
        # Not below pytest's directory: a socket's path has 107 bytes at most, unix(7). And where
        # /run is in memory, as it should be, what logind remembers costs no disk.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else None
        self.directory = tempfile.mkdtemp(prefix="holdfast-logind-", dir=memory)
        os.chmod(self.directory, 0o755)  # also for those who are not root
        self.address = f"unix:path={self.directory}/bus"
        self._delay_s = delay_s
        self._states = states
        self._polkit = polkit
        self._exits = contextlib.ExitStack()
        self._exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as exits:
            exits.push(self._exits)
            self._prepare()
            self.start_bus()
            exits.callback(self._stop, "dbus-daemon")
            self.start_systemd()
            exits.callback(lambda: self.systemd.close())
            self.start_logind()
            exits.callback(self._stop, "logind")
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def log(self) -> str:
        """What logind and the bus have said."""
        with open(f"{self.directory}/log", encoding="utf-8", errors="replace") as file:
            return file.read()

    def start_systemd(self) -> None:
        from tests.logind.systemd1 import Systemd

        self.systemd = Systemd(self.address, polkit=self._polkit)

    def start_bus(self) -> None:
        """Start the bus, and wait until it listens."""
        config = f"{self.directory}/bus.conf"
        with open(config, "w", encoding="ascii") as file:
            file.write(BUS.format(directory=self.directory))
        reading, writing = os.pipe()
        with open(reading, "rb") as said:
            try:
                command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"]
                command.append(f"--print-address={writing}")
                self._start("dbus-daemon", command, {}, writing)
            finally:
                os.close(writing)
            if not said.readline():  # it has ended
                raise MachineMissing(f"dbus-daemon does not run here: {self.log().strip()}")

    def start_logind(self) -> None:
        """Start logind, and wait until it has its name on the bus."""
        before = self.systemd.transcript.count("logind is here")
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", START]
        environment = {
            "DBUS_SYSTEM_BUS_ADDRESS": self.address,
            "SYSTEMD_LOG_LEVEL": "info",
            "SYSTEMD_LOG_TARGET": "console",
        }
        self._start("logind", [*command, "logind", self.directory, self._logind], environment)
        wait_until(
            lambda: self.systemd.transcript.count("logind is here") > before
            or self._ended("logind"),
            "logind",
        )
        if self._ended("logind"):
            raise MachineMissing(f"logind does not run here: {self.log().strip()}")

    def stop_logind(self) -> None:
        """End logind as its own restart would, with SIGTERM: its inhibitors outlive it."""
        before = self.systemd.transcript.count("logind is gone")
        self._stop("logind")
        self.systemd.transcript.wait_for("logind is gone", before + 1)

    def signal_logind(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP, and SIGCONT before the end."""
        self._processes["logind"].send_signal(number)

    def stop_everything(self) -> None:
        """End the bus, and logind and systemd with it: everybody's connection ends."""
        self._stop("logind")
        self.systemd.close()
        self._stop("dbus-daemon")

    def start_everything(self) -> None:
        """Begin again, at the same address; what happens is written down in the same place."""
        transcript = self.systemd.transcript
        self.start_bus()
        self.start_systemd()
        self.systemd.transcript = transcript
        self.start_logind()

    def _prepare(self) -> None:
        for name in ("seats", "users", "sessions", "inhibit", "shutdown", "system"):
            os.makedirs(f"{self.directory}/run/{name}")
        os.makedirs(f"{self.directory}/run/logind.conf.d")
        with open(
            f"{self.directory}/run/logind.conf.d/50-test.conf", "w", encoding="ascii"
        ) as file:
            file.write(f"[Login]\nInhibitDelayMaxSec={round(self._delay_s * 1000)}ms\n")
        with open(f"{self.directory}/power", "w", encoding="ascii") as file:
            file.write(f"{self._states}\n")

    def _start(self, name: str, command: list[str], environment: dict[str, str], *fds: int) -> None:
        with open(f"{self.directory}/log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
                pass_fds=fds,
            )

    def _ended(self, name: str) -> bool:
        return self._processes[name].poll() is not None

    def _stop(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, with much patience."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} has not come about"
        time.sleep(0.002)
