"""The tree of exceptions: messages, built-in parents, and the way through pickle."""

from __future__ import annotations

import builtins
import copy
import errno
import pickle
import re

import pytest

from holdfast import errors
from holdfast.errors import HoldfastError

KINDS = [getattr(errors, name) for name in errors.__all__]

# What a class cannot be made without.
REQUIRED: dict[str, dict[str, int]] = {"Conflict": {"started": 3, "current": 5}}


def make(kind: type[HoldfastError], **more: object) -> HoldfastError:
    return kind("it failed", **(REQUIRED.get(kind.__name__, {}) | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_keeps_all_it_was_given_through_pickle_and_copy(
    kind: type[HoldfastError],
) -> None:
    error = make(kind, on="imu", hint="try again")
    error.add_note("seen in passing")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error) == "it failed: imu; try again"
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert getattr(twin, "errno", None) == getattr(error, "errno", None)


def test_the_message_is_well_formed_when_parts_are_absent() -> None:
    assert str(errors.Busy("it failed")) == "it failed"
    assert str(errors.Busy("it failed", on="imu")) == "it failed: imu"
    assert str(errors.Busy("it failed", hint="wait")) == "it failed; wait"


def test_codes_are_unique_and_snake_case() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_the_tree_in_the_docstring_names_every_class_below_its_parent() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│├└─ ]*)(\w+)(?: \((\w+)\))?(?: |$)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            drawn[found[2]] = path[depth - 1] if depth else "Exception"
            if found[3]:
                other = getattr(errors, found[3], None) or getattr(builtins, found[3])
                assert issubclass(getattr(errors, found[2]), other)
    assert sorted(drawn) == sorted(errors.__all__)
    for name, parent in drawn.items():
        assert getattr(errors, name).__bases__[0].__name__ == parent


@pytest.mark.parametrize(
    ("kind", "builtin", "number"),
    [
        (errors.NotPermitted, PermissionError, errno.EACCES),
        (errors.OutOfSpace, OSError, errno.ENOSPC),
        (errors.ClaimDenied, TimeoutError, errno.ETIMEDOUT),
    ],
)
def test_operating_system_errors_carry_their_errno(
    kind: type[HoldfastError], builtin: type[OSError], number: int
) -> None:
    with pytest.raises(builtin) as caught:
        raise make(kind, on="/dev/shm")
    assert caught.value.errno == number
    assert caught.value.strerror == "it failed"
    assert str(caught.value) == "it failed: /dev/shm"


def test_invalid_argument_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="it failed"):
        raise errors.InvalidArgument("it failed")


def test_an_abort_needs_no_words() -> None:
    assert "given up" in str(errors.Abort())


def test_a_conflict_says_from_where_to_where() -> None:
    error = errors.Conflict("somebody else committed first", on="imu", started=3, current=5)
    assert (error.started, error.current, error.attempts) == (3, 5, 1)
