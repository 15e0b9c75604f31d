"""A regular expression as a machine: states, and what leads from one to the next.

Only what is regular is read: letters, classes, groups, alternatives and repeats. All else
(look-around, back references, flags) has no machine.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Final, TypeAlias

__all__ = ["MAX_STATES", "Machine", "NoAnswer", "Ranges", "has"]

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Code points, each pair with both of its ends; sorted, and apart."""

_Sets: TypeAlias = dict[Ranges, set[int]]
"""Which of the code points that are tried are in each set."""

MAX_STATES: Final = 2_000
"""The size beyond which there is no answer."""

_LAST: Final = sys.maxunicode
_MAX_REPEATS: Final = 500
_LOOSE_REPEATS: Final = 4
_REPEAT: Final = re.compile(r"\{(\d*)(,?)(\d*)\}", re.ASCII)
_GROUP: Final = re.compile(r"\((?:\?:|\?P<\w+>)?(?!\?)")
_CODES: Final = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})")
_CONTROLS: Final = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7}
_KINDS: Final = "dsw"
_PLANES: Final = 0x40000
"""Behind it no letter, digit or blank is."""

_LOOSE: Final = re.compile(
    r"\(\?[aiLmsux-]+\)|\(\?P=\w+\)|\\[bBAZ]|\\[1-9]\d?|\(\?#[^)]*\)", re.ASCII
)
_LOOSE_GROUP: Final = re.compile(r"\(\?(?:[aiLmsux-]*:|>|<?[=!]|\(\w+\))", re.ASCII)


class NoAnswer(Exception):
    """The pattern has something that is not read here, or is too large."""


@dataclass(slots=True)
class Machine:
    """A pattern as states: from each, ways that read nothing, and one that reads."""

    free: list[list[int]] = field(default_factory=list[list[int]])
    reads: list[tuple[Ranges, int] | None] = field(
        default_factory=list[tuple[Ranges, int] | None]
    )
    start: int = 0
    end: int = 0

    @classmethod
    def of(cls, pattern: str, *, loose: bool = False) -> Machine:
        """The machine of a pattern.

        Args:
            pattern: a regular expression.
            loose: read what is not regular as something near, to see how it repeats.

        Raises:
            NoAnswer: it has something that is not read, or is too large.
        """
        machine = cls()
        try:
            reader = _Reader(pattern, machine, loose=loose)
            machine.start, machine.end = reader.whole()
        except RecursionError as error:
            raise NoAnswer from error
        return machine

    def state(self) -> int:
        """A new state; raises NoAnswer when there are too many."""
        if len(self.free) >= MAX_STATES:
            raise NoAnswer
        self.free.append([])
        self.reads.append(None)
        return len(self.free) - 1

    def closed(self, states: Iterable[int]) -> frozenset[int]:
        """The states, and what they lead to without reading."""
        found = set(states)
        waiting = [*found]
        for state in waiting:
            new = [one for one in self.free[state] if one not in found]
            found.update(new)
            waiting += new
        return frozenset(found)

    def after(self, states: frozenset[int], code: int, sets: _Sets) -> frozenset[int]:
        """Where they lead with one code point."""
        ways = (self.reads[state] for state in states)
        return self.closed(way[1] for way in ways if way and code in sets[way[0]])

    def sets(self) -> set[Ranges]:
        """What is read anywhere."""
        return {way[0] for way in self.reads if way}


def has(ranges: Ranges, code: int) -> bool:
    """Whether a code point is in one of the ranges."""
    place = bisect(ranges, (code, _LAST)) - 1
    return place >= 0 and code <= ranges[place][1]


@cache
def _characters() -> str:
    return "".join(map(chr, range(_PLANES)))


@cache
def _kind(letter: str) -> Ranges:
    found = re.finditer(rf"\{letter}+", _characters())
    return tuple((each.start(), each.end() - 1) for each in found)


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return tuple(found)


def _others(ranges: Ranges) -> Ranges:
    edges = [-1, *(edge for pair in ranges for edge in pair), _LAST + 1]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return tuple((low + 1, high - 1) for low, high in gaps if low + 1 < high)


@dataclass(slots=True)
class _Reader:
    """Reads a pattern from left to right into a machine."""

    text: str
    machine: Machine
    loose: bool = False
    at: int = 0
    depth: int = 0

    def whole(self) -> tuple[int, int]:
        ends = self._choice()
        if self.at < len(self.text):
            raise NoAnswer
        return ends

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self) -> str:
        char = self._next()
        if not char:
            raise NoAnswer
        self.at += 1
        return char

    def _choice(self) -> tuple[int, int]:
        start, end = self.machine.state(), self.machine.state()
        while True:
            first, last = self._sequence()
            self.machine.free[start].append(first)
            self.machine.free[last].append(end)
            if self._next() != "|":
                return start, end
            self.at += 1

    def _sequence(self) -> tuple[int, int]:
        start = end = self.machine.state()
        if self._next() == "^" and not self.depth:
            # The whole text is matched anyway.
            self.at += 1
        while self._next() not in ("", "|", ")"):
            if self.loose and self._skipped():
                continue
            if self._next() == "$" and not self.depth:
                self.at += 1
                if self._next() not in ("", "|"):
                    raise NoAnswer
                break
            first, last = self._repeated()
            self.machine.free[end].append(first)
            end = last
        return start, end

    def _skipped(self) -> bool:
        """Pass over what reads no text, or text that was there before."""
        found = _LOOSE.match(self.text, self.at)
        size = len(found[0]) if found else int(self._next() in ("^", "$"))
        self.at += size
        if found and found[0][1] in "?123456789":
            self._times()
        return size > 0

    def _repeated(self) -> tuple[int, int]:
        begin = self.at
        ends = self._atom()
        after_atom = self.at
        low, high = self._times()
        if (low, high) == (1, 1):
            return ends
        behind = self.at
        start = end = self.machine.state()
        copies = low if high is None else high
        if self.loose and copies > _LOOSE_REPEATS:
            # As many as show what a text can be read as.
            copies = _LOOSE_REPEATS
            low = copies if low == high else min(low, copies - 1)
        if copies > _MAX_REPEATS:
            raise NoAnswer
        out = self.machine.state()
        for number in range(copies):
            if number >= low:
                self.machine.free[end].append(out)
            self.at = begin
            first, last = self._atom()
            assert self.at == after_atom
            self.machine.free[end].append(first)
            end = last
        if high is None:
            self.at = begin
            first, last = self._atom()
            self.machine.free[end].append(first)
            self.machine.free[last].append(end)
        self.machine.free[end].append(out)
        self.at = behind
        return start, out

    def _times(self) -> tuple[int, int | None]:
        times: tuple[int, int | None] = (1, 1)
        match self._next():
            case "*":
                times, size = (0, None), 1
            case "+":
                times, size = (1, None), 1
            case "?":
                times, size = (0, 1), 1
            case "{":
                found = _REPEAT.match(self.text, self.at)
                if not found or found[0] in ("{}", "{,}"):
                    if self.loose:
                        return times
                    raise NoAnswer
                least = int(found[1] or 0)
                most = int(found[3]) if found[3] else None
                times, size = (least, most if found[2] else least), len(found[0])
            case _:
                return times
        self.at += size
        if self._next() == "?":
            # How much it prefers to take does not change what it can take.
            self.at += 1
        elif self._next() == "+" and self.loose:
            self.at += 1
        elif self._next() in ("*", "+", "{") and self._next():
            raise NoAnswer
        return times

    def _atom(self) -> tuple[int, int]:
        char = self._next()
        if char == "(":
            found = _GROUP.match(self.text, self.at)
            if not found and self.loose:
                found = _LOOSE_GROUP.match(self.text, self.at)
            if not found:
                raise NoAnswer
            self.at = found.end()
            self.depth += 1
            ends = self._choice()
            self.depth -= 1
            if self._take() != ")":
                raise NoAnswer
            return ends
        start, end = self.machine.state(), self.machine.state()
        self.machine.reads[start] = self._one(), end
        return start, end

    def _one(self) -> Ranges:
        match self._take():
            case "[":
                return self._class()
            case ".":
                return _others(((10, 10),))
            case "\\":
                return self._escape()
            case "{" | "}" as char if self.loose:
                return ((ord(char), ord(char)),)
            case "*" | "+" | "?" | "{" | "}" | "^" | "$" | ")" | "|":
                raise NoAnswer
            case char:
                return ((ord(char), ord(char)),)

    def _escape(self) -> Ranges:
        char = self._take()
        if char.lower() in _KINDS:
            ranges = _kind(char.lower())
            return ranges if char.islower() else _others(ranges)
        if found := _CODES.match(self.text, self.at - 1):
            self.at = found.end()
            code = int(found[0][1:], 16)
        elif char in _CONTROLS:
            code = _CONTROLS[char]
        elif char.isascii() and char.isalnum():
            raise NoAnswer
        else:
            code = ord(char)
        return ((code, code),)

    def _class(self) -> Ranges:
        negated = self._next() == "^"
        self.at += negated
        found: list[tuple[int, int]] = []
        first = True
        while first or self._next() != "]":
            first = False
            low = self._member()
            if self._next() == "-" and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                high = self._member()
                if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1]:
                    raise NoAnswer
                found.append((low[0][0], high[0][1]))
            else:
                found += low
        self.at += 1
        ranges = _joined(found)
        return _others(ranges) if negated else ranges

    def _member(self) -> Ranges:
        char = self._take()
        if char == "\\":
            # In a class it is a backspace.
            if self._next() == "b":
                self.at += 1
                return ((8, 8),)
            return self._escape()
        return ((ord(char), ord(char)),)
