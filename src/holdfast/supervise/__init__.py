"""Running a command that must not run on: under a lease, and to its very end.

The way of a run::

    find_command        outcome.py      is there such a program? before anything is claimed
    Signals             signals.py      from here on none is lost
    supervise           supervisor.py   one loop, until nobody of COMMAND's group is left
      posix_spawn       launcher.py     tied to our life; waits for the word
      Course.on         table.py        what happened, and what is to be done about it
      Family            family.py       who belongs to COMMAND, and who of it is left
      Terminal          terminal.py     lent to COMMAND's group, and taken back
    Outcome             outcome.py      why it ended, and the exit code

What is promised:

- Nothing of the user's is started after a signal has asked us to end, or after the loss.
- On loss all of COMMAND's group gets SIGTERM, after a grace SIGKILL, and so does whoever of its
  descent has left the group.
- Killed with SIGKILL, we take the group with us. Who has left the group is not reached then, and
  nor is a program that is set-user-ID.
- When COMMAND has ended, who is left of its group gets a moment, and is stopped. A daemon, which
  leaves its parents' group, is not.

Stopped with SIGSTOP, we can do nothing at all: that is what fencing tokens and gates are for.
"""

from __future__ import annotations

from holdfast.supervise.outcome import Outcome, find_command
from holdfast.supervise.signals import Signals
from holdfast.supervise.supervisor import Watched, supervise
from holdfast.supervise.table import Ending

__all__ = ["Ending", "Outcome", "Signals", "Watched", "find_command", "supervise"]
