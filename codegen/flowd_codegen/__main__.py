"""The command `flowd-gen`, also `python -m flowd_codegen`."""

from __future__ import annotations

import sys

from flowd_codegen.extra import ExtraMissing, need

__all__ = ["main"]


def main() -> int:
    """Run the command; returns its exit code, 130 after Ctrl-C."""
    try:
        need("tomli")
        # Only now is it known to work.
        from flowd_codegen.cli import run  # noqa: PLC0415

        return run(sys.argv[1:])
    except ExtraMissing as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("flowd-gen: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
