"""Three memories to run the actors in, from the strongest to the weakest.

`Interleaved`: one value a word; every step is seen by all at once.

`Buffered`: total store order, as x86 has it. A store waits in its actor's buffer and reaches memory
later, in order; the actor itself sees it at once. Compare-and-swap and sequentially consistent
fences wait until the buffer is empty. An actor that dies leaves a buffer that drains: what was
executed is not lost.

`Weak`: C11 by views. A word is the list of all that was stored in it. Each actor has a view: how
far in each list it cannot look back behind. A load may read anything from there on. A release store
carries its actor's view, an acquire load that reads it takes the view over; fences do so for the
relaxed accesses before or after them; a read-modify-write reads the last entry and passes on the
view that it found. This has delayed and overtaking stores *and* loads of old values. A sequentially
consistent load sees the last sequentially consistent store, and fences see each other.

What `Weak` has not, and C11 has: a store that is ordered before an earlier one of another actor to
the same word (here it always goes to the end), and a load that reads what is stored only later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from tests.model.steps import Order, Step

State = tuple[Any, ...]
Outcome = tuple[Any, State]  # what the step gave, and memory after it


class Memory(Protocol):
    """How steps act on memory."""

    name: str

    def initial(self, values: tuple[Any, ...], actors: int) -> State: ...
    def perform(self, state: State, actor: int, step: Step) -> list[Outcome]:
        """What the step may give; nothing: it must wait."""
        ...

    def drains(self, state: State, actor: int) -> list[tuple[str, State]]:
        """What may happen to memory by itself, on behalf of an actor."""
        ...

    def end(self, state: State, actor: int, *, dead: bool) -> State:
        """The actor has ended."""
        ...

    def learn_death(self, state: State, actor: int, dead: int) -> State:
        """The kernel has told an actor that another is dead."""
        ...

    def kernel_store(self, state: State, actor: int, place: int, value: Any) -> State:
        """The kernel stores a word on behalf of an actor that has died."""
        ...

    def latest(self, state: State) -> tuple[Any, ...]:
        """The newest value of each word."""
        ...


def changed(state: State, at: int, value: Any) -> State:
    return (*state[:at], value, *state[at + 1 :])


def modify(step: Step, seen: Any) -> tuple[Any, Any]:
    """A read-modify-write that found `seen`: what it gives, and the new value."""
    if step.kind == "cas":
        return ((True, seen), step.value) if seen == step.expected else ((False, seen), seen)
    return seen, (seen + step.value if step.kind == "add" else step.value)


class Interleaved:
    """Sequential consistency."""

    name = "interleaved"

    def initial(self, values: tuple[Any, ...], actors: int) -> State:
        return values

    def perform(self, state: State, actor: int, step: Step) -> list[Outcome]:
        if step.kind == "load":
            return [(state[step.place], state)]
        if step.kind == "store":
            return [(None, changed(state, step.place, step.value))]
        if step.kind == "fence":
            return [(None, state)]
        if step.kind == "sleep":
            return [(None, state)] if state[step.place] else []
        gives, value = modify(step, state[step.place])
        return [(gives, changed(state, step.place, value))]

    def drains(self, state: State, actor: int) -> list[tuple[str, State]]:
        return []

    def end(self, state: State, actor: int, *, dead: bool) -> State:
        return state

    def learn_death(self, state: State, actor: int, dead: int) -> State:
        return state

    def kernel_store(self, state: State, actor: int, place: int, value: Any) -> State:
        return changed(state, place, value)

    def latest(self, state: State) -> tuple[Any, ...]:
        return state


class Buffered:
    """Total store order: (values, buffer of each actor)."""

    name = "buffered"

    def initial(self, values: tuple[Any, ...], actors: int) -> State:
        return (values, ((),) * actors)

    def perform(self, state: State, actor: int, step: Step) -> list[Outcome]:
        values, buffers = state
        mine = buffers[actor]
        if step.kind == "load":
            pending = [value for place, value in mine if place == step.place]
            return [(pending[-1] if pending else values[step.place], state)]
        if step.kind == "store":
            buffer = (*mine, (step.place, step.value))
            return [(None, (values, changed(buffers, actor, buffer)))]
        if step.kind == "fence" and step.order != Order.SEQ_CST:
            return [(None, state)]
        if mine:
            return []  # wait until it has drained
        if step.kind == "fence":
            return [(None, state)]
        if step.kind == "sleep":
            return [(None, state)] if values[step.place] else []
        gives, value = modify(step, values[step.place])
        return [(gives, (changed(values, step.place, value), buffers))]

    def drains(self, state: State, actor: int) -> list[tuple[str, State]]:
        values, buffers = state
        if not buffers[actor]:
            return []
        (place, value), *rest = buffers[actor]
        after = (changed(values, place, value), changed(buffers, actor, tuple(rest)))
        return [("a buffered store arrives", after)]

    def end(self, state: State, actor: int, *, dead: bool) -> State:
        return state  # the rest drains when it will

    def learn_death(self, state: State, actor: int, dead: int) -> State:
        values, buffers = state  # the kernel has let go of the dead: all has drained
        for place, value in buffers[dead]:
            values = changed(values, place, value)
        return (values, changed(buffers, dead, ()))

    def kernel_store(self, state: State, actor: int, place: int, value: Any) -> State:
        values, buffers = self.learn_death(state, actor, actor)
        return (changed(values, place, value), buffers)

    def latest(self, state: State) -> tuple[Any, ...]:
        values: tuple[Any, ...] = state[0]
        return values


View = tuple[int, ...]  # for each word, the index of the entry that one cannot look back behind


def join(one: View, other: View) -> View:
    return one if one is other else tuple(map(max, one, other))


class Weak:
    """C11 by views: (words, view of the sequentially consistent, threads).

    A word is a tuple of (index, value, view that it carries); a thread is (its view, what its
    acquire fences will add, what its relaxed stores carry). None: a thread that has ended.
    """

    name = "weak"

    def initial(self, values: tuple[Any, ...], actors: int) -> State:
        start = (0,) * len(values)
        words = tuple(((0, value, start),) for value in values)
        return (words, start, ((start, start, start),) * actors)

    def perform(self, state: State, actor: int, step: Step) -> list[Outcome]:
        words, strict, threads = state
        if step.kind == "fence":
            return [(None, self._fence(state, actor, step.order))]
        if step.kind == "store":
            return [(None, self._append(state, actor, step, step.value, None))]
        word = words[step.place]
        if step.kind == "load":
            least = threads[actor][0][step.place]
            if step.order == Order.SEQ_CST:
                least = max(least, strict[step.place])
            seen = [entry for entry in word if entry[0] >= least]
            return [(e[1], self._observe(state, actor, step.place, e, step.order)) for e in seen]
        if step.kind == "sleep":
            return [(None, state)] if word[-1][1] else []
        return list(self._modify(state, actor, step))

    def _modify(self, state: State, actor: int, step: Step) -> Iterator[Outcome]:
        word = state[0][step.place]
        last = word[-1]
        if step.kind == "cas":  # one that fails is a load, and may have read an old value
            least = state[2][actor][0][step.place]
            for entry in word:
                if entry[0] >= least and entry[1] != step.expected:
                    after = self._observe(state, actor, step.place, entry, step.failure)
                    yield (False, entry[1]), after
            if last[1] != step.expected:
                return
        gives, value = modify(step, last[1])
        after = self._observe(state, actor, step.place, last, step.order)
        yield gives, self._append(after, actor, step, value, last[2])

    @staticmethod
    def _observe(state: State, actor: int, place: int, entry: Any, order: Order) -> State:
        words, strict, threads = state
        view, to_acquire, released = threads[actor]
        index, _, carried = entry
        if view[place] < index:
            view = changed(view, place, index)
        if order.acquires:
            view = join(view, carried)
        to_acquire = join(join(to_acquire, carried), view)
        return (words, strict, changed(threads, actor, (view, to_acquire, released)))

    @staticmethod
    def _append(state: State, actor: int, step: Step, value: Any, passed_on: View | None) -> State:
        words, strict, threads = state
        place = step.place
        index = words[place][-1][0] + 1
        view, to_acquire, released = threads[actor]
        view = changed(view, place, index)
        to_acquire = changed(to_acquire, place, index)
        carried = changed(view if step.order.releases else released, place, index)
        if passed_on is not None:
            carried = join(carried, passed_on)
        if step.order == Order.SEQ_CST:
            strict = changed(strict, place, index)
        threads = changed(threads, actor, (view, to_acquire, released))
        oldest = min(thread[0][place] for thread in threads if thread is not None)
        word = tuple(e for e in words[place] if e[0] >= oldest)
        return (changed(words, place, (*word, (index, value, carried))), strict, threads)

    @staticmethod
    def _fence(state: State, actor: int, order: Order) -> State:
        words, strict, threads = state
        view, to_acquire, released = threads[actor]
        if order.acquires:
            view = to_acquire
        if order == Order.SEQ_CST:
            view = strict = join(view, strict)
            to_acquire = join(to_acquire, view)
        if order.releases:
            released = view
        return (words, strict, changed(threads, actor, (view, to_acquire, released)))

    def drains(self, state: State, actor: int) -> list[tuple[str, State]]:
        return []

    def end(self, state: State, actor: int, *, dead: bool) -> State:
        words, strict, threads = state
        if not dead:
            threads = changed(threads, actor, None)
        return (words, strict, threads)

    def learn_death(self, state: State, actor: int, dead: int) -> State:
        # The kernel drops the locks of the dead after their last store, and its own locks order
        # that before the answer.
        words, strict, threads = state
        if threads[dead] is None:
            return state
        view, to_acquire, released = threads[actor]
        gone = threads[dead][0]
        heir = (join(view, gone), join(to_acquire, gone), released)
        return (words, strict, changed(threads, actor, heir))

    def kernel_store(self, state: State, actor: int, place: int, value: Any) -> State:
        words, strict, threads = state
        index = words[place][-1][0] + 1
        entry = (index, value, changed(threads[actor][0], place, index))
        return (changed(words, place, (*words[place], entry)), strict, threads)

    def latest(self, state: State) -> tuple[Any, ...]:
        return tuple(word[-1][1] for word in state[0])
