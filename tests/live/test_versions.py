"""`flowd-gen live` reads jobs of older versions through the user's migrations."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live.queue import EMAIL, add, live, table, write
from tests.raw import Raw

_SECOND = EMAIL.replace("[job.Email]\n", "[job.Email]\nversion = 2\n").replace(
    'to = "str"\n', 'to = "list[str]"\n'
)
_VERSIONS = f"""{_SECOND}
[job.Email.v1.fields]
to = "str"
subject = "str"
"""
_MIGRATIONS = """
from .email import EmailV1, EmailV2


def email_v1_to_v2(old: EmailV1) -> EmailV2:
    return EmailV2(to=old.to.split(","), subject=old.subject[:1 // len(old.to)] or "x")
"""


def test_older_jobs_are_migrated(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a migration refuses is told as what cannot be read, and the rest is read."""
    write(text=_VERSIONS)
    Path("jobs").mkdir()
    Path("jobs/email_migrations.py").write_text(_MIGRATIONS)
    add(raw, "to", "a,b", "subject", "x")
    add(raw, "to", "", "subject", "x")
    add(raw, "to", '["a"]', "subject", "x", "_v", 2)
    add(raw, "to", '["a"]', "subject", "x", "_v", 3)
    assert live(redis_url) == 1
    out = capsys.readouterr().out
    assert "1 job cannot be read: version 1 cannot become 2: ZeroDivisionError" in out
    assert table(out) == {"stream": (4, 2, 1, 1, 0)}


def test_migrations_have_to_be_there(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the file, or one of its functions, it says so and asks no server."""
    write(text=_VERSIONS)
    assert live(redis_url, "-o", "elsewhere") == 2
    said = capsys.readouterr().err
    assert "elsewhere/email_migrations.py is not there: flowd-gen writes it" in said
    Path("elsewhere").mkdir()
    Path("elsewhere/email_migrations.py").write_text("")
    assert live(redis_url, "-o", "elsewhere") == 2
    assert "error[E418]: elsewhere/email_migrations.py has no function" in (
        capsys.readouterr().err
    )
