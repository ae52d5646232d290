"""Membership: how soon a death is seen, what that costs, who is wronged, how fast packets are read.

* ``cluster``: members in the `World`, in virtual time; ``trials``: what is tried with them;
* ``packets``: full packets through ``handle_data``; ``datagrams``: what asyncio takes for one;
* ``questions``, ``bars``, ``curves``: what is asked, what must be reached, and how it is drawn.

What is measured in virtual time depends on the seeds alone: it is the same on every machine, under
any load, and the report marks it so.
"""

from __future__ import annotations
