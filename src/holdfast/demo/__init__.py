"""The main job: the whole system on this machine, with real data and real deaths.

The demo is a play with a few acts (``acts/``), all on stage at once. An act puts players there,
each a process of its own, disturbs them while they work, and says at the end what was promised and
what was seen. The way through it::

    main           options; waits for everybody, lets the time pass, prints the table
      Stage        stage.py       a private namespace of states, a tally, the players, what happened
      Act          acts/*.py      who plays what (`roles`), whom to kill when, and its promises
        Player     stage.py       one process, seen from the stage
        Part       player.py      the same process, seen from inside
      Promise      promise.py     what should never happen; how often it did, of how many chances
      Screen       screen.py      what the user sees meanwhile

What is counted is counted outside the library, in a plain shared file (``tally.py``): a fault in
what is tested cannot hide itself in the evidence. A part that joins the demo adds an act.
"""

from __future__ import annotations
