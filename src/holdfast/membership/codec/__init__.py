"""Bytes of packets: `Bincode` and `Postcard`, generated for a type of identities."""

from __future__ import annotations
