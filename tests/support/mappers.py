"""The mappers of the schemas in this folder."""

from __future__ import annotations

__all__ = ["refused", "turned"]


def turned(text: str) -> str:
    """Write and read a text from its end."""
    return text[::-1]


def refused(text: str) -> str:
    """Refuse a value, and say which."""
    raise ValueError(f"not {text}, no")
