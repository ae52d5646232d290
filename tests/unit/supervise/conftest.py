"""Supervisors for tests, which end with them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.supervise.wardens import Start, Warden


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def make(*argv: str, **settings: Any) -> Warden:
            one = Warden(tmp_path, *argv, **settings)
            stack.callback(one.close)
            return one

        yield make
