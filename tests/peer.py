"""Another process, driven line by line: a real interpreter with its own subscriptions.

The test sends Python source over a pipe, the peer runs it and sends back ``repr`` of the result, or
the name of the exception. Pipes are the only synchronisation: an answer means that it was done.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PATIENCE_S = 40.0  # for an answer: a bound for liveness, never a measure


def python_path() -> str:
    """PYTHONPATH by which other interpreters find these tests, and the library where we do."""
    here = str(Path(__file__).parents[1])
    before = os.environ.get("PYTHONPATH")
    return f"{before}:{here}" if before else here


class PeerRaised(Exception):
    """What the peer ran has raised; the text begins with the name of the exception's class."""


class Peer:
    """One process with a `Namespace` of the given directory, called ``ns`` there."""

    def __init__(self, directory: str | os.PathLike[str], **settings: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, os.fspath(directory), repr(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": python_path()},
        )
        self.result()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, source: str) -> None:
        """Begin with an expression or with statements; `result` waits for the end."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(source).encode() + b"\n")
        self._process.stdin.flush()

    def answered(self, within_s: float = 0) -> bool:
        """Whether `result` would answer at once."""
        assert self._process.stdout
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        return poll.poll(within_s * 1000) != []

    def result(self) -> Any:
        """What was begun has come to: its value, or PeerRaised."""
        assert self._process.stdout
        assert self.answered(PATIENCE_S), "the peer does not answer"
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"the peer has gone: {self._process.wait()}")
        raised, text = json.loads(line)
        if raised:
            raise PeerRaised(f"{raised}: {text}")
        return ast.literal_eval(text)

    def __call__(self, source: str) -> Any:
        self.start(source)
        return self.result()

    def kill(self, number: int = signal.SIGKILL, *, reap: bool = True) -> None:
        """Send a deadly signal and wait for the death; without `reap` it stays a zombie."""
        os.kill(self.pid, number)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        if reap:
            self._process.wait()

    def leave(self, source: str) -> int:
        """Run what ends the process, such as ``os._exit(0)``; its exit code."""
        self.start(source)
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _serve(directory: str, settings: str) -> None:
    from holdfast import errors, state

    scope: dict[str, Any] = {"os": os, "signal": signal, "errors": errors, "state": state}
    scope["ns"] = state.Namespace(directory, **ast.literal_eval(settings))
    _answer("", "None")
    for line in sys.stdin:
        source = json.loads(line)
        raised, value = "", None
        try:
            value = _run(source, scope)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to know
            raised, value = type(error).__name__, str(error)
        _answer(raised, value if raised else repr(value))


def _run(source: str, scope: dict[str, Any]) -> Any:
    try:
        expression = compile(source, "<test>", "eval")
    except SyntaxError:
        exec(source, scope)
        return None
    return eval(expression, scope)


def _answer(raised: str, text: Any) -> None:
    os.write(1, json.dumps([raised, text]).encode() + b"\n")


if __name__ == "__main__":
    _serve(*sys.argv[1:])
