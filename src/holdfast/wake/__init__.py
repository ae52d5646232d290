"""Wake leases: what keeps the machine from going down before the work in flight is done."""

from __future__ import annotations

__all__: list[str] = []
