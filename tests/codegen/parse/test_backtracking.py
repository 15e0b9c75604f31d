"""Patterns that may backtrack without end: found in the schema, never at run time."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from flowd_codegen.cli import run
from flowd_codegen.parse.backtracking import explodes, is_unbounded, matches

SLOW = [
    r"(a+)+b",
    r"(a*)*",
    r"([a-z]+)*x",
    r"(\w+\s?)*$",
    r"(a|a)*b",
    r"(a|ab|b)*c",
    r"(?:a+)+",
    r"(?=x)(a+)+",
    r"(?i)(a+)+b",
    r"([a-zA-Z]+)*\1",
    r"(a|aa)+$",
    r"(.*)*",
    r"(?P<x>\d+)+",
    r"((a+)b?)+c",
    r"(x+x+)+y",
    r"^(([a-z])+.)+[A-Z]([a-z])+$",
    r"([a-z]{1,5})*",
    r"([a-z]{1,5000})*",
    r"(\d+)*\b",
    r"(a{2,}){3,}",
]
LINEAR = [
    r"[a-z]+",
    r"[a-z]+(-[a-z]+)*",
    r"(a+,)*",
    r"[\w.+-]+@[\w-]+\.[\w.]+",
    r"(ab|cd)*",
    r"(?=a)[a-z]+",
    r"\w+(\.\w+)*",
    r"https?://[^\s]+",
    r"(a{1,3}b)+",
]
BOUNDED = [
    r"[A-Z]{3}",
    r"\d{4}-\d{2}",
    r"([01]?\d|2[0-3]):[0-5]\d",
    r"a{,500}",
    r"[a-z]{1,5000}",
    r"(a{1,3}){1,3}",
]


@pytest.mark.parametrize("pattern", SLOW + LINEAR + BOUNDED)
def test_repeats_that_explode_are_seen(pattern: str) -> None:
    """Nested or overlapping unbounded repeats, and nothing that only looks like them."""
    assert explodes(pattern) is (pattern in SLOW)
    assert is_unbounded(pattern) is (pattern not in BOUNDED)


@pytest.mark.parametrize("pattern", SLOW + LINEAR + BOUNDED)
def test_a_match_is_that_of_python(pattern: str) -> None:
    """The machine takes and refuses what `re.fullmatch` does, on random short texts."""
    chance = random.Random(pattern)
    for _ in range(40 if not pattern.startswith("(?=") else 4):
        text = "".join(chance.choices("ab-1xA.@,: ", k=chance.randrange(8)))
        assert matches(pattern, text) is (re.fullmatch(pattern, text) is not None)


def test_a_match_takes_a_bounded_time() -> None:
    """Texts for which Python would need years, on the machine and in a process."""
    assert matches(r"(a+)+b", "a" * 5_000) is False
    assert matches(r"(a+)+b", "a" * 5_000 + "b") is True
    assert matches(r"a*a*a*a*a*a*a*b", "a" * 5_000) is False
    assert matches(r"(?=a)(a+)+b", "a" * 64) is None


SCHEMA = """
[job.Job]
include = ["Envelope"]
[job.Job.fields]
slow = { type = "str", pattern = '(a+)+b', max_len = 64, default = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab" }
long = { type = "str?", pattern = '[a-z]+' }
short = { type = "str", pattern = '[A-Z]{3}' }
limited = { type = "str", pattern = '[a-z]+', max_len = 9 }
[group.Envelope.fields]
shared = { type = "str", pattern = '[a-z]+' }
"""


def test_a_pattern_that_may_take_long_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One warning for each field, once for a field of a group; none for what is bounded."""
    (tmp_path / "a.toml").write_text(SCHEMA)
    assert run(["validate", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert re.findall(r"warning\[(W\d+)\]", said) == ["W105", "W106", "W106"]
    assert "add `max_len`" in said


@pytest.mark.parametrize("pattern", ["(a+)+b", "(?=a)(a+)+b"])
def test_mismatched_default_is_reported_at_generation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    """The generator does not hang on what would hang a worker."""
    default = "a" * 64
    text = SCHEMA.replace("(a+)+b", pattern).replace("a" * 38 + "b", default)
    (tmp_path / "a.toml").write_text(text)
    assert run(["validate", str(tmp_path)]) == 2
    assert "error[E304]" in capsys.readouterr().err
