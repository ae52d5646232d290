"""Four ways to hand an event from one process to another without losing it to a suspend.

====================  =========================================================================
baton passing         the wake lease travels with the event: `holdfast.wake.send`, `receive`
`interlock`           who takes over has his own before the first lets go of his
`sequence_server`     optimistic: no wake lease until the governor says that it suspends; with
                      `sequence_client`, `sequence_relay` for stages in the middle, and
                      `socket_channel`, a ready-made way for messages and batons
`retained`            a time-out: the last resort, where the other side cannot take part
====================  =========================================================================

All of it runs on asyncio; what is decided is decided in `holdfast.wake.sequence`, which is pure.
`surroundings` says what they need of a governor and of a channel: a test can bring its own.

Source: the seed on preventing suspension in a data processing pipeline.
"""

from __future__ import annotations

__all__: list[str] = []
