"""How long the texts of numbers are: what a message holds at most is a matter of the wire."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from flowd import wire
from flowd_codegen.model.kinds import Bounds, Scalar
from flowd_codegen.model.limits import Limits
from flowd_codegen.model.number_text import number_texts

_INT = Scalar("int")
_FLOAT = Scalar("float")
_DECIMAL = Scalar("decimal")


@pytest.mark.parametrize(
    ("kind", "bounds", "shortest", "longest"),
    [
        (_INT, Bounds(), "0", 4301),
        (_INT, Bounds(min=12), "12", 4300),
        (_INT, Bounds(max=-12), "-12", 4301),
        (_INT, Bounds(min=-3, max=100), "0", 3),
        (Scalar("u8"), Bounds(above=9), "10", 3),
        (Scalar("i64"), Bounds(), "0", 20),
        (_DECIMAL, Bounds(), "0", 4300),
        (_DECIMAL, Bounds(min="0.25", max=3), "1", 4300),
        (_DECIMAL, Bounds(above=1, below=2), "1.1", 4300),
        (_DECIMAL, Bounds(min="-0.75", below="-0.5"), "-0.6", 4300),
        (_DECIMAL, Bounds(above=0, max="0.001"), "0.001", 4300),
        (_FLOAT, Bounds(), "0", 327),
        (_FLOAT, Bounds(min=0), "0", 326),
        (_FLOAT, Bounds(above=0, max=0.5), "0.1", 326),
        (_FLOAT, Bounds(min=0.5, below=1), "0.5", 19),
        (_FLOAT, Bounds(min=1, max=2), "1", 18),
        (_FLOAT, Bounds(max=-1), "-1", 310),
        (_FLOAT, Bounds(min=1e300), f"1{'0' * 300}", 309),
    ],
)
def test_text_of_a_number_is_as_long_as_it_may_be(
    kind: Scalar, bounds: Bounds, shortest: str, longest: int
) -> None:
    """The first text is the shortest one, and of the others one is the longest."""
    first, *others = number_texts(Limits.of(kind, bounds))
    assert first == shortest
    assert max(map(len, (first, *others))) == longest


def test_longest_numbers_are_written() -> None:
    """The codecs write texts so long, and none that is longer."""
    assert len(wire.encode_int(1 - 10**4300)) == 4301
    with pytest.raises(wire.CodecError):
        wire.encode_int(-(10**4300))
    longest = Decimal("0." + "1" * 4298)
    assert len(wire.encode_decimal(longest)) == 4300
    with pytest.raises(wire.CodecError):
        wire.encode_decimal(Decimal(f"{longest}1"))
    edges = (-math.ulp(0.0), -2.2250738585072014e-308, -1.7976931348623157e308)
    assert [len(wire.encode_float(one)) for one in edges] == [327, 327, 310]
    between = [math.nextafter(2.3e-308, 1) * factor for factor in (1, 0.3, 0.01)]
    assert max(len(wire.encode_float(-one)) for one in between) <= 327
