"""The pauses of `make shake` come to be, where they should and for no longer than was said."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from tests import jitter


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The threads that have paused; each pause is a millisecond at most."""
    seen: list[str] = []

    def sleep(seconds: float) -> None:
        assert 0 <= seconds <= 0.001
        seen.append(threading.current_thread().name)

    monkeypatch.setattr(jitter, "PROBABILITY", 1.0)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(asyncio.Handle, "_run", asyncio.Handle._run)  # and back again afterwards
    before = threading.getprofile()
    jitter.begin(1.0)
    yield seen
    threading.setprofile(before)


def called() -> None:
    """Something that is called and returns."""


def test_other_threads_pause_where_they_call_and_return(pauses: list[str]) -> None:
    called()
    assert pauses == []
    thread = threading.Thread(target=called, name="other")
    thread.start()
    thread.join()
    assert set(pauses) == {"other"}


def test_a_loop_pauses_before_a_callback(pauses: list[str]) -> None:
    asyncio.run(asyncio.sleep(0))
    assert set(pauses) == {threading.main_thread().name}
