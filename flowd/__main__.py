"""The command `flowd` as `python -m flowd`."""

from __future__ import annotations

import sys

from flowd.cli import main

if __name__ == "__main__":
    sys.exit(main())
