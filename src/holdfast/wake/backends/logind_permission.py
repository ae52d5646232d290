"""What logind permits us: whether it can be worked with, and what to do where it says no.

logind asks polkit about everybody but root, by the name of an *action*. Where there is no polkit it
refuses. Of the actions needed here, the rules that polkit comes with permit everybody to delay,
whoever has a session to block, and only whoever sits at the machine to suspend without a password.
Sources: org.freedesktop.login1(5), polkit(8); the answers of logind 252 with and without polkit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from holdfast.errors import HoldfastError, NotPermitted, Unavailable
from holdfast.wake.backends.bus import Called, Refused, ask_once

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "MANAGER",
    "NAME",
    "PATH",
    "SUSPEND",
    "advice",
    "blockers",
    "refusal",
    "unusable",
    "why_not",
]

NAME: Final = "org.freedesktop.login1"
PATH: Final = "/org/freedesktop/login1"
MANAGER: Final = Called(NAME, PATH, f"{NAME}.Manager")
SUSPEND: Final = f"{NAME}.suspend"

_LOOK_S = 30.0  # more than the bus waits for an answer: where much starts at once logind is slow
_DENIED = {
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
}
_RUNNING = "is systemd-logind running? `systemctl status systemd-logind`"


def why_not(address: str) -> str | None:
    """None if we may suspend through the logind on that bus; else why not, and what to do."""
    try:
        (answer,) = ask_once(address, MANAGER, "CanSuspend", timeout=_LOOK_S)
        if answer == "no":
            (locks,) = ask_once(address, MANAGER, "ListInhibitors", timeout=_LOOK_S)
            answer = "blocked" if blockers(locks) else "no"
    except Refused as error:
        if error.name in _DENIED:
            return (
                f"logind refuses even to tell user {os.geteuid()} whether it may suspend "
                f"({error.text or error.name}), as it does to all but root where there is no "
                "polkit: run the governor as root, or install polkit"
            )
        return f"logind does not answer on the system bus: {error.text or error.name}; {_RUNNING}"
    except HoldfastError as error:
        return str(error)
    match answer:
        # Since systemd 257, while somebody has a block lock. That passes, and is no reason.
        case "yes" | "inhibited" | "inhibitor-blocked":
            return None
        case "na":
            return "logind says that this machine cannot be suspended; see /sys/power/state"
        case "challenge" | "challenge-inhibitor-blocked":
            said = f"logind would ask user {os.geteuid()} for a password before each suspend"
        case "blocked":
            # Before 257 that can be all that is wrong, and logind does not say whether it is.
            named = ", ".join(sentence for _, sentence in blockers(locks))
            return (
                f"logind does not let user {os.geteuid()} suspend the machine, at least for as "
                f"long as it is blocked by {named}; then try again"
            )
        case _:
            said = f"logind does not let user {os.geteuid()} suspend the machine"
    return f"{said}: {advice(SUSPEND)}"


def advice(action: str) -> str:
    """What to do where an action of polkit's is not permitted."""
    return f"run the governor as root, or permit {action} by a rule, see polkit(8)"


def refusal(error: Refused, action: str) -> str:
    """What logind has said, and what to do if it is for want of a permission."""
    if error.name in _DENIED:
        return f"{error}: user {os.geteuid()} needs the permission {action}, see polkit(8)"
    return str(error)


def unusable(error: Refused, action: str, address: str) -> HoldfastError:
    """The error of a back-end that cannot be opened, since logind refused this."""
    if error.name in _DENIED:
        return NotPermitted(
            f"logind refuses user {os.geteuid()} what the back-end needs ({error})",
            on=address,
            hint=advice(action),
        )
    return Unavailable(f"logind does not do its part ({error})", on=address, hint=_RUNNING)


def blockers(locks: list[tuple[Any, ...]]) -> list[tuple[int, str]]:
    """Who has a block lock on sleep, of those in logind's list: pid, and what to say of it."""
    return [
        (pid, f"{who} (pid {pid}: {why})")
        for what, who, why, mode, _, pid in locks
        if mode == "block" and "sleep" in what.split(":")
    ]
