"""The kernel calls that CPython 3.11 lacks: timerfd and inotify, and nothing on top of them.

`holdfast.clock.Alarm` is what people use for timers; the watching of states uses inotify.
"""

from __future__ import annotations
