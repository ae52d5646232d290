"""A call that somebody makes by a connection, and its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from holdfast.ipc.descriptors import Descriptors, close_all
from holdfast.ipc.failures import to_wire
from holdfast.ipc.messages import Message, encode_answer, encode_failure, parameters_as

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.errors import HoldfastError
    from holdfast.ipc.connection import Connection

__all__ = ["Request"]

T = TypeVar("T")


class Request:
    """A call that somebody makes, to be answered now or later.

    Attributes:
        connection: Where it came by.
        method: What is called.
        more: Whether several answers are wanted.
        oneway: Whether none is wanted; answering does nothing then.
        descriptors: What came with it. Take them before `on_call` returns: the rest is closed then.
        on_withdrawn: Set it to hear that nobody waits for the answer any more: the caller said so,
            or the connection ended. Not called once it is answered.
    """

    __slots__ = (
        "_id",
        "_message",
        "answered",
        "connection",
        "descriptors",
        "method",
        "more",
        "on_withdrawn",
        "oneway",
    )

    def __init__(self, connection: Connection, message: Message, descriptors: Descriptors) -> None:
        self.connection = connection
        self.method = message.method or ""
        self.more = message.more
        self.oneway = message.oneway
        self.descriptors = descriptors
        self.on_withdrawn: Callable[[], object] | None = None
        self.answered = message.oneway
        self._message = message
        self._id = message.id

    def parameters(self, kind: type[T]) -> T:
        """What was said, checked.

        Raises:
            InvalidArgument: It is not of that kind.
        """
        return parameters_as(self._message, kind)

    def answer(
        self, parameters: object = None, descriptors: Sequence[int] = (), *, continues: bool = False
    ) -> None:
        """Answer it; with `continues`, more answers follow. The descriptors are closed once sent.

        A second answer does nothing, as does one whose caller has gone.
        """
        if self.answered:
            close_all(descriptors)
            return
        said = {} if parameters is None else parameters
        frame = encode_answer(said, id=self._id, continues=continues)
        self._send(frame, descriptors, last=not continues)

    def fail(self, error: HoldfastError) -> None:
        """Answer that it cannot be done."""
        if not self.answered:
            name, said = to_wire(error)
            self._send(encode_failure(name, said, id=self._id), (), last=True)

    def withdraw(self) -> None:
        """Nobody waits for an answer any more."""
        if not self.answered:
            self.answered = True
            if self.on_withdrawn is not None:
                self.on_withdrawn()

    def _send(self, frame: bytes, descriptors: Sequence[int], *, last: bool) -> None:
        self.answered = last
        self.connection.send(frame, descriptors)
        if last:
            self.connection.settled(self._id)
