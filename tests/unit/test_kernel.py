"""The thin kernel module: real descriptors, and errors with their errno."""

from __future__ import annotations

import errno
import os
import select
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast._native import kernel

EVENT = struct.Struct("iIII")  # inotify(7): wd, mask, cookie, len


@pytest.fixture
def watch_fd() -> int:
    return kernel.inotify_init1(kernel.IN_CLOEXEC | kernel.IN_NONBLOCK)


def test_a_relative_timer_repeats() -> None:
    fd = kernel.timerfd_create(kernel.CLOCK_MONOTONIC, kernel.TFD_CLOEXEC)
    kernel.timerfd_settime(fd, 0, 1_000_000, 1_000_000)
    for _ in range(3):
        (expirations,) = struct.unpack("Q", os.read(fd, 8))
        assert expirations >= 1
    os.close(fd)


@pytest.mark.parametrize("value_ns", [-1, -(10**12), -(2**63)])
def test_a_negative_time_is_refused_by_the_kernel(value_ns: int) -> None:
    fd = kernel.timerfd_create(kernel.CLOCK_BOOTTIME, 0)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        kernel.timerfd_settime(fd, 0, value_ns)
    assert caught.value.errno == errno.EINVAL
    os.close(fd)


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OverflowError):
        kernel.timerfd_settime(0, 0, 2**63)
    with pytest.raises(OverflowError, match="32 bits"):
        kernel.inotify_add_watch(0, "/", 2**32)


def test_unknown_clocks_and_flags_carry_their_errno() -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        kernel.timerfd_create(99, 0)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="Invalid argument") as caught:
        kernel.inotify_init1(-1)
    assert caught.value.errno == errno.EINVAL


KINDS: list[Callable[[str], str | bytes | Path]] = [str, os.fsencode, Path]


@pytest.mark.parametrize("kind", KINDS)
def test_a_watch_reports_a_modification(
    tmp_path: Path, kind: Callable[[str], str | bytes | Path], watch_fd: int
) -> None:
    file = tmp_path / "bell"
    file.write_bytes(b"")
    wd = kernel.inotify_add_watch(watch_fd, kind(str(file)), kernel.IN_MODIFY)
    assert select.select([watch_fd], [], [], 0)[0] == []
    file.write_bytes(b"!")
    assert select.select([watch_fd], [], [], 30)[0] == [watch_fd]
    seen_wd, mask, _, _ = EVENT.unpack_from(os.read(watch_fd, 4096))
    assert (seen_wd, mask) == (wd, kernel.IN_MODIFY)
    kernel.inotify_rm_watch(watch_fd, wd)
    _, mask, _, _ = EVENT.unpack_from(os.read(watch_fd, 4096))
    assert mask == kernel.IN_IGNORED
    os.close(watch_fd)


def test_a_oneshot_watch_reports_once(tmp_path: Path, watch_fd: int) -> None:
    file = tmp_path / "bell"
    file.write_bytes(b"")
    kernel.inotify_add_watch(watch_fd, file, kernel.IN_MODIFY | kernel.IN_ONESHOT)
    file.write_bytes(b"!")
    file.write_bytes(b"!!")
    data = os.read(watch_fd, 4096)
    masks = [EVENT.unpack_from(data, at)[1] for at in range(0, len(data), EVENT.size)]
    assert masks == [kernel.IN_MODIFY, kernel.IN_IGNORED]
    os.close(watch_fd)


def test_a_missing_path_is_named_in_the_error(watch_fd: int) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        kernel.inotify_add_watch(watch_fd, "/no/such", kernel.IN_MODIFY)
    assert caught.value.filename == "/no/such"
    os.close(watch_fd)


def test_an_unknown_watch_cannot_be_removed(watch_fd: int) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        kernel.inotify_rm_watch(watch_fd, 12345)
    os.close(watch_fd)
