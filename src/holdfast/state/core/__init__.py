"""The shared-memory core in C11: layout, protocol, and the binding to Python.

Read in this order:

1. ``layout.h``: every byte of a state's file and what it means.
2. ``protocol.h``: what can be done with one. ``look.c`` reads, ``commit.c`` commits (with
   ``slots.c``), ``several.c`` commits several at once; without Python, locks or system calls.
3. ``native.h`` and the files it names: the same as Python types.

A read is ``Handle.read`` (``handle.c``) → ``hf_look`` → ``hf_copy``; a commit is
``Transaction.__exit__`` (``transaction.c``) → ``hf_publish`` → one compare-and-swap → ``hf_ring``;
one of several states ``joint.c`` → ``hf_publish_several`` → one compare-and-swap on a status word.
"""
