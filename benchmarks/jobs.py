"""The job of every benchmark: four fields, one of them by a mapper."""

from __future__ import annotations

from jobs.crawl import Crawl

__all__ = ["crawl"]


def crawl(
    number: int, job_class: type[Crawl] = Crawl, assigned_to: str = "someone"
) -> Crawl:
    """One job of about a hundred bytes."""
    return job_class(
        url=f"https://example.org/{number}",
        priority=number % 10,
        tags=["a", "b"],
        assigned_to=assigned_to,
    )
