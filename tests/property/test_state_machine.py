"""Several handles on several states, driven at random beside a model that is a few lines long."""

from __future__ import annotations

import os
import select
import shutil
import tempfile
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from holdfast.errors import Conflict, Deleted, InvalidArgument, NotPermitted
from holdfast.state import PAGE_SIZE, Namespace, State, Transaction

PATIENCE_S = 30.0  # a bound for liveness, never a measure
SIZES = st.sampled_from([1, 2, 63, 64, 65, 128, 200, PAGE_SIZE])
NAMES = st.sampled_from(["a", "b"])


@dataclass
class Model:
    """What one incarnation of a state is supposed to be."""

    content: bytes
    retained: bool
    incarnation: str
    version: int = 0
    written: bool = False
    deleted: bool = False
    subscriptions: int = 0

    def publish(self, content: bytes) -> None:
        self.content = content
        self.version += 1


@dataclass
class Handle:
    state: State
    model: Model
    permissions: str
    name: str
    seen: int = 0
    open: bool = True
    transactions: int = 0
    watched: bool = False
    told: bool = False  # that the state was deleted

    def deleted(self) -> bool:
        """Whether a look is refused; whoever has been refused knows it."""
        self.told = self.told or self.model.deleted
        return self.model.deleted


@dataclass
class Running:
    txn: Transaction
    handle: Handle
    started: int
    content: bytes
    private: bytearray = field(default_factory=bytearray)


class States(RuleBasedStateMachine):
    handles: Bundle[Handle] = Bundle("handles")
    running: Bundle[Running] = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = tempfile.mkdtemp(prefix="holdfast-test-", dir=base)
        self.namespaces = {r: Namespace(self.directory, retain=r) for r in (False, True)}
        self.models: dict[str, Model] = {}
        self.incarnations: set[str] = set()
        self.all: list[Handle] = []
        self.unended: list[Running] = []

    def teardown(self) -> None:
        for running in self.unended:
            if running.txn.active:
                running.txn.abort()
        for namespace in self.namespaces.values():
            namespace.close()
        left = {name for name in os.listdir(self.directory) if name.endswith(".state")}
        shutil.rmtree(self.directory)
        assert left == {f"{n}.state" for n, m in self.models.items() if m.retained}

    # -- coming and going -------------------------------------------------------------------------

    @rule(
        target=handles,
        name=NAMES,
        permissions=st.sampled_from(["r", "rw"]),
        size=st.none() | SIZES,
        retain=st.booleans(),
    )
    def subscribe(self, name: str, permissions: str, size: int | None, retain: bool) -> Any:
        model = self.models.get(name)
        namespace = self.namespaces[retain]
        if model is not None and size not in {None, len(model.content)}:
            refusal: type[Exception] | None = None
            if model.written:
                refusal = InvalidArgument
            elif permissions == "r":
                refusal = NotPermitted
            if refusal is not None:
                with pytest.raises(refusal):
                    namespace.subscribe(name, permissions, size=size)
                return multiple()
            assert size is not None
            model.publish(model.content[:size].ljust(size, b"\0"))
        state = namespace.subscribe(name, permissions, size=size)
        if model is None:
            assert state.incarnation not in self.incarnations
            self.incarnations.add(state.incarnation)
            model = Model(bytes(size or PAGE_SIZE), retain, state.incarnation)
            self.models[name] = model
        model.subscriptions += 1
        handle = Handle(state, model, permissions, name)
        self.all.append(handle)
        return handle

    @rule(handle=consumes(handles))
    def close(self, handle: Handle) -> None:
        handle.state.close()
        handle.open = False
        self.settle(handle)

    def settle(self, handle: Handle) -> None:
        """A subscription ends with its handle and the last of its transactions."""
        if not handle.open and handle.transactions == 0:
            self.all.remove(handle)
            model = handle.model
            model.subscriptions -= 1
            gone = model.subscriptions == 0 and not model.retained
            if gone and self.models.get(handle.name) is model:
                del self.models[handle.name]

    @rule(handle=handles)
    def delete(self, handle: Handle) -> None:
        model = handle.model
        if handle.permissions == "r":
            with pytest.raises(NotPermitted):
                handle.state.delete()
        elif model.deleted:
            with pytest.raises(Deleted):
                handle.state.delete()
        elif all(other.open for other in self.all if other.model is model):
            # Not with a closed handle whose transaction goes on: see the test of that name.
            handle.state.delete()
            model.deleted = True
            del self.models[handle.name]

    # -- looking ----------------------------------------------------------------------------------

    @rule(handle=handles, how=st.sampled_from(["read", "readinto", "snapshot", "view", "default"]))
    def look(self, handle: Handle, how: str) -> None:
        state, model = handle.state, handle.model
        if handle.deleted():
            with pytest.raises(Deleted):
                state.read()
            return
        expected: Any = model.content
        if how == "read":
            found: Any = state.read()
        elif how == "readinto":
            buffer = bytearray(PAGE_SIZE)
            found = bytes(buffer[: state.readinto(buffer)])
        elif how == "snapshot":
            snapshot = state.snapshot()
            found = (snapshot.data, snapshot.version, snapshot.incarnation)
            expected = (model.content, model.version, model.incarnation)
        elif how == "view":
            view = state.view()
            found = (bytes(view), view.version, view.check())
            expected = (model.content, model.version, True)
        else:
            found = state.read("unwritten")
            expected = model.content if model.written else "unwritten"
        assert found == expected
        handle.seen = model.version

    @rule(handle=handles)
    def changed(self, handle: Handle) -> None:
        if handle.deleted():
            with pytest.raises(Deleted):
                handle.state.changed()
        else:
            news = handle.model.version != handle.seen
            assert handle.state.changed() == news
            assert handle.state.wait(0) == news

    @rule(handle=handles)
    def watch(self, handle: Handle) -> None:
        if not handle.model.deleted:
            handle.state.fileno()
            handle.watched = True

    # -- changing ---------------------------------------------------------------------------------

    @rule(handle=handles, size=SIZES)
    def set_size(self, handle: Handle, size: int) -> None:
        model = handle.model
        refusal: type[Exception] | None = None
        if model.deleted:
            refusal = Deleted if handle.permissions == "rw" else NotPermitted
        elif handle.permissions == "r":
            refusal = NotPermitted
        elif model.written and size < len(model.content):
            refusal = InvalidArgument
        if refusal is not None:
            with pytest.raises(refusal):
                handle.state.set_size(size)
            return
        handle.state.set_size(size)
        if size != len(model.content):
            model.publish(model.content[:size].ljust(size, b"\0"))

    @rule(target=running, handle=handles)
    def start(self, handle: Handle) -> Any:
        if handle.deleted():
            with pytest.raises(Deleted):
                handle.state.transaction()
            return multiple()
        txn = handle.state.transaction()
        content = handle.model.content
        handle.seen = handle.model.version
        handle.transactions += 1
        one = Running(txn, handle, handle.model.version, content, bytearray(content))
        self.unended.append(one)
        return one

    @rule(one=running, where=st.integers(0, PAGE_SIZE), data=st.binary(min_size=1, max_size=8))
    def write(self, one: Running, where: int, data: bytes) -> None:
        where %= len(one.private)
        data = data[: len(one.private) - where]
        if one.handle.permissions == "r":
            with pytest.raises(NotPermitted):
                one.txn.write(where, data)
            return
        one.txn.data[where : where + len(data)] = data
        one.private[where : where + len(data)] = data

    @rule(one=consumes(running), force=st.booleans())
    def commit(self, one: Running, force: bool) -> None:
        model = one.handle.model
        unchanged = bytes(one.private) == one.content and not force
        if one.handle.permissions == "r" or unchanged:
            assert one.txn.commit(force=force) == one.started
        elif model.deleted:
            with pytest.raises(Deleted):
                one.txn.commit(force=force)
        elif one.started != model.version:
            with pytest.raises(Conflict) as caught:
                one.txn.commit(force=force)
            found = (caught.value.started, caught.value.current)
            assert found == (one.started, model.version)
        else:
            assert one.txn.commit(force=force) == model.version + 1
            model.publish(bytes(one.private))
            model.written = True
        self.end(one)

    @rule(one=consumes(running))
    def abort(self, one: Running) -> None:
        one.txn.abort()
        self.end(one)

    def end(self, one: Running) -> None:
        assert not one.txn.active
        self.unended.remove(one)
        one.handle.transactions -= 1
        self.settle(one.handle)

    # -- always -----------------------------------------------------------------------------------

    @invariant()
    def every_handle_agrees(self) -> None:
        for handle in self.all:
            if not handle.open:
                continue
            state, model = handle.state, handle.model
            if model.deleted:
                with pytest.raises(Deleted):
                    _ = state.version
            else:
                found = (state.version, state.size, state.written, state.incarnation)
                assert found == (
                    model.version,
                    len(model.content),
                    model.written,
                    model.incarnation,
                )

    @invariant()
    def whoever_has_news_to_see_is_awake(self) -> None:
        for handle in self.all:
            news = handle.model.version != handle.seen
            if handle.model.deleted:
                news = not handle.told
            if handle.open and handle.watched and news:
                assert select.select([handle.state.fileno()], [], [], PATIENCE_S)[0]

    @invariant()
    def every_transaction_has_its_own_copy(self) -> None:
        for one in self.unended:
            assert bytes(one.txn.data) == bytes(one.private)


def test_states_behave_like_their_model(full: bool) -> None:
    """K9-K11, K17-K26, K30-K47, K52, K54, K59: any sequence of calls has the modelled outcome."""
    run_state_machine_as_test(
        States,
        settings=settings(
            max_examples=3000 if full else 150,
            stateful_step_count=50,
        ),
    )
