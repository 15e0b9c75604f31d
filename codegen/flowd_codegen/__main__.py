"""The command `flowd-gen`, also `python -m flowd_codegen`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command; returns its exit code, 130 after Ctrl-C."""
    try:
        # In here, so that Ctrl-C while it is imported is one line as well.
        from flowd_codegen.cli import run  # noqa: PLC0415

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        print("flowd-gen: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
