"""Whether one regular expression takes every text that another one takes.

For what is not regular, or too large, there is no answer: it is taken not to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from flowd_codegen.model.machine import MAX_STATES, Machine, NoAnswer, Ranges, has

__all__ = ["takes_all"]


@cache
def takes_all(wide: str, narrow: str) -> bool:
    """Whether `wide` is sure to match every text that `narrow` matches as a whole."""
    if wide == narrow:
        return True
    try:
        return _covers(Machine.of(wide), Machine.of(narrow))
    except NoAnswer:
        return False


def _covers(wide: Machine, narrow: Machine) -> bool:
    both = wide.sets() | narrow.sets()
    codes = [*_examples(both)]
    sets = {ranges: {code for code in codes if has(ranges, code)} for ranges in both}
    first = narrow.closed([narrow.start]), wide.closed([wide.start])
    seen, waiting = {first}, [first]
    for mine, theirs in waiting:
        if narrow.end in mine and wide.end not in theirs:
            return False
        for code in codes:
            pair = narrow.after(mine, code, sets), wide.after(theirs, code, sets)
            if pair[0] and pair not in seen:
                if len(seen) >= MAX_STATES:
                    raise NoAnswer
                seen.add(pair)
                waiting.append(pair)
    return True


def _examples(sets: set[Ranges]) -> Iterator[int]:
    """One code point of each kind: of those that all sets treat alike."""
    edges = {0, sys.maxunicode + 1}
    for ranges in sets:
        for low, high in ranges:
            edges |= {low, high + 1}
    known: set[frozenset[Ranges]] = set()
    for code, _ in pairwise(sorted(edges)):
        kind = frozenset(ranges for ranges in sets if has(ranges, code))
        if kind not in known:
            known.add(kind)
            yield code
