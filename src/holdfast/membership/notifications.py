"""What the engine tells the application. Each is a value: compare it, match on it.

`MemberUp` comes before `Active` and `MemberDown` before `Idle`, where one call causes both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias

from holdfast.membership.identity import T

__all__ = [
    "Active",
    "Defunct",
    "Idle",
    "MemberDown",
    "MemberUp",
    "Notification",
    "Rejoin",
    "Rename",
]


@dataclass(frozen=True, slots=True)
class MemberUp(Generic[T]):
    """A member became active."""

    member: T


@dataclass(frozen=True, slots=True)
class MemberDown(Generic[T]):
    """A member that was active was declared down. It never comes without its `MemberUp`."""

    member: T


@dataclass(frozen=True, slots=True)
class Rename(Generic[T]):
    """Another identity took over the address. Alone when the member was and stays active."""

    old: T
    new: T


@dataclass(frozen=True, slots=True)
class Active:
    """At least one active member knows the present identity: the engine probes and gossips."""


@dataclass(frozen=True, slots=True)
class Idle:
    """The last active member is gone."""


@dataclass(frozen=True, slots=True)
class Defunct:
    """The present identity was declared down and cannot be renewed.

    Only `change_identity` and `reuse_down_identity` lead on from here.
    """


@dataclass(frozen=True, slots=True)
class Rejoin(Generic[T]):
    """The identity was declared down, and the engine has taken this new one."""

    identity: T


Notification: TypeAlias = (
    MemberUp[T] | MemberDown[T] | Rename[T] | Active | Idle | Defunct | Rejoin[T]
)
