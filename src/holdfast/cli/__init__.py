"""The command line: ``holdfast NOUN VERB ...``, one module for each noun.

A call travels like this: `main` finds the noun (`nouns` imports its module only then), the verb
calls the public face of a part and hands what it got to `output`; an exception ends in `report`,
which prints it in three parts and looks up the exit code in `exit_codes`.

Standard output is data, standard error is talk.
"""

from __future__ import annotations
