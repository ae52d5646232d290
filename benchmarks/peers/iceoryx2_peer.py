"""The blackboard of iceoryx2, through its own Python package.

The value is a fixed array in a `ctypes.Structure`, made before the clock starts; reading ends at
`bytes`, as everybody's does. A blackboard has one writer: it is made when a statement needs it.
"""

from __future__ import annotations

import ctypes
import glob
import os
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Statement
from benchmarks.peers import payloads, wheel, wheel_version

if TYPE_CHECKING:
    from benchmarks.peers import Place

_TEXTS = {
    "read": "data = entry.get().data",
    "check": "entry.is_up_to_date(seen)",
    "write": "writing.update_with_copy(payload)",
}
_PARTIES = 16  # readers and nodes at most, fixed when a blackboard is made


class _Key(ctypes.Structure):
    _fields_ = (("number", ctypes.c_uint64),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)


def _value_type(size: int) -> type[ctypes.Structure]:
    return type(
        f"Bytes{size}", (ctypes.Structure,), {"_fields_": (("bytes", ctypes.c_uint8 * size),)}
    )


class Blackboard:
    def __init__(self, place: Place, *, create: bool) -> None:
        iceoryx2 = wheel("iceoryx2")
        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self._key = _Key(1)
        self._type = _value_type(place.size)
        self._payloads = [self._type.from_buffer_copy(data) for data in payloads(place.size)]
        # Its files lie in our directory, and its shared memory bears our name: nothing is left.
        config = iceoryx2.config.default()
        config.global_cfg.root_path = iceoryx2.Path.new(os.path.join(place.directory, "iceoryx2"))
        self._prefix = f"{os.path.basename(place.directory)}-{place.name}-"
        config.global_cfg.prefix = iceoryx2.FileName.new(self._prefix)
        maker = iceoryx2.NodeBuilder.new().config(config)
        node = maker.create(iceoryx2.ServiceType.Ipc)
        builder = node.service_builder(iceoryx2.ServiceName.new(place.name))
        if create:
            creator = builder.blackboard_creator(_Key).add(self._key, self._payloads[1])
            self._service = creator.max_readers(_PARTIES).max_nodes(_PARTIES).create()
        else:
            self._service = builder.blackboard_opener(_Key).open()
        self._node: Any = node
        self._ports: list[Any] = []
        self._writing: Any = None
        self._made = create

    def _entry(self, port: Any) -> Any:
        self._ports.append(port)
        return port.entry(self._key, self._type)

    def statement(self, verb: str) -> Statement | None:
        if verb not in _TEXTS:
            return None
        names: dict[str, Any] = {}
        if verb == "write":
            if self._writing is None:
                self._writing = self._entry(self._service.writer_builder().create())
            names["writing"] = self._writing
        else:
            entry = names["entry"] = self._entry(self._service.reader_builder().create())
            names["seen"] = entry.get()
        return Statement(_TEXTS[verb], names, self._payloads)

    def close(self) -> None:
        for port in self._ports:
            port.delete()
        self._ports.clear()
        self._writing = None
        self._service.delete()
        self._node = None
        if self._made:
            for leftover in glob.glob(f"/dev/shm/{self._prefix}*"):
                os.unlink(leftover)


class Iceoryx2:
    shared = True

    def version(self) -> str:
        return wheel_version("iceoryx2")

    def create(self, place: Place) -> Blackboard:
        return Blackboard(place, create=True)

    def attach(self, place: Place) -> Blackboard:
        return Blackboard(place, create=False)


PEER = Iceoryx2()
