"""Functions whose names the generated module has for something else."""

from __future__ import annotations


def key(text: str) -> str:
    """Read as it is."""
    return text


def upper(text: str) -> str:
    """Write as it is."""
    return text
