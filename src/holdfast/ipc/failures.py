"""Errors of the library on the wire: raised on one side, the same is raised on the other.

An error is named ``org.holdfast.`` and its class; its parameters are its three parts and what the
class adds (`blockers`, `holder`). Varlink's own errors keep their names. Pure.
"""

from __future__ import annotations

from typing import Any, Final

from holdfast import errors
from holdfast.errors import HoldfastError, InvalidArgument, Unsupported
from holdfast.ipc.messages import Message, parameters_as

__all__ = ["METHOD_NOT_FOUND", "from_message", "to_wire"]

_OURS: Final = "org.holdfast."
METHOD_NOT_FOUND: Final = "org.varlink.service.MethodNotFound"
_VARLINK: Final[dict[str, type[HoldfastError]]] = {
    METHOD_NOT_FOUND: Unsupported,
    "org.varlink.service.MethodNotImplemented": Unsupported,
    "org.varlink.service.InterfaceNotFound": Unsupported,
    "org.varlink.service.InvalidParameter": InvalidArgument,
    "org.varlink.service.PermissionDenied": errors.NotPermitted,
}
_KINDS: Final[dict[str, type[HoldfastError]]] = {
    _OURS + name: getattr(errors, name) for name in errors.__all__
}
_NOT_SAID: Final = {"errno", "strerror", "code"}


def to_wire(error: HoldfastError) -> tuple[str, dict[str, Any]]:
    """The name and the parameters by which the other side makes the same error."""
    # A class of somebody's own goes as the class of ours that it is a kind of.
    kind = next(kind for kind in type(error).__mro__ if _OURS + kind.__name__ in _KINDS)
    said = {key: value for key, value in vars(error).items() if not key.startswith("_")}
    return _OURS + kind.__name__, {
        key: value
        for key, value in said.items()
        if key not in _NOT_SAID and value is not None and _plain(value)
    }


def from_message(message: Message) -> HoldfastError:
    """The error that a failure stands for; one that nobody knows is a `HoldfastError`."""
    name = message.error or "an error without a name"
    try:
        said = parameters_as(message, dict[str, Any])
    except InvalidArgument:
        said = {}
    kind = _KINDS.get(name)
    if kind is None:
        about = ", ".join(str(value) for value in said.values()) or None
        return _VARLINK.get(name, HoldfastError)(f"the other side answered {name}", on=about)
    what, on, hint = (said.pop(key, None) for key in ("what", "on", "hint"))
    error = kind(_text(what) or name, on=_text(on), hint=_text(hint))
    for key, value in said.items():
        # Only what the class has anyway, and only of the same kind: who answers us may be anybody.
        before = vars(error).get(key, _ABSENT)
        after = tuple(value) if isinstance(value, list) else value
        if before is not _ABSENT and (before is None or type(before) is type(after)):
            setattr(error, key, after)
    return error


_ABSENT = object()


def _plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_plain(each) for each in value)
    return isinstance(value, str | int | float | bool)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
