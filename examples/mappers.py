"""The mapper of `schemas/crawl.toml`: tags as comma-separated text."""

from __future__ import annotations

from collections.abc import Sequence


def ser_tags(tags: Sequence[str]) -> str:
    """Join tags with commas.

    Raises:
        ValueError: a tag holds a comma, which separates tags in the text.
    """
    for tag in tags:
        if "," in tag or not tag:
            raise ValueError(f"tag {tag!r} is empty or holds a comma")
    return ",".join(tags)


def de_tags(text: str) -> list[str]:
    """Split at commas; no text means no tags."""
    return text.split(",") if text else []
