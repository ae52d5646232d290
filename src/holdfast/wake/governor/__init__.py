"""The governor: when the machine may go down. Pure: time comes in, effects go out as data."""

from __future__ import annotations

from holdfast.wake.governor.machine import Governor

__all__ = ["Governor"]
