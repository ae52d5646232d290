"""The stages of a session, as a table.

::

             start             somebody is there
        NEW ───────▶ CALLING ─────────────────────▶ JOINED ──┐ call: the seeds that are no
         │            ▲ │ │ ▲                       │ │ ▲    │ members, at long distances
         │            └─┘ │ └───────────────────────┘ │ └────┘
         │     call: all, │      nobody is left       │
         │     less and   │                           │
         │     less often └──────────┬────────────────┘
         │                           ▼ leave
         │                        LEAVING ──┐ linger: say it again
         │ leave                     │ ▲    │
         ▼                           │ └────┘
        LEFT ◀───────────────────────┘ over

`TABLE` is that drawing. A *call* is an announcement to every seed. Distances between calls double
up to a bound, with a random part, so that many nodes that lost each other at one instant do not
call at one instant.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TABLE", "TALKING", "Act", "Event", "Stage"]


class Stage(enum.Enum):
    """Where a session stands."""

    NEW = "new"
    CALLING = "calling"
    JOINED = "joined"
    LEAVING = "leaving"
    LEFT = "left"


class Event(enum.Enum):
    """What moves it."""

    START = "start"
    CALL = "call"
    SOMEBODY = "somebody"
    NOBODY = "nobody"
    LEAVE = "leave"
    LINGER = "linger"
    OVER = "over"


class Act(enum.Enum):
    """What is done on the way."""

    CALL_ALL = "call all"
    CALL_MISSING_SEEDS = "call missing seeds"
    FIRST_CALL_SOON = "first call soon"
    NEXT_SEED_CALL = "next seed call"
    SAY_FAREWELL = "say farewell"


# (stage, event) -> (stage, acts); an event that has no row has no effect.
TABLE: Mapping[tuple[Stage, Event], tuple[Stage, tuple[Act, ...]]] = {
    (Stage.NEW, Event.START): (Stage.CALLING, (Act.CALL_ALL,)),
    (Stage.NEW, Event.LEAVE): (Stage.LEFT, ()),
    (Stage.CALLING, Event.CALL): (Stage.CALLING, (Act.CALL_ALL,)),
    (Stage.CALLING, Event.SOMEBODY): (Stage.JOINED, (Act.NEXT_SEED_CALL,)),
    (Stage.JOINED, Event.CALL): (Stage.JOINED, (Act.CALL_MISSING_SEEDS, Act.NEXT_SEED_CALL)),
    (Stage.JOINED, Event.NOBODY): (Stage.CALLING, (Act.FIRST_CALL_SOON,)),
    (Stage.CALLING, Event.LEAVE): (Stage.LEAVING, (Act.SAY_FAREWELL,)),
    (Stage.JOINED, Event.LEAVE): (Stage.LEAVING, (Act.SAY_FAREWELL,)),
    (Stage.LEAVING, Event.LINGER): (Stage.LEAVING, (Act.SAY_FAREWELL,)),
    (Stage.LEAVING, Event.OVER): (Stage.LEFT, ()),
}

# Where packets and the engine's timers have a meaning.
TALKING = frozenset({Stage.CALLING, Stage.JOINED})
