"""Where two parts meet: what each of them makes possible for the other.

=================  ==============================================================================
``state_channel``  wake and state: the version of a shared state is the index of optimistic lease
                   management; nobody writes code to count
=================  ==============================================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.seams.state_channel import StateChannel, StateSource

__all__ = ["StateChannel", "StateSource"]

# A seam is imported by who uses it, with the two parts that it needs.
_WHERE = {"StateChannel": "state_channel", "StateSource": "state_channel"}


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(importlib.import_module(f"holdfast.seams.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
