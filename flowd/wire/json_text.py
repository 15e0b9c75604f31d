"""The text of a field that is JSON: written compact in UTF-8, and read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, NoReturn, TypeVar, cast

from flowd.wire.document import Json
from flowd.wire.refusal import NESTED, CodecError
from flowd.wire.shapes import Shape

__all__ = ["decode_json", "encode_json"]

T = TypeVar("T")


def encode_json(value: T, shape: Shape[T]) -> bytes:
    """Write compact JSON in UTF-8; NaN and the infinities are refused."""
    document = shape.dump(value)
    try:
        return _write(document).encode()
    except UnicodeEncodeError:
        raise CodecError(_SURROGATE) from None
    except ValueError:
        raise CodecError("NaN and infinity are not JSON") from None
    except RecursionError:
        raise CodecError(NESTED) from None


def decode_json(raw: bytes, shape: Shape[T]) -> T:
    """Read JSON of that shape."""
    document = raw.decode()
    try:
        value = _read(document)
    except CodecError:
        raise
    except RecursionError:
        raise CodecError(NESTED) from None
    except ValueError:
        # Among them numbers of thousands of digits.
        raise CodecError("expected JSON") from None
    if b"\\" in raw and (b"\\ud" in raw or b"\\uD" in raw):
        # Only an escape can name half of a pair; what is read must be writable again.
        try:
            _PROBE.encode(value).encode()
        except UnicodeEncodeError:
            raise CodecError(_SURROGATE) from None
        except RecursionError:
            raise CodecError(NESTED) from None
    return shape.load(value)


def _refuse(name: str) -> NoReturn:
    raise CodecError(f"{name} is not JSON")


_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
)
# Digits beyond every float are read as infinity, which is not to end the look at the text.
_PROBE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse)
_SURROGATE: Final = "half of a surrogate pair, which is no text"

# Half of what `json` takes for a short value is the way to these two. `scan_once` is an
# attribute of every decoder since Python 3.0, and typeshed does not know it.
_scan: object = getattr(_DECODER, "scan_once")  # noqa: B009
_SCAN: Final = cast("Callable[[str, int], tuple[Json, int]]", _scan)


def _read(document: str) -> Json:
    try:
        value, end = _SCAN(document, 0)
    except StopIteration:
        value, end = None, -1
    if end != len(document):
        # White space is around it, or it is no JSON.
        value = _DECODER.decode(document)
    return value


_write: Final = _ENCODER.encode
