"""What travels on the socket: frames, and the calls and answers in them. Pure: bytes in, bytes out.

The shape is Varlink's (varlink.org): a message is a JSON object that ends with a NUL byte.

=======  ===========================================================================================
call     ``{"method": "org.example.Do", "parameters": {…}, "id": 7, "more": true, "oneway": true}``
answer   ``{"parameters": {…}, "id": 7, "continues": true}``
failure  ``{"error": "org.example.NoSuch", "parameters": {…}, "id": 7}``
=======  ===========================================================================================

Two things are added to Varlink, and a program that does not know them needs neither:

- **ids.** A call with an ``id`` may be answered out of order, and the answer bears the id. Calls
  without one are answered in the order in which they came, as Varlink says.
- **both ways.** Either side may call the other: what has a ``method`` is a call. The ids of the two
  directions have nothing to do with each other.

``more`` asks for a stream of answers, all but the last of which say ``continues``; ``oneway`` asks
for none. A failure without an id, where every call had one, is about the connection itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import msgspec

from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CANCEL",
    "FRAME_BYTES_MAX",
    "Cancel",
    "Frames",
    "Garbage",
    "Message",
    "decode",
    "encode_answer",
    "encode_call",
    "encode_failure",
    "parameters_as",
]

T = TypeVar("T")

FRAME_BYTES_MAX: Final = 1 << 16
_END: Final = b"\0"
_NOTHING: Final = msgspec.Raw(b"{}")

# Who called with an id and does not want the answer any more says so by this call.
CANCEL: Final = "org.holdfast.ipc.Cancel"


class Garbage(ValueError):
    """What came is no message, or more than was agreed. The connection is of no use any more."""


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call, an answer or a failure, as it came; which of them, `method` and `error` say."""

    method: str | None = None
    parameters: msgspec.Raw = _NOTHING
    error: str | None = None
    id: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] | None = None
    more: bool = False
    oneway: bool = False
    continues: bool = False


class Cancel(msgspec.Struct, frozen=True):
    """The parameters of `CANCEL`."""

    id: int


class _Outgoing(msgspec.Struct, frozen=True, omit_defaults=True):
    """The same on its way out: whatever JSON can say may be its parameters."""

    parameters: Any
    method: str | None = None
    error: str | None = None
    id: int | None = None
    more: bool = False
    oneway: bool = False
    continues: bool = False


_decoder = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()


def encode_call(
    method: str,
    parameters: object,
    *,
    id: int | None = None,  # noqa: A002 - the word on the wire
    more: bool = False,
    oneway: bool = False,
) -> bytes:
    """A call as a frame, its NUL included.

    Raises:
        InvalidArgument: The parameters have no form in JSON.
    """
    return _framed(_Outgoing(parameters, method, None, id, more, oneway))


def encode_answer(
    parameters: object,
    *,
    id: int | None = None,  # noqa: A002
    continues: bool = False,
) -> bytes:
    """An answer as a frame.

    Raises:
        InvalidArgument: The parameters have no form in JSON.
    """
    return _framed(_Outgoing(parameters, id=id, continues=continues))


def encode_failure(
    error: str,
    parameters: object,
    *,
    id: int | None = None,  # noqa: A002
) -> bytes:
    """A failure as a frame.

    Raises:
        InvalidArgument: The parameters have no form in JSON.
    """
    return _framed(_Outgoing(parameters, error=error, id=id))


def _framed(message: _Outgoing) -> bytes:
    try:
        return _encoder.encode(message) + _END
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise InvalidArgument(
            f"this cannot be said in JSON ({error})", on=message.method or message.error
        ) from error


def decode(frame: bytes) -> Message:
    """The message in a frame, its NUL not included.

    Raises:
        Garbage: It is none.
    """
    try:
        message = _decoder.decode(frame)
    # RecursionError: thousands of brackets. UnicodeDecodeError is a ValueError.
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Garbage(f"no message: {error}") from error
    if message.method is not None and message.error is not None:
        raise Garbage("a call and a failure at once")
    return message


def parameters_as(message: Message, kind: type[T]) -> T:
    """The parameters of a message, checked; what `kind` does not name is ignored.

    Raises:
        InvalidArgument: They are not of that kind; the error says where.
    """
    try:
        return msgspec.json.decode(message.parameters, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"wrong parameters: {error}", on=message.method) from error


class Frames:
    """Cuts a stream of bytes into frames, and leaves each descriptor with the frame it came with.

    The kernel hands out the descriptors of a message with the first of its bytes, never mixes those
    of two messages in one read, and ends the read with the bytes that they came with
    (unix(7), `unix_stream_read_generic`). A sender that sends a frame with descriptors by a sendmsg
    of its own therefore lets us know whose they are: **the frame's of the last byte of that read**.

    Args:
        bytes_max: No frame may be longer.
        descriptors_max: No frame may come with more descriptors.
    """

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX, descriptors_max: int = 16) -> None:
        self._bytes_max = bytes_max
        self._descriptors_max = descriptors_max
        self._begun = bytearray()
        self._descriptors: list[int] = []

    @property
    def unfinished(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._begun or self._descriptors)

    def abandon(self) -> list[int]:
        """Forget the frame that has begun; whoever calls closes these descriptors of it."""
        self._begun.clear()
        descriptors, self._descriptors = self._descriptors, []
        return descriptors

    def feed(self, data: bytes, descriptors: Sequence[int] = ()) -> list[tuple[bytes, list[int]]]:
        """Take what one read has brought; the frames that are whole now, with their descriptors.

        Raises:
            Garbage: A frame is too long, or has too many descriptors. Nothing was taken.
        """
        alone = data.find(_END) == len(data) - 1 and not (self._begun or self._descriptors)
        fits = len(data) - 1 <= self._bytes_max and len(descriptors) <= self._descriptors_max
        if alone and fits:  # most reads bring one frame and nothing else
            return [(data[:-1], list(descriptors))]
        *whole, rest = data.split(_END)
        longest = max(map(len, whole), default=0)
        if max(longest, len(self._begun) + len(whole[0] if whole else rest)) > self._bytes_max:
            raise Garbage(f"a frame of more than {self._bytes_max} bytes")
        if len(rest) > self._bytes_max:
            raise Garbage(f"a frame of more than {self._bytes_max} bytes")
        # Those that came before belong to the frame that has begun; is it also the one of the last
        # byte, then these are added to them.
        ends_in_begun = not whole or (len(whole) == 1 and not rest)
        earlier = len(self._descriptors) if ends_in_begun else 0
        if earlier + len(descriptors) > self._descriptors_max:
            raise Garbage(f"more than {self._descriptors_max} descriptors with one frame")
        frames: list[tuple[bytes, list[int]]] = [(frame, []) for frame in whole]
        if frames:
            if self._begun:
                frames[0] = (bytes(self._begun) + frames[0][0], frames[0][1])
                self._begun.clear()
            frames[0][1].extend(self._descriptors)
            self._descriptors.clear()
        self._begun += rest
        if rest or not frames:
            self._descriptors.extend(descriptors)
        else:
            frames[-1][1].extend(descriptors)
        return frames
