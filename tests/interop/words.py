"""Values of ours as the driver's words, and back."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from holdfast.membership import (
    Ack,
    Active,
    Announce,
    Bincode,
    Broadcast,
    ChangeSuspectToDown,
    Codec,
    Config,
    Defunct,
    Feed,
    ForwardedAck,
    Gossip,
    Idle,
    IndirectAck,
    IndirectPing,
    Member,
    MemberDown,
    MemberUp,
    Message,
    Node,
    Notification,
    Periodic,
    PeriodicAnnounce,
    PeriodicAnnounceDown,
    PeriodicGossip,
    Ping,
    PingReq,
    Postcard,
    ProbeRandomMember,
    Rejoin,
    RemoveDown,
    Rename,
    SendIndirectProbe,
    State,
    Timer,
    TurnUndead,
)

CODECS: dict[str, Codec[Node]] = {"bincode": Bincode(Node), "postcard": Postcard(Node)}
STATES = "asd"

MESSAGES: dict[str, type] = {
    "ping": Ping,
    "ack": Ack,
    "ping-req": PingReq,
    "indirect-ping": IndirectPing,
    "indirect-ack": IndirectAck,
    "forwarded-ack": ForwardedAck,
    "announce": Announce,
    "feed": Feed,
    "gossip": Gossip,
    "broadcast": Broadcast,
    "turn-undead": TurnUndead,
}
TIMERS: dict[str, type] = {
    "probe": ProbeRandomMember,
    "indirect": SendIndirectProbe,
    "down": ChangeSuspectToDown,
    "announce": PeriodicAnnounce,
    "announce-down": PeriodicAnnounceDown,
    "gossip": PeriodicGossip,
    "remove": RemoveDown,
}
NOTIFICATIONS: dict[str, type] = {
    "up": MemberUp,
    "down": MemberDown,
    "rename": Rename,
    "active": Active,
    "idle": Idle,
    "defunct": Defunct,
    "rejoin": Rejoin,
}
# The crate's errors, and which of ours stand for each: ours tell apart whether anything was done.
ERRORS: dict[str | None, set[str | None]] = {
    None: {None},
    "DataTooBig": {"DataTooBig"},
    "NotUndead": {"NotUndead"},
    "SameIdentity": {"SameIdentity"},
    "NotConnected": {"NotConnected"},
    "IncompleteProbeCycle": {"IncompleteProbeCycle"},
    "DataFromOurselves": {"DataFromOurselves"},
    "IndirectForOurselves": {"IndirectForOurselves"},
    "MalformedPacket": {"MalformedPacket", "DecodeFailed"},
    "Encode": {"EncodeFailed"},
    "Decode": {"MalformedPacket"},
    "CustomBroadcast": {"BroadcastFailed"},
    "InvalidConfig": {"InvalidConfig"},
}


def node(text: str) -> Node:
    """An identity from its text."""
    addr, _, bump = text.rpartition("#")
    ip, _, port = addr.rpartition(":")
    return Node(ip.strip("[]"), int(port), int(bump))


def member(text: str) -> Member[Node]:
    """A member from its text."""
    identity, incarnation, state = text.split("/")
    return Member(node(identity), int(incarnation), State(STATES.index(state)))


def member_text(value: Member[Node]) -> str:
    """A member as text."""
    return f"{value.identity}/{value.incarnation}/{STATES[value.state]}"


def _words(names: dict[str, type], value: Any) -> str:
    [name] = [name for name, kind in names.items() if type(value) is kind]
    parts = [str(getattr(value, field.name)) for field in fields(value)]
    return " ".join([name, *parts])


def message_text(message: Message[Node]) -> str:
    """A message as text."""
    return _words(MESSAGES, message)


def timer_text(timer: Timer[Node]) -> str:
    """A timer as text."""
    return _words(TIMERS, timer)


def notification_text(notification: Notification[Node]) -> str:
    """A notification as text."""
    return _words(NOTIFICATIONS, notification)


def value(names: dict[str, type], text: str) -> Any:
    """A message or a timer from its text."""
    name, *rest = text.split()
    return names[name](*(node(word) if "#" in word else int(word) for word in rest))


@dataclass(frozen=True)
class Settings:
    """A configuration, for both."""

    config: Config

    def words(self) -> list[str]:
        """As the driver reads it."""
        config = self.config

        def periodic(value: Periodic | None) -> str:
            return "off" if value is None else f"{value.period_ns}/{value.num_members}"

        return [
            f"period={config.probe_period_ns}",
            f"rtt={config.probe_rtt_ns}",
            f"helpers={config.num_indirect_probes}",
            f"transmissions={config.max_transmissions}",
            f"suspect={config.suspect_to_down_after_ns}",
            f"remove={config.remove_down_after_ns}",
            f"packet={config.max_packet_size}",
            f"notify={str(config.notify_down_members).lower()}",
            f"announce={periodic(config.periodic_announce)}",
            f"announce-down={periodic(config.periodic_announce_to_down_members)}",
            f"gossip={periodic(config.periodic_gossip)}",
        ]

    def but(self, **changes: Any) -> Settings:
        """The same, but for some."""
        return Settings(replace(self.config, **changes))
