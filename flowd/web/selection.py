"""Which rows of a list a form is about: those that were selected, or all that match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from starlette.datastructures import ImmutableMultiDict

from flowd.model.text import count_of
from flowd.web.operations import Verb
from flowd.web.visit import Refusal

__all__ = ["Matching", "Selection", "selected_ids", "selected_verb"]

_MOST_IDS: Final = 500


class Matching(Protocol):
    """What the rows of a list have in common, as the address says it."""

    @property
    def words(self) -> str:
        """The same in words."""
        ...


M = TypeVar("M", bound=Matching)


@dataclass(frozen=True, slots=True)
class Selection(Generic[M]):
    """What is to be done with which letters or jobs."""

    verb: Verb
    ids: Sequence[str]
    """Those that were selected; empty: all that match."""

    matching: M

    @property
    def words(self) -> str:
        """Which ones, in words."""
        return "the selected ones" if self.ids else self.matching.words


def selected_verb(
    given: ImmutableMultiDict[str, str], verbs: Sequence[Verb], question: str
) -> Verb:
    """What is to be done.

    Args:
        given: the form, or the address.
        verbs: what can be done with the rows of this list.
        question: which of them is meant, for a form that names none.

    Raises:
        Refusal: it names none.
    """
    for verb in verbs:
        if verb == given.get("verb", ""):
            return verb
    raise Refusal(400, "There is nothing to do", question)


def selected_ids(given: ImmutableMultiDict[str, str], noun: str) -> Sequence[str]:
    """The ids that were selected; empty if all that match are meant.

    Args:
        given: the form, or the address.
        noun: what the list has, `letter` or `job`.

    Raises:
        Refusal: none is selected, or more than 500 are.
    """
    # The radio button decides: rows may be ticked while all are meant.
    if given.get("scope", "") == "all":
        return ()
    ids = [*dict.fromkeys(given.getlist("id"))]
    if len(ids) > _MOST_IDS:
        text = f"Select {count_of(_MOST_IDS, noun)} at most, or all that match."
        raise Refusal(400, "Too many are selected", text)
    if not ids:
        text = f"Select {noun}s in the list, or choose all that match."
        raise Refusal(400, f"No {noun} is selected", text)
    return ids
