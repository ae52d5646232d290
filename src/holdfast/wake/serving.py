"""What the governor's service does for each call by its socket."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast.clock import NS_PER_S
from holdfast.errors import InvalidArgument, Unsupported
from holdfast.ipc.messages import parameters_as
from holdfast.wake import wire
from holdfast.wake.hops import Hops, Process
from holdfast.wake.looking import Looking
from holdfast.wake.model import OnTimeout, WakeLeaseKind
from holdfast.wake.tables import Caller, Held
from holdfast.wake.token import Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.ipc import Message, Request
    from holdfast.wake.accounts import Account
    from holdfast.wake.service import Service

__all__ = ["Calls", "account_in"]

log = logging.getLogger("holdfast.wake")
_ANSWERED: Final = {
    wire.ACQUIRE,
    wire.ACQUIRE_WITH_TOKEN,
    wire.APPLICATION_ACTIVITY,
    wire.SUSPEND,
    wire.WATCH,
}


def account_in(answer: Message) -> Account | None:
    """What a listener accounts for in its answer; of what is no account, only a line in the log."""
    try:
        return parameters_as(answer, wire.Answered).account
    except InvalidArgument as error:
        log.warning("a listener's account is none: %s", error)
        return None


class Calls:
    """One method for each call; called with a request, it finds the method.

    Args:
        service: The service whose calls these are.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._hops = Hops()
        looking = self._looking = Looking(service, self._hops)
        self._methods: dict[str, Callable[[Request, Caller], None]] = {
            wire.ACQUIRE: self._acquire,
            wire.ACQUIRE_WITH_TOKEN: self._acquire_with_token,
            wire.APPLICATION_ACTIVITY: self._application_activity,
            wire.LISTEN: self._listen,
            wire.UNLISTEN: self._unlisten,
            wire.SUSPEND: self._suspend,
            wire.STATUS: self._status,
            wire.LIST: self._list,
            wire.WHY: looking.why,
            wire.WHERE: looking.where,
            wire.WATCH: self._watch,
            wire.HOP: self._hop,
        }

    def __call__(self, request: Request) -> None:
        """Do what is asked, or begin to.

        Raises:
            HoldfastError: It cannot be done; that is the answer.
        """
        method = self._methods.get(request.method)
        if method is None:
            raise Unsupported("the governor has no such method", on=request.method[:80])
        if request.oneway and request.method in _ANSWERED:
            # Who waits for no answer cannot be seen to wait no more.
            raise InvalidArgument("this cannot be asked for without an answer", on=request.method)
        if request.method != wire.ACQUIRE or self._service.is_full:
            self._service.look_after_hang_ups()
        method(request, request.connection.context)

    # -- wake leases ------------------------------------------------------------------------------

    def _acquire(self, request: Request, caller: Caller) -> None:
        said = request.parameters(wire.Acquire)
        kind = WakeLeaseKind.UNMONITORED if said.unmonitored else WakeLeaseKind.WAKE
        self._ask_for(request, caller, said.name, kind)

    def _application_activity(self, request: Request, caller: Caller) -> None:
        self._ask_for(
            request, caller, request.parameters(wire.Acquire).name, WakeLeaseKind.ACTIVITY
        )

    def _ask_for(self, request: Request, caller: Caller, name: str, kind: WakeLeaseKind) -> None:
        pipes = self._service.pipes
        token, writing = pipes.take()
        self._add(request, caller, name, kind, token, writing)
        pipes.refill()  # the one who asked has his answer by now

    def _acquire_with_token(self, request: Request, caller: Caller) -> None:
        said = request.parameters(wire.Acquire)
        token = Token.adopt(request.descriptors.take())
        if token.hung_up():  # it was given up before it was had; there is nothing to keep
            token.close()
            request.answer()
            return
        if self._service.leases.of_inode(token.inode) is not None:
            token.close()
            raise InvalidArgument("this pipe is a wake lease already", on=said.name)
        kind = WakeLeaseKind.UNMONITORED if said.unmonitored else WakeLeaseKind.WAKE
        number = self._add(request, caller, said.name, kind, token, -1)
        self._service.watch_lease(number)

    def _add(
        self,
        request: Request,
        caller: Caller,
        name: str,
        kind: WakeLeaseKind,
        token: Token,
        writing: int,
    ) -> int:
        service = self._service
        now_ns = service.now_ns()
        number = service.leases.new_number()
        who = caller.requester()
        try:
            effects = service.governor.acquire(number, name, kind, who, now_ns)
        except BaseException:
            if writing < 0:
                token.close()
            else:
                service.pipes.put_back(token, writing)
            raise
        service.leases.add(Held(number, name, kind, who, token, writing, request, now_ns))
        self._hops.opened(token.inode, caller.process(), now_ns)
        request.on_withdrawn = partial(self.close, number)
        service.carry_out(effects)
        return number

    def grant(self, number: int) -> None:
        """The wake lease is held: answer."""
        held = self._service.leases.find(number)
        if held is None or held.request is None:
            return  # nobody waits for it any more
        request, held.request = held.request, None
        held.granted_ns = self._service.now_ns()
        writing, held.writing = held.writing, -1
        if writing < 0:
            request.answer()
            return
        # If the answer cannot be sent, it is closed, and that is a hang-up like every other.
        request.answer(None, [writing])

    def close(self, number: int) -> None:
        """Nobody waits for it any more."""
        self._service.close_lease(number)

    def forget(self, held: Held) -> None:
        """It was closed; what was said of its copies is history."""
        if self._hops.closed(held.token.inode):
            self._looking.gone(held)

    # -- listeners and requests -------------------------------------------------------------------

    def _listen(self, request: Request, caller: Caller) -> None:
        said = request.parameters(wire.Listen)
        service = self._service
        number = service.clients.new_listener(caller)
        try:
            effects = service.governor.listener_registered(
                number,
                said.name,
                caller.requester(),
                service.now_ns(),
                timeout_ns=said.timeout_ns,
                on_timeout=OnTimeout(said.on_timeout),
            )
        except BaseException:
            service.clients.unlisten(number)
            raise
        request.answer(wire.Listening(number))  # before it can be called
        budget_ns = getattr(service.backend, "delay_budget_ns", None)
        wanted_ns = said.timeout_ns
        if wanted_ns is not None and budget_ns is not None and wanted_ns > budget_ns:
            log.warning(
                "listener %r may take %g s, but a machine that goes down of itself waits for %g s",
                said.name,
                wanted_ns / NS_PER_S,
                budget_ns / NS_PER_S,
            )
        service.carry_out(effects)

    def _unlisten(self, request: Request, caller: Caller) -> None:
        number = request.parameters(wire.Listening).listener
        service = self._service
        if number in caller.listeners:  # one that was evicted is none, and nobody need know that
            service.clients.unlisten(number)
            service.carry_out(service.governor.listener_gone(number, service.now_ns()))
        request.answer()

    def _suspend(self, request: Request, caller: Caller) -> None:
        timeout_ns = request.parameters(wire.Suspend).timeout_ns
        if timeout_ns is not None and timeout_ns < 0:
            raise InvalidArgument("a time-out must not be negative", on=str(timeout_ns))
        service = self._service
        now_ns = service.now_ns()
        number = service.clients.new_request(request)
        deadline_ns = None if timeout_ns is None else now_ns + timeout_ns
        try:
            effects = service.governor.suspend_requested(number, now_ns, deadline_ns=deadline_ns)
        except BaseException:
            del service.clients.requests[number]
            raise
        request.on_withdrawn = partial(self._withdrawn, number)
        service.carry_out(effects)

    def _withdrawn(self, number: int) -> None:
        service = self._service
        if service.clients.requests.pop(number, None) is not None:
            service.carry_out(service.governor.suspend_withdrawn(number, service.now_ns()))

    # -- what can be seen -------------------------------------------------------------------------

    def _status(self, request: Request, caller: Caller) -> None:
        seen = self._service.governor.status()
        request.answer(
            wire.Seen(
                state=seen.state.value,
                suspends=seen.suspends,
                aborts=seen.aborts,
                failures=seen.failures,
                last_failure=seen.last_failure,
                last_sleep_ns=seen.last_sleep_ns,
                total_sleep_ns=seen.total_sleep_ns,
                wake_leases=tuple(lease.name for lease in seen.wake_leases),
                wake_lease_count=seen.wake_lease_count,
                listeners=seen.listeners,
                requests=seen.requests,
                backend=self._service.backend.name,
                stranded=seen.stranded,
                saved=seen.saved,
                saved_by=seen.saved_by,
                trouble=getattr(self._service.backend, "trouble", None),
            )
        )

    def _list(self, request: Request, caller: Caller) -> None:
        request.answer(wire.Leases([held.on_the_wire() for held in self._service.leases]))

    def _watch(self, request: Request, caller: Caller) -> None:
        since = request.parameters(wire.Watch).since
        if not request.more:
            raise InvalidArgument('who watches asks for "more"', on=request.method)
        self._service.watchers.add(request, since)

    def _hop(self, request: Request, caller: Caller) -> None:
        said = request.parameters(wire.HopReport)
        now_ns = self._service.now_ns()
        who = caller.process()
        match said.event:
            case "sent":
                receiver = None if said.pid is None else Process(said.pid)
                self._hops.sent(said.inode, who, now_ns, receiver=receiver, index=said.index)
            case "received":
                self._hops.received(
                    said.inode, who, now_ns, index=said.index, processed=said.processed
                )
            case "progress":
                if said.processed is not None:
                    self._hops.progress(said.inode, who, said.processed, now_ns, index=said.index)
            case "released":
                self._hops.released(said.inode, who, now_ns)
            case "shared":
                self._hops.shared(said.inode, who)
        request.answer()
