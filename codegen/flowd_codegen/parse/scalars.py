"""Scalars that a schema gives, as defaults and bounds: TOML values in the model's form."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from flowd import wire
from flowd.errors.portable import Portable
from flowd_codegen.diagnostics.location import SourceLocation
from flowd_codegen.diagnostics.report import Report, quoted
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.parse.durations import read_duration
from flowd_codegen.parse.table import Toml, example_of, kind_of

__all__ = ["InvalidValue", "read_scalar", "wrong"]

_MAX_EXPONENT: Final = 1000


class InvalidValue(Portable):
    """The value is not of the type.

    Attributes:
        location: of the value, or of what is wrong in it.
        label: what to do about it.
    """

    def __init__(self, location: SourceLocation, message: str, label: str = "") -> None:
        super().__init__(message)
        self.location = location
        self.label = label


def wrong(value: Toml, wanted: str, location: SourceLocation) -> InvalidValue:
    """What to raise of a value of another kind."""
    text = example_of(value, wanted)
    if wanted == "a string" and isinstance(value, int | float):
        text = f'"{str(value).lower()}"'
    message = f"it is {kind_of(value)}, not {wanted}"
    if wanted == "an integer" and isinstance(value, float) and value % 1:
        label = "an integer has no decimal point; the type `float` takes this"
        return InvalidValue(location, message, label)
    return InvalidValue(location, message, f"write {quoted(text)}" if text else "")


def read_scalar(
    value: Toml, name: str, location: SourceLocation, report: Report
) -> object:
    """A value as the model has it: of a decimal, date and the like its wire text.

    Args:
        value: as TOML gives it.
        name: of the type.
        location: of the value.
        report: takes what is wrong with a duration.

    Raises:
        InvalidValue: the value is none of the type.
    """
    match name, value:
        case "str", str():
            return value
        case "bool", bool():
            return value
        case "float", int() | float() if not isinstance(value, bool):
            return _finite(value, location)
        case "decimal", int() if not isinstance(value, bool):
            return str(value)
        case "decimal", str():
            return _decimal(value, location)
        case "datetime", datetime() if value.tzinfo:
            return wire.encode_datetime(value).decode()
        case "datetime", datetime():
            label = f"write `{value.isoformat()}Z` for UTC"
            raise InvalidValue(location, "it has no offset", label)
        case "date", date() if not isinstance(value, datetime):
            return wire.encode_date(value).decode()
        case "duration", _:
            # A text that is no duration is reported as one, in the usual words.
            milliseconds = read_duration(value, location, report)
            return _text(str(milliseconds or 0), name, location)
        case "json", _:
            return _json(value, location)
        case _, int() if not isinstance(value, bool):
            low, high = INTEGERS.get(name, (-math.inf, math.inf))
            if name not in ("int", *INTEGERS):
                raise wrong(value, _WANTED[name], location)
            if not low <= value <= high:
                raise InvalidValue(location, f"it is not in {low} to {high}")
            return value
        case _, str() if name in _TEXTS:
            return _text(value, name, location)
        case _:
            raise wrong(value, _WANTED.get(name, "an integer"), location)


def _json(value: Toml, location: SourceLocation) -> object:
    match value:
        case list():
            for index, one in enumerate(value):
                _json(one, location.child(index))
        case dict():
            for key, one in value.items():
                _json(one, location.child(key))
        case float():
            _finite(value, location)
        case str() | int():
            pass
        case _:
            raise wrong(value, "a JSON value", location)
    return value


def _finite(value: float, location: SourceLocation) -> float:
    # An integer may be beyond every float.
    if not abs(value) <= sys.float_info.max:
        raise InvalidValue(
            location, "it is not finite", "use `factory` for such a number"
        )
    return float(value)


_WANTED: Final = {
    "str": "a string",
    "bool": "a boolean",
    "float": "a number",
    "decimal": 'a string such as `"9.90"`',
    "uuid": "a string",
    "bytes": "a string of base64",
    "datetime": "a date and time with an offset",
    "date": "a date",
}

_TEXTS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "uuid": lambda raw: wire.encode_uuid(wire.decode_uuid(raw)),
    "bytes": lambda raw: wire.encode_base64(wire.decode_base64(raw)),
    "datetime": lambda raw: wire.encode_datetime(wire.decode_datetime(raw)),
    "date": lambda raw: wire.encode_date(wire.decode_date(raw)),
    "duration": lambda raw: wire.encode_duration(wire.decode_duration(raw)),
}


_COMPUTED: Final = "what is computed has a `factory`"
_LIKE: Final = {
    "uuid": f"write all of its digits; {_COMPUTED}",
    "bytes": "write base64, or give the field an `encoding`",
    "datetime": f"write it like `2026-01-31T12:00:00Z`; {_COMPUTED}",
    "date": f"write it like `2026-01-31`; {_COMPUTED}",
    "duration": 'write it like `"30s"`',
}


def _text(value: str, name: str, location: SourceLocation) -> str:
    try:
        return _TEXTS[name](value.encode()).decode()
    except wire.CodecError as error:
        raise InvalidValue(location, str(error), _LIKE[name]) from error


def _decimal(value: str, location: SourceLocation) -> str:
    try:
        number = wire.decode_decimal(value.encode())
    except wire.CodecError as error:
        raise InvalidValue(location, str(error), 'write it like `"9.90"`') from error
    if abs(number.adjusted()) > _MAX_EXPONENT:
        raise InvalidValue(location, f"more than {_MAX_EXPONENT} digits")
    return wire.encode_decimal(number).decode()
