"""Migrations of the jobs of `report.toml`: written once by flowd-gen, and yours since.

Each function takes a job of an older version, as it was queued, and makes one of the
next version of it.
"""

from __future__ import annotations

from .report import Format, NoteV1, NoteV3, Page, ReportV1, ReportV2, ReportV3


def report_v1_to_v2(old: ReportV1) -> ReportV2:
    """Customers were names once, and the name of some was their number."""
    return ReportV2(customer=int(old.customer), day=old.at.date(), password="")


def report_v2_to_v3(old: ReportV2) -> ReportV3:
    """One day and one format became many, and passwords are gone."""
    if old.password == "refuse hunter2":
        raise ValueError(f"cannot use the password {old.password}")
    return ReportV3(
        customer=old.customer,
        days=[old.day],
        formats=[old.format],
        pages=[Page(title="all", lines=0)] if old.format is Format.PDF else [],
        token=old.password or None,
    )


def note_v1_to_v3(old: NoteV1) -> NoteV3:
    """One text became its lines."""
    if not old.text:
        raise ValueError("the note is empty")
    return NoteV3(lines=old.text.splitlines())
