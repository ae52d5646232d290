from os import PathLike

CLOCK_REALTIME: int
CLOCK_MONOTONIC: int
CLOCK_BOOTTIME: int
CLOCK_REALTIME_ALARM: int
CLOCK_BOOTTIME_ALARM: int
TFD_CLOEXEC: int
TFD_NONBLOCK: int
TFD_TIMER_ABSTIME: int
TFD_TIMER_CANCEL_ON_SET: int
IN_CLOEXEC: int
IN_NONBLOCK: int
IN_ACCESS: int
IN_ATTRIB: int
IN_CLOSE_NOWRITE: int
IN_CLOSE_WRITE: int
IN_CREATE: int
IN_DELETE: int
IN_DELETE_SELF: int
IN_DONT_FOLLOW: int
IN_EXCL_UNLINK: int
IN_IGNORED: int
IN_ISDIR: int
IN_MASK_ADD: int
IN_MODIFY: int
IN_MOVED_FROM: int
IN_MOVED_TO: int
IN_MOVE_SELF: int
IN_ONESHOT: int
IN_ONLYDIR: int
IN_OPEN: int
IN_Q_OVERFLOW: int
IN_UNMOUNT: int

def timerfd_create(clock: int, flags: int, /) -> int: ...
def timerfd_settime(fd: int, flags: int, value_ns: int, interval_ns: int = 0, /) -> None: ...
def inotify_init1(flags: int, /) -> int: ...
def inotify_add_watch(
    fd: int, path: str | bytes | PathLike[str] | PathLike[bytes], mask: int, /
) -> int: ...
def inotify_rm_watch(fd: int, wd: int, /) -> None: ...
