"""Names for what a field is on the wire, to annotate an identity's fields with.

An annotation of Python says ``int``; a packet must know how many bits. These aliases are ``int``
and ``str`` to a type checker, and carry the word that the codecs read::

    @dataclass(frozen=True)
    class Box:
        rack: U8
        port: U16
        name: str

`IpAddr` is a text such as ``"10.0.0.7"`` or ``"fe80::1"``; on the wire it is a tag (0: four octets
follow, 1: sixteen) and the octets. `SocketAddr` is that and a port, which is what serde writes for
the Rust type of that name.
"""

from __future__ import annotations

from typing import Annotated

__all__ = [
    "I8",
    "I16",
    "I32",
    "I64",
    "I128",
    "U8",
    "U16",
    "U32",
    "U64",
    "U128",
    "IpAddr",
    "SocketAddr",
]

U8 = Annotated[int, "u8"]
U16 = Annotated[int, "u16"]
U32 = Annotated[int, "u32"]
U64 = Annotated[int, "u64"]
U128 = Annotated[int, "u128"]
I8 = Annotated[int, "i8"]
I16 = Annotated[int, "i16"]
I32 = Annotated[int, "i32"]
I64 = Annotated[int, "i64"]
I128 = Annotated[int, "i128"]
IpAddr = Annotated[str, "ip"]
SocketAddr = tuple[IpAddr, U16]
