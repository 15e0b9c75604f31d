"""A mapper inside a record: its text is a JSON string."""

from __future__ import annotations


def join(parts: list[str]) -> str:
    """Join with blanks."""
    return " ".join(parts)


def split(text: str) -> list[str]:
    """Split at blanks."""
    return text.split()


EXAMPLES = {"Attachment.tags": [[], ["a"], ["x", "y"]]}
