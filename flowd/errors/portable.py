"""Exceptions that pickle and copy make again with all that they know."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType
from typing import Final, Self, SupportsIndex, TypeAlias, TypeVar

__all__ = ["Portable"]

_Rebuilt: TypeAlias = tuple[Callable[..., object], tuple[object, ...]]
_E = TypeVar("_E", bound=BaseException)
_T = TypeVar("_T")

_UNSET: Final = object()
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})


class Portable(Exception):
    """Survives a process pool, a queue between processes, `copy` and `deepcopy`.

    Python makes an exception again by calling its class with `args`, which here are the
    text and not what `__init__` takes; a pool whose result cannot be read is broken for
    all of its jobs. This one is made without its `__init__`, so subclasses have nothing to
    do. Two are equal when their classes, arguments and attributes are. `__cause__`,
    `__context__` and `__traceback__` stay behind, as with every exception.
    """

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> str | _Rebuilt:
        # Not `__reduce__`: a builtin's may come first among the bases of a subclass.
        if isinstance(type(self).__reduce__, FunctionType):
            return super().__reduce_ex__(protocol)  # a subclass has its own way
        return _parcel(self)

    def __copy__(self) -> Self:
        return _again(type(self), self.args, _attributes(self))

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        new = memo[id(self)] = _again(type(self), self.args, {})
        args = [_deep(each, memo) for each in self.args]
        attributes = _attributes(self).items()
        _fill(new, args, {name: _deep(value, memo) for name, value in attributes})
        return new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Portable) or type(other) is not type(self):
            return NotImplemented
        mine, others = _attributes(self), _attributes(other)
        return (
            mine.keys() == others.keys()
            and all(_same(value, others[name]) for name, value in mine.items())
            and len(self.args) == len(other.args)
            and all(map(_same, self.args, other.args))
        )

    def __hash__(self) -> int:
        # Nothing else is the same in all that are equal: 1 and 1.0, NaN and NaN.
        return hash(type(self))


class _Parcel:
    """A foreign exception on its way, made again in the same way."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> _Rebuilt:
        return _parcel(self._error)


def _parcel(error: BaseException) -> _Rebuilt:
    attributes = _attributes(error)
    return _again, (
        type(error),
        tuple(_sendable(each) for each in error.args),
        {name: _sendable(value) for name, value in attributes.items()},
    )


def _sendable(value: object) -> object:
    """The value, or a text in its place if it cannot be pickled."""
    if type(value) in _PLAIN:
        return value
    whole = _Parcel(value) if isinstance(value, BaseException) else value
    try:
        # Read as well: what can be written and not be read would break the receiver.
        pickle.loads(pickle.dumps(whole))  # noqa: S301 - written on the spot
    except Exception:  # whatever a class of the user's raises when it is pickled
        kind = type(value).__qualname__
        if isinstance(value, BaseException):
            return RuntimeError(f"{kind}: {_text(value)}")
        return f"<{kind}>"
    return whole


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # out of its own `__str__`
        return "(no text)"


def _attributes(error: BaseException) -> dict[str, object]:
    """All of them: also those in slots, and what builtins keep apart (`errno`)."""
    slots = {
        name: getattr(error, name)
        for kind in type(error).__mro__
        if kind is not BaseException
        for name, each in vars(kind).items()
        if isinstance(each, MemberDescriptorType) and hasattr(error, name)
    }
    return slots | vars(error)


def _again(
    kind: type[_E], args: Iterable[object], attributes: Mapping[str, object]
) -> _E:
    """An exception without its `__init__`, which may take anything."""
    makers = (vars(each).get("__new__") for each in kind.__mro__)
    make = next(each for each in makers if isinstance(each, BuiltinFunctionType))
    error: _E = make(kind, *args)
    _fill(error, args, attributes)
    return error


def _fill(
    error: BaseException, args: Iterable[object], attributes: Mapping[str, object]
) -> None:
    error.args = tuple(args)
    for name, value in attributes.items():
        if getattr(error, name, _UNSET) is value:
            continue  # some builtins take their own None for a value
        with suppress(AttributeError, TypeError):  # read-only: its `__new__` has set it
            object.__setattr__(error, name, value)


def _deep(value: _T, memo: dict[int, object]) -> _T:
    try:
        return deepcopy(value, memo)
    except Exception:  # what cannot be copied is shared
        return value


def _same(one: object, other: object) -> bool:
    try:
        # By their text: NaN, and exceptions that are equal to nothing but themselves.
        return bool(
            one is other
            or one == other
            or (type(one) is type(other) and repr(one) == repr(other))
        )
    except Exception:  # out of an `__eq__` or a `__repr__` of the user's
        return False
