"""The conformance suite over the C core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing.conformance import Make, NamespaceConformance
from tests.fixtures_state import MakePeer
from tests.makes import MakeCore

# What the core does not do yet, and why that is wrong. Each goes when its defect does.
DEFECTS = {
    "test_two_handles_on_one_state_are_no_two_members": (
        "a member through a second handle is let in: each aborts the other, and the commit is Busy"
    ),
    "test_a_throttled_reader_does_not_hold_up_a_transaction": (
        "a throttled read-only member is copied as shown, not as it is: it conflicts with itself"
    ),
    "test_throttling_takes_no_news_away": (
        "throttle() takes a look of its own: what nobody has been shown is no news any more"
    ),
    "test_a_handle_that_was_not_throttled_remembers_what_it_showed": (
        "throttle() shows the newest at once, however short ago another version was shown"
    ),
    "test_versions_never_go_back": (
        "a snapshot of several states shows a throttled handle's newest, its next read an older one"
    ),
    "test_closing_a_handle_ends_its_changes": (
        "close() does not wake a task that waits in changes(): it waits for ever"
    ),
}


class TestCore(NamespaceConformance):
    @pytest.fixture(autouse=True)
    def defects(self, request: pytest.FixtureRequest) -> None:
        reason = DEFECTS.get(request.node.originalname)
        if reason is not None:
            request.node.add_marker(pytest.mark.xfail(strict=True, reason=reason))

    @pytest.fixture
    def make(self, directory: Path, peer: MakePeer) -> Iterator[Make]:
        make = MakeCore(directory, peer)
        yield make
        make.close()
