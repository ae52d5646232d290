"""Why the machine did not go down, in sentences. Pure.

An attempt has a record of whom it called, how long each took and what forbade it. Here that becomes
text for people: one sentence a line, in the order in which things happened. Who holds a wake lease
*now* is not in the record; whoever knows brings the text, by the lease's number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.wake.model import Cause, Ending, Moment, Phase, Slept, Trigger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.wake.accounts import Pipeline
    from holdfast.wake.model import Attempt, Blocker, CallRecord, HeldLease, Status

__all__ = ["clause", "explain", "held_by", "seconds", "sentences", "worst"]

# A listener that answered faster than this is not worth a sentence.
_NOTABLE_NS: Final = 100_000_000
# So many pipelines are named, the worst.
_PIPELINES_MAX: Final = 16

_WANTED: Final = {
    Trigger.REQUEST: "somebody asked for it",
    Trigger.AUTO: "nothing forbade it",
    Trigger.MACHINE: "the machine went down of itself",
}
_ENDINGS: Final = {
    Ending.ANSWERED: "took {took}",
    Ending.GONE: "was gone after {took}",
    Ending.ABORT: "did not answer in {took}, and had chosen to abort then",
    Ending.GO_ON: "did not answer in {took}, and was not waited for any longer",
    Ending.EVICT: "did not answer in {took}, and was evicted",
    Ending.LEFT: "was not waited for after {took}",
}


def seconds(duration_ns: int) -> str:
    """A duration for people: "4.2 s", "120 ms"."""
    if duration_ns < 1000:
        return "0 s"
    for unit, size_ns in (("\N{MICRO SIGN}s", 1000), ("ms", 10**6)):
        if duration_ns < 1000 * size_ns:
            return f"{duration_ns / size_ns:.3g} {unit}"
    whole = duration_ns / 1e9
    return f"{whole:.3g} s" if whole < 1000 else f"{whole:.0f} s"


def clause(blocker: Blocker) -> str:
    """One reason, without a capital letter and without a stop."""
    match blocker.cause:
        case Cause.WAKE_LEASE:
            return f"wake lease {blocker.name} is held"
        case Cause.LISTENER:
            return f"listener {blocker.name} did not answer in time"
        case Cause.WITHDRAWN:
            return "nobody wanted it any more"
        case Cause.BACKEND:
            return f"the back-end failed: {blocker.detail}"
        case Cause.SHUTDOWN:
            return "the machine shuts down"
        case Cause.OVERRUN:
            return f"the machine did not wait for {blocker.detail} {blocker.name}"


def held_by(lease: HeldLease, now_ns: int, holders: Mapping[int, str]) -> str:
    """What is known of one wake lease: "wake lease upload (acquired by a (7) 3 s ago, now in b)".

    Args:
        lease: Which.
        now_ns: CLOCK_BOOTTIME.
        holders: Who holds it now, by number, as far as that is known ("now in b").
    """
    since_ns = lease.asked_ns if lease.granted_ns is None else lease.granted_ns
    verb = "asked for" if lease.granted_ns is None else "acquired"
    told = f"{verb} by {lease.requester} {seconds(now_ns - since_ns)} ago"
    holder = holders.get(lease.lease_id)
    if holder:
        told += f", {holder}"
    return f"wake lease {lease.name} ({told})"


def sentences(attempt: Attempt, now_ns: int, holders: Mapping[int, str] | None = None) -> list[str]:
    """What happened in one attempt, in order.

    Args:
        attempt: Which.
        now_ns: CLOCK_BOOTTIME, for what still goes on.
        holders: Who holds a wake lease now, by its number ("now in worker (812)").
    """
    holders = holders or {}
    ago = seconds(now_ns - attempt.began_ns)
    told = [f"Attempt {attempt.number} began {ago} ago because {_WANTED[attempt.trigger]}."]
    before = [call for call in attempt.calls if call.moment is Moment.BEFORE_SUSPEND]
    told += _calls(before, now_ns)
    told += _pipelines(attempt)
    told += _reasons(attempt, now_ns, holders)
    told += _calls([call for call in attempt.calls if call not in before], now_ns)
    return told


def _calls(calls: Iterable[CallRecord], now_ns: int) -> list[str]:
    found = []
    for call in sorted(calls, key=lambda each: (each.ended_ns is None, each.ended_ns or 0)):
        when = "before the suspend" if call.moment is Moment.BEFORE_SUSPEND else "after the resume"
        if call.ended_ns is None or call.ending is None:
            waited = seconds(now_ns - call.began_ns)
            found.append(f"Listener {call.listener}, called {when}, is waited for since {waited}.")
            continue
        took_ns = call.ended_ns - call.began_ns
        if call.ending is Ending.ANSWERED and took_ns < _NOTABLE_NS:
            continue
        how = _ENDINGS[call.ending].format(took=seconds(took_ns))
        found.append(f"Listener {call.listener}, called {when}, {how}.")
    return found


def worst(pipelines: Iterable[Pipeline]) -> list[Pipeline]:
    """The same, those of which the most is stranded first, and then those with the most unknown."""
    return sorted(pipelines, key=lambda each: (-each.stranded, -each.unknown))


def _pipelines(attempt: Attempt) -> list[str]:
    """Whether all that was sent had been processed when the back-end was entered."""
    if attempt.entered_ns is None:
        return []
    found = []
    pipelines = worst(attempt.pipelines)
    for each in pipelines[:_PIPELINES_MAX]:
        who = f"the pipeline {each.name} by {each.by}"
        if each.stranded:
            found.append(
                f"STRANDED: {each.stranded} messages of {who} were neither processed nor under a "
                "wake lease when the machine went down."
            )
        if each.unknown:
            found.append(
                f"Of {each.unknown} messages of {who} a client had the wake lease, and has never "
                "said that it processed them."
            )
    fine = [each for each in pipelines if not each.stranded and not each.unknown]
    sent = sum(each.account.sent for each in fine)
    if sent:
        which = "1 pipeline" if len(fine) == 1 else f"{len(fine)} pipelines"
        found.append(f"Nothing of {which} was stranded, of {sent} messages sent so far.")
    return found


def _reasons(attempt: Attempt, now_ns: int, holders: Mapping[int, str]) -> list[str]:
    leases = {lease.lease_id: lease for lease in attempt.leases}
    found = []
    if isinstance(attempt.outcome, Slept):
        woken = f", woken by {attempt.outcome.reason}" if attempt.outcome.reason else ""
        found.append(f"The machine slept for {seconds(attempt.outcome.duration_ns)}{woken}.")
    for blocker in attempt.blockers:
        lease = leases.get(blocker.subject) if blocker.cause is Cause.WAKE_LEASE else None
        if lease is not None:
            found.append(f"It did not go down: {held_by(lease, now_ns, holders)} was held.")
        elif blocker.cause is Cause.OVERRUN:
            found.append(f"{_capital(clause(blocker))}.")
        else:
            found.append(f"It did not go down: {clause(blocker)}.")
    if attempt.trigger is Trigger.MACHINE and attempt.entered_ns is None and not attempt.blockers:
        found += [
            f"The machine is kept for a while by {held_by(lease, now_ns, holders)}."
            for lease in attempt.leases
        ]
    return found


def explain(status: Status, now_ns: int, holders: Mapping[int, str] | None = None) -> list[str]:
    """Why the machine is not down at this moment: what forbids it, and how the last attempt went.

    Args:
        status: Of the governor.
        now_ns: CLOCK_BOOTTIME.
        holders: Who holds a wake lease now, by its number ("now in worker (812)").
    """
    holders = holders or {}
    told = [f"The governor is {status.state.value}."]
    for lease in status.wake_leases:
        told.append(f"{_capital(held_by(lease, now_ns, holders))} forbids a suspend.")
    more = status.wake_lease_count - len(status.wake_leases)
    if more > 0:
        told.append("So does 1 more." if more == 1 else f"So do {more} more.")
    if status.state is Phase.AWAKE and not status.wake_leases:
        told.append(_nothing_forbids(status, now_ns))
    if status.stranded:
        told.append(
            f"STRANDED so far: {status.stranded} messages, neither processed nor under a wake "
            "lease when the machine went down. The log names their pipelines."
        )
    if status.saved:
        by = "1 wake lease" if status.saved_by == 1 else f"{status.saved_by} wake leases"
        told.append(f"Saved from stranding so far: {status.saved} messages, by {by}.")
    if status.attempt is not None:
        told += sentences(status.attempt, now_ns, holders)
    return told


def _nothing_forbids(status: Status, now_ns: int) -> str:
    wait_ns = (status.next_attempt_ns or 0) - now_ns
    if status.requests and wait_ns > 0:
        return f"Nothing forbids a suspend; the next attempt is in {seconds(wait_ns)}."
    return "Nothing forbids a suspend, and nobody has asked for one."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
