"""The reference pages name all that there is."""

from __future__ import annotations

import re

from flowd.broker.settings import TLS_OPTIONS
from flowd.model.delivery import OWN
from flowd.model.letter import LETTER_FIELDS
from tests.house.sources import ROOT, RUNTIME, modules

_PAGES = ROOT / "docs/reference"


def _named(page: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, (_PAGES / f"{page}.md").read_text("utf-8")))


def test_the_wire_page_names_every_field_of_flowd() -> None:
    """Fields of an entry and of a dead letter that are no fields of the job."""
    named = _named("wire-format", r"\| `(_[a-z_]+)` \|")
    letters = {name for name in named if name.startswith("_dlq_")}
    assert named - letters == {name.decode() for name in OWN}
    assert len(letters) == LETTER_FIELDS


def test_the_configuration_page_names_every_variable() -> None:
    """Each environment variable of flowd that the runtime reads, and no other."""
    found = {
        name
        for path in modules(RUNTIME)
        for name in re.findall(r'"(FLOWD_[A-Z_]+)"', path.read_text("utf-8"))
    }
    assert _named("configuration", r"\| `(FLOWD_[A-Z_]+)` \|") == found


def test_the_configuration_page_names_every_option_of_tls() -> None:
    """An option that redis-py gains is on the page, or is refused."""
    assert _named("configuration", r"`(ssl_\w+)`") == set(TLS_OPTIONS)
