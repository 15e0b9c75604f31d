"""Scalars that a schema gives, as defaults and bounds: TOML values in the model's form."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from flowd import wire
from flowd.errors.portable import Portable
from flowd_codegen.diagnostics.location import Place
from flowd_codegen.diagnostics.report import Report, quoted
from flowd_codegen.model.scalars import INTEGERS
from flowd_codegen.parse.queue import read_duration
from flowd_codegen.parse.table import Toml, example_of, kind_of

__all__ = ["Misfit", "read_scalar", "wrong"]

_LONGEST_DECIMAL: Final = 1000


class Misfit(Portable):
    """The value is not of the type.

    Attributes:
        place: of the value, or of what is wrong in it.
        label: what to do about it.
    """

    def __init__(self, place: Place, message: str, label: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.label = label


def wrong(value: Toml, wanted: str, place: Place) -> Misfit:
    """What to raise of a value of another kind."""
    text = example_of(value, wanted)
    if wanted == "a string" and isinstance(value, int | float):
        text = f'"{value}"'
    message = f"it is {kind_of(value)}, not {wanted}"
    return Misfit(place, message, f"write {quoted(text)}" if text else "")


def read_scalar(value: Toml, name: str, place: Place, report: Report) -> object:
    """A value as the model has it: of a decimal, date and the like its wire text.

    Args:
        value: as TOML gives it.
        name: of the type.
        place: of the value.
        report: takes what is wrong with a duration.

    Raises:
        Misfit: the value is none of the type.
    """
    match name, value:
        case "str", str():
            return value
        case "bool", bool():
            return value
        case "float", int() | float() if not isinstance(value, bool):
            return _finite(value, place)
        case "decimal", int() if not isinstance(value, bool):
            return str(value)
        case "decimal", str():
            return _decimal(value, place)
        case "datetime", datetime() if value.tzinfo:
            return wire.encode_datetime(value).decode()
        case "datetime", datetime():
            label = f"write `{value.isoformat()}Z` for UTC"
            raise Misfit(place, "it has no offset", label)
        case "date", date() if not isinstance(value, datetime):
            return wire.encode_date(value).decode()
        case "duration", _:
            # A text that is no duration is reported as one, in the usual words.
            milliseconds = read_duration(value, place, report)
            return _text(str(milliseconds or 0), name, place)
        case "json", _:
            return _json(value, place)
        case _, int() if not isinstance(value, bool):
            low, high = INTEGERS.get(name, (-math.inf, math.inf))
            if name not in ("int", *INTEGERS):
                raise wrong(value, _WANTED[name], place)
            if not low <= value <= high:
                raise Misfit(place, f"it is not in {low} to {high}")
            return value
        case _, str() if name in _TEXTS:
            return _text(value, name, place)
        case _:
            raise wrong(value, _WANTED.get(name, "an integer"), place)


def _json(value: Toml, place: Place) -> object:
    match value:
        case list():
            for index, one in enumerate(value):
                _json(one, place.child(index))
        case dict():
            for key, one in value.items():
                _json(one, place.child(key))
        case float():
            _finite(value, place)
        case str() | int():
            pass
        case _:
            raise wrong(value, "a JSON value", place)
    return value


def _finite(value: float, place: Place) -> float:
    # An integer may be beyond every float.
    if not abs(value) <= sys.float_info.max:
        raise Misfit(place, "it is not finite", "use `factory` for such a number")
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


def _text(value: str, name: str, place: Place) -> str:
    try:
        return _TEXTS[name](value.encode()).decode()
    except wire.CodecError as error:
        raise Misfit(place, str(error), _LIKE[name]) from error


def _decimal(value: str, place: Place) -> str:
    try:
        number = wire.decode_decimal(value.encode())
    except wire.CodecError as error:
        raise Misfit(place, str(error), 'write it like `"9.90"`') from error
    if abs(number.adjusted()) > _LONGEST_DECIMAL:
        raise Misfit(place, f"more than {_LONGEST_DECIMAL} digits")
    return wire.encode_decimal(number).decode()
