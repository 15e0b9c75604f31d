"""The extra `gen`: what it installs, and the error if a part of it is missing."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Final

__all__ = ["REQUIREMENTS", "ExtraMissing", "need", "year_of"]

REQUIREMENTS: Final = {
    "tomli": "tomli>=2.4",
    "jinja2": "jinja2>=3.1",
    "black": "black>=24.1",
}
"""What the extra `gen` installs: distribution and requirement."""

# Not by the name of the distribution: a checkout is on no index.
_HINT: Final = (
    "flowd-gen needs the extra `gen`, which is not installed:\n    python -m pip install "
    + " ".join(f"'{each}'" for each in REQUIREMENTS.values())
    + "\nor, in a clone of flowd: python -m pip install '.[gen]'"
)


class ExtraMissing(Exception):
    """A part of the extra is missing or too old; the text names what to install."""


def need(*names: str) -> None:
    """Ask for parts of the extra before they are imported.

    Commands ask for what they use, so that what only reads schemas runs where nothing is
    formatted. A part may also be there for another package, in an older version.

    Raises:
        ExtraMissing: one is not there.
    """
    if not all(_is_there(name, REQUIREMENTS[name]) for name in names):
        raise ExtraMissing(_HINT)


def year_of(name: str) -> str:
    """The first number of the version of a part, empty where it is not installed."""
    try:
        return str(_numbers(version(name))[0])
    except PackageNotFoundError:
        return ""


def _is_there(name: str, requirement: str) -> bool:
    try:
        return _numbers(version(name)) >= _numbers(requirement)
    except PackageNotFoundError:
        return False


def _numbers(text: str) -> list[int]:
    """The first two numbers of a version: `24.1` of `24.1.0` and of `black>=24.1`."""
    return [int(digits) for digits in re.findall(r"(?<![a-z])\d+", text)[:2]]
