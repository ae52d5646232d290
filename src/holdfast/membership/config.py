"""The settings of one engine, their presets, and which of them may change while it runs.

The presets are those of the crate 1.0 (specification of the protocol, section 3), but for `local`.
``n`` is the number of members that is expected; nothing adapts to it by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self

from holdfast.errors import InvalidArgument, InvalidConfig

__all__ = ["Config", "Periodic"]

_MS = 1_000_000
_S = 1_000_000_000
_DAY = 86_400 * _S
# What a u16 of length can say, and more than a datagram of UDP holds.
_PACKET_MAX = 65_535
_DOWN_MEMORY_NS = _DAY


@dataclass(frozen=True, slots=True)
class Periodic:
    """How often to do something, and with how many members.

    Attributes:
        period_ns: Nanoseconds from one time to the next.
        num_members: How many members are picked at random, at most.

    Raises:
        InvalidArgument: One of them is not positive.
    """

    period_ns: int
    num_members: int

    def __post_init__(self) -> None:
        _positive("period_ns", self.period_ns)
        _positive("num_members", self.num_members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be set, in nanoseconds, bytes and counts.

    Attributes:
        probe_period_ns: From one probe to the next.
        probe_rtt_ns: How long to wait for a direct answer before others are asked to probe.
        num_indirect_probes: How many others are asked; also how many get a gossip or a broadcast.
        max_transmissions: How often an update is passed on, 1 to 255.
        suspect_to_down_after_ns: How long a suspect has to refute.
        remove_down_after_ns: How long a member that is down is remembered.
        max_packet_size: The longest datagram, in bytes, that is sent or accepted.
        notify_down_members: Tell members that are down, and still send, that they are.
        periodic_announce: Announce to random active members; None: do not.
        periodic_announce_to_down_members: Announce to random members that are down.
        periodic_gossip: Gossip to random active members, as long as there is something to say.

    Raises:
        InvalidArgument: A value is out of its range, or the answer is waited for longer than a
            probe lasts.
    """

    probe_period_ns: int
    probe_rtt_ns: int
    num_indirect_probes: int
    max_transmissions: int
    suspect_to_down_after_ns: int
    remove_down_after_ns: int = _DOWN_MEMORY_NS
    max_packet_size: int = 1400
    notify_down_members: bool = False
    periodic_announce: Periodic | None = None
    periodic_announce_to_down_members: Periodic | None = None
    periodic_gossip: Periodic | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("periodic_"):
                if not (value is None or isinstance(value, Periodic)):
                    raise InvalidArgument(
                        f"{field.name}={value!r}", hint="use a Periodic, or None to switch it off"
                    )
            elif field.name == "notify_down_members":
                if not isinstance(value, bool):
                    raise InvalidArgument(f"{field.name}={value!r}", hint="use True or False")
            else:
                _positive(field.name, value)
        if self.probe_rtt_ns >= self.probe_period_ns:
            raise InvalidArgument(
                f"probe_rtt_ns={self.probe_rtt_ns} is not below "
                f"probe_period_ns={self.probe_period_ns}",
                hint="within one period there must be time for a direct and an indirect probe",
            )
        if self.max_transmissions > 255:
            raise InvalidArgument(
                f"max_transmissions={self.max_transmissions}", hint="use 1 to 255"
            )
        if self.max_packet_size > _PACKET_MAX:
            raise InvalidArgument(
                f"max_packet_size={self.max_packet_size}", hint=f"use at most {_PACKET_MAX} bytes"
            )

    @classmethod
    def simple(cls) -> Self:
        """A start for experiments: nothing periodic, and nobody is told that he is down."""
        return cls(
            probe_period_ns=1500 * _MS,
            probe_rtt_ns=500 * _MS,
            num_indirect_probes=3,
            max_transmissions=10,
            suspect_to_down_after_ns=3 * _S,
        )

    @classmethod
    def local(cls) -> Self:
        """A few members on one machine, where packets take no time and are hardly ever lost.

        After memberlist's preset of that name: one helper, a suspicion of three periods, and a
        gossip every 100 ms.
        """
        return cls(
            probe_period_ns=1 * _S,
            probe_rtt_ns=200 * _MS,
            num_indirect_probes=1,
            max_transmissions=4,
            suspect_to_down_after_ns=3 * _S,
            notify_down_members=True,
            periodic_announce=Periodic(15 * _S, 1),
            periodic_announce_to_down_members=Periodic(15 * _S, 1),
            periodic_gossip=Periodic(100 * _MS, 3),
        )

    @classmethod
    def lan(cls, n: int) -> Self:
        """About `n` members in one network.

        Raises:
            InvalidArgument: `n` is not positive.
        """
        return cls(
            probe_period_ns=1 * _S,
            probe_rtt_ns=500 * _MS,
            num_indirect_probes=3,
            max_transmissions=_transmissions(n),
            suspect_to_down_after_ns=_suspicion_ns(n, 4, 1 * _S),
            notify_down_members=True,
            periodic_announce=Periodic(30 * _S, 1),
            periodic_announce_to_down_members=Periodic(65 * _S, 2),
            periodic_gossip=Periodic(200 * _MS, 3),
        )

    @classmethod
    def wan(cls, n: int) -> Self:
        """About `n` members that are far from each other.

        Raises:
            InvalidArgument: `n` is not positive.
        """
        return cls(
            probe_period_ns=5 * _S,
            probe_rtt_ns=3 * _S,
            num_indirect_probes=3,
            max_transmissions=_transmissions(n),
            suspect_to_down_after_ns=_suspicion_ns(n, 6, 5 * _S),
            notify_down_members=True,
            periodic_announce=Periodic(60 * _S, 2),
            periodic_announce_to_down_members=Periodic(125 * _S, 3),
            periodic_gossip=Periodic(500 * _MS, 4),
        )

    def check_change(self, new: Config) -> None:
        """Whether an engine that runs with these settings can go on with `new`.

        The timers of a probe are running, and one that does not run cannot be started by a change
        of settings: so the probe's two durations stay, and nothing periodic can be switched on.

        Raises:
            InvalidConfig: It cannot; the message names the setting.
        """
        for name in ("probe_period_ns", "probe_rtt_ns"):
            if getattr(self, name) != getattr(new, name):
                raise InvalidConfig(
                    f"{name} cannot change from {getattr(self, name)} to {getattr(new, name)}",
                    hint="make a new engine",
                )
        for field in fields(self):
            if (
                field.name.startswith("periodic_")
                and getattr(self, field.name) is None
                and getattr(new, field.name) is not None
            ):
                raise InvalidConfig(
                    f"{field.name} cannot be switched on while the engine runs",
                    hint="switch it on from the start; it can be slowed down or off at any time",
                )


def _positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgument(f"{name}={value!r}", hint="use a positive int")


def _transmissions(n: int) -> int:
    _positive("n", n)
    return min(max(math.floor(4 * math.log10(n + 1)), 1), 255)


def _suspicion_ns(n: int, multiple: int, period_ns: int) -> int:
    return round(max(1.0, math.log10(n)) * multiple * period_ns)
