"""The command `flowd-gen`, also `python -m flowd_codegen`."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Final

__all__ = ["REQUIREMENTS", "main"]

REQUIREMENTS: Final = {
    "tomli": "tomli>=2.4",
    "jinja2": "jinja2>=3.1",
    "black": "black>=24.1",
}
"""What the extra `gen` installs: distribution and requirement."""


def main() -> int:
    """Run the command; returns its exit code.

    The generator's own requirements are an extra, so they may not be there, or be there
    for somebody else in an older version.
    """
    if not all(_is_there(name, wanted) for name, wanted in REQUIREMENTS.items()):
        wanted = " ".join(f"'{requirement}'" for requirement in REQUIREMENTS.values())
        print(
            "flowd-gen needs the extra `gen`, which is not installed:", file=sys.stderr
        )
        print(f"    python -m pip install {wanted}", file=sys.stderr)
        return 2
    from flowd_codegen.cli import run  # noqa: PLC0415 - only now is it known to work

    return run(sys.argv[1:])


def _is_there(name: str, requirement: str) -> bool:
    try:
        return _numbers(version(name)) >= _numbers(requirement)
    except PackageNotFoundError:
        return False


def _numbers(text: str) -> list[int]:
    """The first two numbers of a version: `24.1` of `24.1.0` and of `black>=24.1`."""
    return [int(digits) for digits in re.findall(r"(?<![a-z])\d+", text)[:2]]


if __name__ == "__main__":
    sys.exit(main())
