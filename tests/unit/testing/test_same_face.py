"""The stand-in has the public names of the real thing, with the same parameters."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from holdfast import state, testing

# The contract: the names that programs use. What else the classes have is their own affair.
FACES: list[tuple[Any, Any, str]] = [
    (
        state.State,
        testing.MemoryState,
        "permissions size version incarnation written persistent path closed read readinto "
        "snapshot view value changed wait fileno changes throttle info transaction transact "
        "set_size delete close __enter__ __exit__ __del__",
    ),
    (
        state.Namespace,
        testing.MemoryNamespace,
        "subscribe transaction names closed close __enter__ __exit__",
    ),
    (
        state.Transaction,
        testing.MemoryTransaction,
        "data version value active add commit abort write __getitem__ __enter__ __exit__",
    ),
    (state.View, testing.MemoryView, "memoryview version check __len__"),
    (state, testing, "transaction snapshot"),
]
NAMES = [
    pytest.param(real, stand_in, name, id=f"{real.__name__}.{name}")
    for real, stand_in, names in FACES
    for name in names.split()
]


def parameters(function: Any) -> list[tuple[str, Any]]:
    """Names and defaults."""
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.default) for one in found if one.name != "self"]


@pytest.mark.parametrize(("real", "stand_in", "name"), NAMES)
def test_a_program_cannot_tell_them_apart_by_their_names(
    real: Any, stand_in: Any, name: str
) -> None:
    """§2.6: each name is there, as the same kind of thing, called in the same way."""
    theirs, ours = getattr(real, name), getattr(stand_in, name)
    assert callable(theirs) == callable(ours)
    if callable(theirs) and not name.startswith("__"):
        assert parameters(ours) == parameters(theirs)
