"""Whether a pattern only grew is decided, not guessed; where it cannot be, the answer is no."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd_codegen.model.pattern import takes_all

_ATOMS = st.sampled_from(
    ["a", "b", "0", ".", r"\d", r"\w", r"\W", "[ab]", "[^a]", "[a-c0]", r"[\d_]", r"\."]
)
_PATTERNS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from("*+?") | st.just("{1,2}")).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("[a-z0-9]+", "[a-z]+"),
        (r"\w+", r"\d+"),
        (r"[A-Z]{2,3}", "[A-Z]{2}"),
        ("^(?:GB|DE|FR)$", "GB|DE"),
        ("a*", "a+?"),
        (r"(?P<year>\d{4})(-\d\d)?", r"\d{4}"),
        (r"[^@]+@[^@]+", r"[a-z.]+@[a-z]+\.com"),
        (".*", r"[\x20-\x7e]+"),
        ("", "()"),
    ],
)
def test_a_pattern_that_grew_takes_all(wide: str, narrow: str) -> None:
    """And the narrower one does not take all of the wider one."""
    assert takes_all(wide, narrow)
    assert wide == "" or not takes_all(narrow, wide)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("[a-y]+", "[a-z]+"),
        (".+", r"\s+"),
        ("[0-9]+", r"\d+"),
        ("a{2}", "a{3}"),
        ("(?=b)a|a", "a"),
        ("(?i)a", "a"),
        (r"(a)\1|aa", "aa"),
        ("(?>a)", "a"),
        ("a++", "a"),
        ("x{5000}|a", "a"),
    ],
)
def test_uncertain_pattern_is_not_included(wide: str, narrow: str) -> None:
    """Some text is not taken, or the pattern is none that is read here."""
    assert not takes_all(wide, narrow)


@settings(max_examples=100, deadline=None)
@given(
    _PATTERNS,
    _PATTERNS,
    st.sampled_from(["{1}", "(?:{0}|{1})", "(?:{0})*", "{0}{1}*"]),
    st.data(),
)
def test_the_answer_agrees_with_the_matcher(
    narrow: str, other: str, form: str, data: st.DataObject
) -> None:
    """No text is matched by the narrow pattern alone where the wide one takes all."""
    wide = form.replace("{0}", narrow).replace("{1}", other)
    if takes_all(wide, narrow):
        text = data.draw(st.from_regex(narrow, fullmatch=True))
        assert re.fullmatch(wide, text)


@settings(max_examples=100, deadline=None)
@given(_PATTERNS)
def test_an_alternative_more_takes_all(pattern: str) -> None:
    """Every pattern that is drawn here is read: the same with one text more is wider."""
    assert takes_all(f"(?:{pattern})|zz", pattern)
