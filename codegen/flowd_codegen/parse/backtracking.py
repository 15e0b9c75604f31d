"""How long a regular expression may take: what its repeats make Python try.

Python goes back and tries the next way. Where a text can be read in two ways, again and again,
there are twice as many ways with each further character: `(a+)+b` takes a minute for 32 of them.
Whether there is such a place is seen in the pattern's machine: a state from which the same text
leads back to it in two ways. A text is matched on the machine as well, in a time that grows
with its length only.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Final, TypeAlias

from flowd_codegen.model.cycles import circles
from flowd_codegen.model.machine import Machine, NoAnswer, Ranges, has

__all__ = ["explodes", "is_unbounded", "matches"]

_MAX_STATES: Final = 200
"""States that repeat; the square of it is looked at."""

_TIMEOUT: Final = 2.0

_Edges: TypeAlias = dict[int, dict[int, bool]]
"""From each state that reads to the next ones, and whether in more than one way."""

_FULLMATCH: Final = """
import re, sys
sys.exit(0 if re.fullmatch(sys.argv[1], sys.argv[2]) else 1)
"""


def is_unbounded(pattern: str) -> bool:
    """Whether it matches texts of any length."""
    try:
        machine = Machine.of(pattern, loose=True)
    except NoAnswer:
        return True
    edges = _edges(machine)
    return bool(circles(edges))


@cache
def explodes(pattern: str) -> bool:
    """Whether a text may take twice as long with each further character.

    True as well where that is not known.
    """
    try:
        machine = Machine.of(pattern, loose=True)
    except NoAnswer:
        return _is_nested(pattern)
    edges = _edges(machine)
    for part in circles(edges):
        states = {*part}
        inner = {
            state: {to: twice for to, twice in edges[state].items() if to in states}
            for state in states
        }
        if any(twice for ways in inner.values() for twice in ways.values()):
            return True
        if len(states) > _MAX_STATES or _meets(machine, inner):
            return True
    return False


def matches(pattern: str, text: str) -> bool | None:
    """Whether the whole text matches; None if that is not known in two seconds."""
    try:
        machine = Machine.of(pattern)
    except NoAnswer:
        if not is_unbounded(pattern):
            return re.fullmatch(pattern, text) is not None
        return _elsewhere(pattern, text)
    states = machine.closed([machine.start])
    for char in text:
        code = ord(char)
        ways = (machine.reads[state] for state in states)
        states = machine.closed(way[1] for way in ways if way and has(way[0], code))
    return machine.end in states


def _elsewhere(pattern: str, text: str) -> bool | None:
    """In a process that can be ended."""
    command = (sys.executable, "-I", "-S", "-c", _FULLMATCH, pattern, text)
    try:
        done = subprocess.run(
            command, timeout=_TIMEOUT, check=False, capture_output=True
        )
    except (subprocess.TimeoutExpired, ValueError, OSError):
        return None
    return done.returncode == 0


def _edges(machine: Machine) -> _Edges:
    free = dict(enumerate(machine.free))
    looping = {state for part in circles(free) for state in part}
    edges: _Edges = {}
    waiting = [*_reading(machine, machine.start, looping)]
    for state in waiting:
        if state not in edges:
            way = machine.reads[state]
            assert way
            edges[state] = _reading(machine, way[1], looping)
            waiting += edges[state]
    return edges


def _reading(machine: Machine, start: int, looping: set[int]) -> dict[int, bool]:
    """The states that read next, and whether more than one way leads to each."""
    ways: dict[int, int] = {}
    order = _forward(machine.free, start)
    ways[start] = 1
    for state in order:
        if state in looping:
            ways[state] = 2
        for to in machine.free[state]:
            ways[to] = min(2, ways.get(to, 0) + ways[state])
    return {state: ways[state] > 1 for state in order if machine.reads[state]}


def _forward(free: Sequence[Sequence[int]], start: int) -> list[int]:
    """What is reached from a state, each behind those that lead to it; loops apart."""
    done: list[int] = []
    seen = {start}
    stack = [(start, iter(free[start]))]
    while stack:
        state, ways = stack[-1]
        to = next((one for one in ways if one not in seen), None)
        if to is None:
            done.append(state)
            stack.pop()
        else:
            seen.add(to)
            stack.append((to, iter(free[to])))
    return done[::-1]


def _meets(machine: Machine, inner: _Edges) -> bool:
    """Whether two ways that part come together again, with the same text."""

    def label(state: int) -> Ranges:
        way = machine.reads[state]
        assert way
        return way[0]

    @cache
    def both(one: Ranges, other: Ranges) -> bool:
        return one == other or any(
            low <= end and begin <= high for low, high in one for begin, end in other
        )

    pairs = {
        (one, other)
        for one in inner
        for other in inner
        if both(label(one), label(other))
    }
    graph = {
        (one, other): [
            to
            for first in inner[one]
            for second in inner[other]
            if (to := (first, second)) in pairs
        ]
        for one, other in pairs
    }
    return any(
        len({one == other for one, other in part}) == 2 for part in circles(graph)
    )


def _is_nested(pattern: str) -> bool:
    """Whether a group with an unbounded repeat in it is repeated, as far as one sees."""
    return re.search(r"[*+}][^()]*\)[*+{]", pattern) is not None
