"""Every exception of the library, in one tree.

The class says what the caller now knows; the message says what failed, on which object, and what
to do next. A class that also has a built-in parent may be caught by that parent's name.

::

    HoldfastError
    ├── InvalidArgument (ValueError)        you broke the contract; nothing was done
    ├── NotPermitted (PermissionError)      access was refused; nothing was done
    ├── Closed                              this object was closed; nothing was done
    ├── Unavailable                         what we need cannot be reached now; it may come back
    │   └── NotFound (FileNotFoundError)    there is none of that name; nothing was done
    ├── Unsupported                         this machine or build cannot do it; retrying is no use
    ├── OutOfSpace (OSError)                no room left; nothing was changed
    ├── StateError
    │   ├── Conflict                        somebody committed first; nothing was written; try again
    │   ├── Busy                            others are using it; nothing was written; try later
    │   ├── Deleted                         the state behind this handle is gone for ever
    │   ├── Abort                           the transaction's own function gave up; nothing written
    │   ├── AlreadyExists                   there is something else there; it was left as it was
    │   ├── LayoutMismatch                  not a state that this version can read; left as it was
    │   └── Damaged                         a state, but its contents contradict themselves
    ├── LeaseError
    │   ├── ClaimDenied (TimeoutError)      you certainly do not hold the lease
    │   ├── LeaseLost                       you held the lease and certainly no longer do
    │   ├── StaleRecord                     your picture of the record is old; look again
    │   └── OutcomeUnknown                  nothing may be inferred; it may have happened or not
    ├── MembershipError
    │   ├── MalformedPacket                 the sender broke the contract; nothing was changed
    │   ├── DataTooBig                      more bytes than one packet holds; nothing was done
    │   ├── DecodeFailed                    the codec could not read what a peer sent
    │   ├── EncodeFailed                    the codec could not write what was to be sent
    │   ├── BroadcastFailed                 the broadcast handler refused an item
    │   ├── DataFromOurselves               a packet that claims to come from our own identity
    │   ├── IndirectForOurselves            a request to probe or relay to ourselves
    │   ├── IncompleteProbeCycle            the driver did not fire a timer that it was given
    │   ├── NotConnected                    a timer fired though nobody is known any more
    │   ├── NotUndead                       only an identity declared down can be taken up again
    │   ├── SameIdentity                    the new identity is the old one; nothing was done
    │   └── InvalidConfig (InvalidArgument) this setting cannot change while running
    └── WakeError
        ├── SuspendAborted                  the machine did not go down; the request is withdrawn
        └── GovernorGone                    the governor's end is closed; no promise of it holds
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar

__all__ = [
    "Abort",
    "AlreadyExists",
    "BroadcastFailed",
    "Busy",
    "ClaimDenied",
    "Closed",
    "Conflict",
    "Damaged",
    "DataFromOurselves",
    "DataTooBig",
    "DecodeFailed",
    "Deleted",
    "EncodeFailed",
    "GovernorGone",
    "HoldfastError",
    "IncompleteProbeCycle",
    "IndirectForOurselves",
    "InvalidArgument",
    "InvalidConfig",
    "LayoutMismatch",
    "LeaseError",
    "LeaseLost",
    "MalformedPacket",
    "MembershipError",
    "NotConnected",
    "NotFound",
    "NotPermitted",
    "NotUndead",
    "OutOfSpace",
    "OutcomeUnknown",
    "SameIdentity",
    "StaleRecord",
    "StateError",
    "SuspendAborted",
    "Unavailable",
    "Unsupported",
    "WakeError",
]


class HoldfastError(Exception):
    """Something failed; the subclass says what may be inferred.

    Attributes:
        what: What failed, in words, without the name of the object.
        on: The object it failed on (a state's name, a path, a lease), or None.
        hint: What to do next, or None.
        code: A stable name of the kind of error, for programs that read JSON.
    """

    code: ClassVar[str] = "error"
    error_number: ClassVar[int | None] = None  # `errno`, in the classes that are OSErrors too

    what: str
    on: str | None
    hint: str | None

    def __init__(self, what: str, *, on: str | None = None, hint: str | None = None) -> None:
        # OSError reads (errno, strerror) only from two arguments or more, so that one argument
        # suits every built-in parent of the tree.
        super().__init__(what)
        self.what = what
        self.on = on
        self.hint = hint
        if self.error_number is not None:
            system: Any = self  # OSError is a parent of some classes of the tree, not of this one
            system.errno = self.error_number
            system.strerror = what

    def __str__(self) -> str:
        text = self.what if self.on is None else f"{self.what}: {self.on}"
        return text if self.hint is None else f"{text}; {self.hint}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with `args`, which loses every keyword. Errors cross
        # process boundaries (multiprocessing, concurrent.futures), so all of them are kept.
        attributes = dict(self.__dict__)
        if self.error_number is not None:
            attributes["errno"] = self.error_number
            attributes["strerror"] = self.what
        return _restore, (type(self), self.args), attributes


def _restore(kind: type[HoldfastError], args: tuple[Any, ...]) -> HoldfastError:
    error = kind.__new__(kind)
    error.args = args
    return error


class InvalidArgument(HoldfastError, ValueError):
    """You broke the contract of a call. Nothing was done; the same call will fail again."""

    code = "invalid_argument"


class NotPermitted(HoldfastError, PermissionError):
    """Access was refused, by the kernel or by our own rule. Nothing was done."""

    code = "not_permitted"
    error_number = errno.EACCES


class Closed(HoldfastError):
    """The object was closed before this call. Nothing was done; what it stood for may live on."""

    code = "closed"


class Unavailable(HoldfastError):
    """What is needed (a server, a bus, a file) cannot be reached now. It may come back.

    Attributes:
        tried: The addresses that were tried, in order.
    """

    code = "unavailable"

    tried: tuple[str, ...]

    def __init__(
        self,
        what: str,
        *,
        on: str | None = None,
        hint: str | None = None,
        tried: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, on=on, hint=hint)
        self.tried = tried


class NotFound(Unavailable, FileNotFoundError):
    """There is none of that name now. Nothing was done; somebody may make one."""

    code = "not_found"
    error_number = errno.ENOENT


class Unsupported(HoldfastError):
    """This kernel, build or installation cannot do it. Retrying without a change is no use."""

    code = "unsupported"


class OutOfSpace(HoldfastError, OSError):
    """The file system or the table has no room left. Nothing was changed."""

    code = "out_of_space"
    error_number = errno.ENOSPC


class StateError(HoldfastError):
    """Something failed in `holdfast.state`."""

    code = "state_error"


class Conflict(StateError):
    """Somebody else committed since the transaction started. Nothing was written.

    A new attempt that reads the new contents may succeed; repeating the same bytes without a look
    would undo the other's work.

    Attributes:
        started: The version that the transaction started from; 0 where there are none (SQL).
        current: The version found at commit; the same.
        attempts: How many attempts were made before giving up.
    """

    code = "conflict"

    started: int
    current: int
    attempts: int

    def __init__(
        self,
        what: str,
        *,
        started: int = 0,
        current: int = 0,
        attempts: int = 1,
        on: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, on=on, hint=hint)
        self.started = started
        self.current = current
        self.attempts = attempts


class Busy(StateError):
    """Others are using what the call needs for itself alone. Nothing was written; try later."""

    code = "busy"


class Deleted(StateError):
    """The state behind this handle is gone for ever. A new subscription makes a new state."""

    code = "deleted"


class Abort(StateError):
    """Raised by the function given to `transact` in order to give up. Nothing was written.

    It is the one error of the tree that the user raises: `transact` passes it on, unchanged, and
    does not try again.
    """

    code = "abort"

    def __init__(
        self,
        what: str = "the transaction was given up by its own function",
        *,
        on: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, on=on, hint=hint)


class AlreadyExists(StateError):
    """There is something else in the place asked for. It was left as it was."""

    code = "already_exists"


class LayoutMismatch(StateError):
    """The file is not a state, or not of a layout that this version knows. It is untouched."""

    code = "layout_mismatch"


class Damaged(StateError):
    """The file is a state, but its header contradicts itself. Nothing in it can be trusted."""

    code = "damaged"


class LeaseError(HoldfastError):
    """Something failed in `holdfast.lease`."""

    code = "lease_error"


class ClaimDenied(LeaseError, TimeoutError):
    """You certainly do not hold the lease: another does, or the wait ended before it was free.

    Attributes:
        holder: Who held it when last seen, or None if that is not known.
    """

    code = "claim_denied"
    error_number = errno.ETIMEDOUT

    holder: str | None

    def __init__(
        self,
        what: str,
        *,
        holder: str | None = None,
        on: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, on=on, hint=hint)
        self.holder = holder


class LeaseLost(LeaseError):
    """You held the lease and certainly no longer do. Another may act in its name already.

    Attributes:
        overrun_ns: Nanoseconds of CLOCK_BOOTTIME since the last instant at which it was surely
            held, or None if it was lost for another reason than time.
    """

    code = "lease_lost"

    overrun_ns: int | None

    def __init__(
        self,
        what: str,
        *,
        overrun_ns: int | None = None,
        on: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, on=on, hint=hint)
        self.overrun_ns = overrun_ns


class StaleRecord(LeaseError):
    """The record changed since you read it. Nothing was written; look again and decide anew."""

    code = "stale_record"


class OutcomeUnknown(LeaseError):
    """The answer was lost on the way. It may have been done or not: nothing may be inferred."""

    code = "outcome_unknown"


class MembershipError(HoldfastError):
    """Something failed in `holdfast.membership`."""

    code = "membership_error"


class MalformedPacket(MembershipError):
    """The sender broke the contract of the wire. The packet had no effect."""

    code = "malformed_packet"


class DataTooBig(MembershipError):
    """More bytes than one packet may hold. Nothing was done."""

    code = "data_too_big"


class DecodeFailed(MembershipError):
    """The codec could not read what a peer sent. What stood before the fault was applied."""

    code = "decode_failed"


class EncodeFailed(MembershipError):
    """The codec could not write what was to be sent. The packet was not sent."""

    code = "encode_failed"


class BroadcastFailed(MembershipError):
    """The caller's broadcast handler refused an item. The packet's other contents were applied."""

    code = "broadcast_failed"


class DataFromOurselves(MembershipError):
    """A packet claims to come from our own identity: a loop, or two nodes with one identity."""

    code = "data_from_ourselves"


class IndirectForOurselves(MembershipError):
    """A peer asks us to probe, or to relay to, ourselves: it mistakes who we are."""

    code = "indirect_for_ourselves"


class IncompleteProbeCycle(MembershipError):
    """The driver began a probe round before it fired the timers of the last one. A driver bug."""

    code = "incomplete_probe_cycle"


class NotConnected(MembershipError):
    """A timer of the connected engine fired though no active member is known any more."""

    code = "not_connected"


class NotUndead(MembershipError):
    """Only an identity that the cluster declared down can be taken up again. Nothing was done."""

    code = "not_undead"


class SameIdentity(MembershipError):
    """The identity given is the one in use. Nothing was done."""

    code = "same_identity"


class InvalidConfig(MembershipError, InvalidArgument):
    """A setting that cannot change while the engine runs. The old settings stay in force."""

    code = "invalid_config"


class WakeError(HoldfastError):
    """Something failed in `holdfast.wake`."""

    code = "wake_error"


class SuspendAborted(WakeError):
    """The machine did not go down, and the request to suspend is withdrawn.

    Attributes:
        blockers: The names of the wake leases that forbade it, oldest first.
    """

    code = "suspend_aborted"

    blockers: tuple[str, ...]

    def __init__(
        self,
        what: str,
        *,
        blockers: tuple[str, ...] = (),
        on: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what, on=on, hint=hint)
        self.blockers = blockers


class GovernorGone(WakeError):
    """The governor's end of the socket is closed. No wake lease of it forbids anything now."""

    code = "governor_gone"
