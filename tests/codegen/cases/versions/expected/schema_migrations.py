"""Migrations of the jobs of `schema.toml`: written once by flowd-gen, and yours since.

Each function takes a job of an older version, as it was queued, and makes one of the
next version of it.
"""

from __future__ import annotations

from .schema import CrawlV1, CrawlV2, CrawlV4, CrawlV5, CrawlV6, MiddleV3, MiddleV4


def crawl_v1_to_v2(old: CrawlV1) -> CrawlV2:
    """Make a CrawlV2 of a CrawlV1."""
    raise NotImplementedError("write crawl_v1_to_v2 in schema_migrations.py")


def crawl_v2_to_v4(old: CrawlV2) -> CrawlV4:
    """Make a CrawlV4 of a CrawlV2."""
    raise NotImplementedError("write crawl_v2_to_v4 in schema_migrations.py")


def crawl_v4_to_v5(old: CrawlV4) -> CrawlV5:
    """Make a CrawlV5 of a CrawlV4."""
    raise NotImplementedError("write crawl_v4_to_v5 in schema_migrations.py")


def crawl_v5_to_v6(old: CrawlV5) -> CrawlV6:
    """Make a CrawlV6 of a CrawlV5."""
    raise NotImplementedError("write crawl_v5_to_v6 in schema_migrations.py")


def middle_v3_to_v4(old: MiddleV3) -> MiddleV4:
    """Make a MiddleV4 of a MiddleV3."""
    raise NotImplementedError("write middle_v3_to_v4 in schema_migrations.py")
