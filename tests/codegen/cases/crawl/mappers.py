"""Tags as comma-separated text."""

from __future__ import annotations

from collections.abc import Sequence


def ser_tags(tags: Sequence[str]) -> str:
    """Join with commas."""
    return ",".join(tags)


def de_tags(text: str) -> list[str]:
    """Split at commas; no text means no tags."""
    return text.split(",") if text else []


EXAMPLES = {"Crawl.tags": [[], ["a"], ["news", "sport"]]}
