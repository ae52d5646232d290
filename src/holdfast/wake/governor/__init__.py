"""The governor: when the machine may go down. Pure: time comes in, effects go out as data.

Theory of operation
-------------------

::

                  begin                 all answered, nothing forbids it: enter
          AWAKE ─────────▶ SUSPENDING ───────────────────────────────────▶ SUSPENDED
            ▲                │      │                                        │    │
            │                │      └── all answered, something does: ──┐    │    │
            │                │                                  forbid  ▼    │    │
            └── done ────────┼──────────────────────────────────── RESUMING ◀┘    │
                (all answered)                             return      │ ▲        │
                             │                                         │ │ cancel │
                             ▼  shutdown (from AWAKE too)              ▼ │        │
                          STOPPING ◀───────────────────────────────────┴─┴────────┘
                                                    (from SUSPENDED only when it is back)

*Begin*: somebody asks for a suspend (or `auto`), no wake lease exists, and the pause after a failed
attempt is over; or the machine goes down of itself, which nothing can forbid.

*Suspending*: every listener is called, all at once, and everybody is waited for. A wake lease is
granted at once in every phase but one, so that a listener that acquires one before it answers stops
the attempt. When the last has answered, one step looks at what exists, and enters the back-end or
does not. What was acquired and closed during the calls has had its time: the suspend goes on.

*Suspended*: the one phase in which no wake lease is granted; who asks waits for the resume, and the
back-end is told to wake if it can.

*Resuming*: those who were called before are called after, and waited for, before anything else
begins. Application activity is granted only when they have answered: while listeners are called,
the machine is not awake.

Whoever asked for the suspend is answered when all this is over. After an attempt that failed, or
that a wake lease or a listener stopped, the request stays and the next attempt waits, twice as long
each time; a success ends that. Its deadline counts until the back-end is entered.

A machine that goes down of itself waits for `ReadyForSleep`, and not for ever. If it did not wait
long enough, the attempt is an overrun, and says whose work it cut.

What the ring says
------------------

========================  ===========  =========================================================
kind                      subject      when
========================  ===========  =========================================================
held, free                none         the first wake lease is granted, the last granted one closed
lease-waits               lease        it cannot be granted in this phase
lease-granted             lease
lease-closed              lease
listener-registered       listener
listener-late             listener     it is out of time; what follows is its choice
listener-evicted          listener
listener-gone             listener
request                   request
request-answered          request      it slept, or the deadline came
request-withdrawn         request
suspend-calls-began       attempt
suspend-calls-ended       attempt
blocked                   attempt      the back-end is not entered; the detail says why
entered                   attempt      the detail says if the machine goes down of itself
slept, failed             attempt      it is back
resume-calls-began        attempt
resume-calls-ended        attempt
sleep-begins, -ended      none         the machine goes down of itself, is back
shutdown-begins, -ended   none
report                    none         a watchdog; its name is the signature. "stranded": the
                                       back-end is entered, and messages of a pipeline are neither
                                       processed nor under a wake lease
========================  ===========  =========================================================

Source: the specification of wake leases, sections 3 and 4; docs/design/wake.md says where this
governor differs from that one, and why.
"""

from __future__ import annotations

from holdfast.wake.governor.machine import Governor
from holdfast.wake.governor.table import TRANSITIONS, Turn

__all__ = ["TRANSITIONS", "Governor", "Turn"]
