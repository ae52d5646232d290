"""Where a wake lease is, in words: in a sentence, or in few words for a list of reasons. Pure.

What is known of a holder is told with its age where it is only what the holder has said: one that
is frozen says nothing any more, and the last that it said is all there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.wake.whereabouts import Halt, Hiding, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.wake.hops import Hop
    from holdfast.wake.whereabouts import Holding, Whereabouts

__all__ = ["in_words", "last_holder", "last_known", "whom"]


def in_words(where: Whereabouts, name: str, acquired_ns: int, now_ns: int) -> str:
    """One sentence for people: who acquired the lease, when, who holds it now, and how.

    Args:
        where: Where it is.
        name: The lease's name.
        acquired_ns: When it was acquired.
        now_ns: Now, on the same clock.
    """
    acquirer = "a process that the kernel did not name"
    if where.acquirer is not None:
        acquirer = _named(where.acquirer.pid, where.acquirer.command)
    ago = _ago(now_ns - acquired_ns)
    text = f'wake lease "{name}" was acquired by {acquirer} {ago}'
    if where.place is Place.IN_FLIGHT:
        lost = _without(where, now_ns)
        return f"{text}; nobody was found to hold it now: {_may_be(where, now_ns)}{lost}"
    if _is_the_acquirers_alone(where):
        holding = where.holdings[0]
        now = _named(holding.holder.pid, holding.holder.command)  # it may be another program by now
        text = f'wake lease "{name}" was acquired {ago} by {now}, which still holds it'
        return text + _how(holding, now_ns) + _without(where, now_ns)
    holders = [
        _named(each.holder.pid, each.holder.command) + _how(each, now_ns) for each in where.holdings
    ]
    return f"{text} and is now held by {'; and by '.join(holders)}" + _without(where, now_ns)


def _without(where: Whereabouts, now_ns: int) -> str:
    """Those who work on what it is for, by what they said, and have it no more: they died."""
    told = []
    for process in where.missing:
        hops = [hop for hop in where.hops if hop.held_by(process) and hop.index is not None]
        if hops:
            who = _named(process.pid, process.command)
            told.append(f"; {who} had it, {_waits(hops[-1], now_ns)}, and has it no more")
    return "".join(told[:3])


def whom(where: Whereabouts, now_ns: int) -> str:
    """The same in few words: "now held by pid 4800 (gzip)"; "" where its acquirer holds it."""
    if where.place is Place.IN_FLIGHT:
        return "now in no process that was seen"
    # The head of a pipeline keeps a copy until all have resumed; who works is another one.
    first = max(where.holdings, key=lambda holding: holding.index is not None)
    waits = _waits(first.hop, now_ns)
    if _is_the_acquirers_alone(where):
        return waits
    more = len(where.holdings) - 1
    held = f"now held by {_named(first.holder.pid, first.holder.command)}"
    return held + (f" and {more} more" if more else "") + (f", {waits}" if waits else "")


def last_known(hops: Sequence[Hop], now_ns: int) -> str:
    """The same of a wake lease that is gone: "last with pid 4800 (gzip), waiting for index 9".

    Args:
        hops: What was said of its copies, oldest first.
        now_ns: Now, on the same clock.
    """
    for hop in reversed(hops):
        if hop.receiver is not None and hop.received_ns is not None:
            waits = _waits(hop, now_ns)
            who = _named(hop.receiver.pid, hop.receiver.command)
            return f"last with {who}" + (f", {waits}" if waits else "")
    return ""


def last_holder(hops: Sequence[Hop]) -> str:
    """Who was the last to receive a copy: "pid 4800 (gzip)"; "" if nobody said that he has."""
    for hop in reversed(hops):
        if hop.receiver is not None and hop.received_ns is not None:
            return _named(hop.receiver.pid, hop.receiver.command)
    return ""


def _waits(hop: Hop | None, now_ns: int) -> str:
    """What a holder waits for: "waiting for index 812, processed 790 (0.4 s ago)"."""
    if hop is None or hop.index is None:
        return ""
    text = f"waiting for index {hop.index}"
    if hop.processed is not None and hop.processed_ns is not None:
        text += f", processed {hop.processed} ({_ago(now_ns - hop.processed_ns)})"
    return text


def _is_the_acquirers_alone(where: Whereabouts) -> bool:
    if where.acquirer is None or len(where.holdings) != 1:
        return False
    return where.holdings[0].holder.process.is_same(where.acquirer)


def _named(pid: int, command: str) -> str:
    return f"pid {pid} ({command})" if command else f"pid {pid}"


def _ago(span_ns: int) -> str:
    return f"{_span(span_ns)} ago"


def _span(span_ns: int) -> str:
    tenths = max(0, span_ns) // 100_000_000
    if tenths < 100:
        return f"{tenths // 10}.{tenths % 10} s"
    return f"{tenths // 10} s" if tenths < 6000 else f"{tenths // 600} min"


def _so_far(holding: Holding, now_ns: int) -> str:
    """How far the holder is, by what it last said, and when that was."""
    hop = holding.hop
    if hop is None or hop.index is None or hop.processed is None or hop.processed_ns is None:
        return ""
    said = f", as it said {_ago(now_ns - hop.processed_ns)}"
    if hop.processed >= hop.index:
        return f" (it has{said}, and holds it for the next)"
    return f" (it had processed {hop.processed}{said})"


def _how(holding: Holding, now_ns: int) -> str:
    """What is remarkable about a holder, each part with a comma before it."""
    holder = holding.holder
    parts = []
    if holding.index is not None:
        parts.append(f"until it has processed message {holding.index}" + _so_far(holding, now_ns))
    if holding.let_go:
        parts.append("though it said that it had let go: probably a forgotten duplicate")
    if holding.heir_of is not None and holding.announced:
        parts.append(f"as was meant, below {_named(holding.heir_of.pid, holding.heir_of.command)}")
    elif holding.heir_of is not None:
        parts.append(
            "which never announced that it took it over: probably leaked into a child of "
            + _named(holding.heir_of.pid, holding.heir_of.command)
        )
    elif not holding.announced:
        parts.append("which never announced that it took it over")
    match holder.halt:
        case Halt.STOPPED:
            parts.append(f"and which is stopped: it cannot let go before `kill -CONT {holder.pid}`")
        case Halt.TRACED:
            parts.append("and which is stopped by a debugger: it cannot let go before it goes on")
        case Halt.FROZEN:
            parts.append("and which is frozen by its cgroup: it cannot let go before it is thawed")
        case Halt.KERNEL:
            parts.append("and which waits in the kernel, where no signal reaches it")
    return "".join(f", {part}" for part in parts)


def _may_be(where: Whereabouts, now_ns: int) -> str:
    places = []
    for hop in where.on_the_way[-1:]:
        assert hop.sent_ns is not None
        to = "" if hop.receiver is None else f" to {_named(hop.receiver.pid, hop.receiver.command)}"
        by = "somebody" if hop.sender is None else _named(hop.sender.pid, hop.sender.command)
        places.append(f"{by} sent it{to} {_ago(now_ns - hop.sent_ns)}, and nobody has received it")
    boxes = [
        f"{_named(box.pid, box.command)}, socket {', '.join(map(str, box.sockets))}"
        for box in where.mailboxes[:3]
    ]
    unread = "it is in a message that nobody has received"
    if boxes:
        unread += f" (such messages wait for {'; '.join(boxes)})"
    places.append(unread)
    more = {
        Hiding.DENIED: f"in one of {where.denied} processes that we may not look into",
        Hiding.HIDDEN: "in one that /proc hides from us",
        Hiding.OUTSIDE: "in one outside of our container",
        Hiding.SKIPPED: "in one of those that were too many to look into",
    }
    return "; ".join(places) + "".join(f", or {more[one]}" for one in where.hiding if one in more)
