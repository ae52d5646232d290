"""Holdfast: optimistic coordination for Python processes.

This package exports its version and nothing else. Each part is imported by its own name
(``from holdfast import state``), so that a program pays only for the part that it uses.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
