"""`flowd preflight` reads jobs of older versions through the user's migrations."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowd_codegen.cli import run
from tests.ops.preflight.queue import STREAM, add, line_of, preflight, table, write
from tests.support.raw import Raw

SCHEMA = """\
[job.Email]
version = 2
[job.Email.fields]
tos = "list[str]"
[job.Email.v1.fields]
to = "str"
size = "u8"
[job.Email.queue]
stream = "emails"
group = "senders"
"""

MIGRATIONS = """\
from .email import EmailV1, EmailV2

def email_v1_to_v2(old: EmailV1) -> EmailV2:
    if not old.to:
        raise ValueError("no address")
    return EmailV2(tos=[old.to])
"""


@pytest.fixture
def versions(redis_url: str, raw: Raw) -> str:
    """Where a server is with jobs of versions 1, 2 and 3, readable and not."""
    write(text=SCHEMA)
    Path("shop/email_migrations.py").write_text(MIGRATIONS)
    add(raw, "to", "a", "size", 1)
    add(raw, "to", "a", "size", 1, "_v", 1)
    add(raw, "tos", '["a"]', "_v", 2)
    add(raw, "anything", 1, "_v", 3)
    return redis_url


def test_older_jobs_are_migrated(
    versions: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a worker would; those of a newer version wait."""
    assert preflight(versions) == 0
    out = capsys.readouterr().out
    assert table(out) == {"stream": (4, 3, 1, 0, 0)}
    assert "EmailV1" not in out, "an older class is no queue of its own"
    assert "of version 3, and this class reads up to 2" in out
    assert raw("XLEN", STREAM) == 4


def test_an_older_job_that_cannot_be_read_is_at_its_version(
    versions: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the class that refused it, or the words of the migration."""
    add(raw, "to", "a", "size", 256)
    add(raw, "to", "", "size", 1)
    add(raw, "tos", "a", "_v", 2)
    assert preflight(versions) == 1
    out = capsys.readouterr().out
    assert table(out) == {"stream": (7, 3, 1, 3, 0)}
    said = "email.py:{}: breaking[UNREADABLE]: {}: 1 job cannot be read: {}"
    assert said.format(line_of("size: int"), "EmailV1.size", "not in 0..255") in out
    assert said.format(line_of("tos: list"), "Email.tos", "expected ") in out
    migrated = "version 1 cannot become 2: ValueError: no address"
    assert f"1 job cannot be read: {migrated}" in out


def test_migrations_must_be_there(
    versions: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 where the generated module misses them."""
    Path("shop/email_migrations.py").unlink()
    assert preflight(versions) == 2
    assert (
        "cannot import name 'email_migrations' from 'shop'" in capsys.readouterr().err
    )


def test_migrations_that_are_no_python_are_named(
    versions: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, as for a mapper."""
    Path("shop/email_migrations.py").write_bytes(b"x = '\xff'\n")
    assert preflight(versions) == 2
    assert (
        "flowd: error: shop cannot be imported: SyntaxError" in capsys.readouterr().err
    )


def test_a_migration_that_is_not_written_reads_nothing(
    versions: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deploy with a stub in it would dead-letter what is queued."""
    Path("shop/email_migrations.py").unlink()
    assert run(["schemas", "-o", "shop"]) == 0
    assert preflight(versions) == 1
    out = capsys.readouterr().out
    assert "NotImplementedError: write email_v1_to_v2" in out
    assert table(out) == {"stream": (4, 1, 1, 2, 0)}
