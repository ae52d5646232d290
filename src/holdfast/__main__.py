"""``python -m holdfast``: the command of the same name."""

from __future__ import annotations

from holdfast.cli.main import main

if __name__ == "__main__":
    main()
