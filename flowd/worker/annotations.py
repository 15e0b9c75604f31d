"""What a handler's annotations say of the arguments that it expects."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from flowd.errors import OptionError

__all__ = ["check_arguments"]

_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
_UNKNOWN: Final = object()
"""A hint that is absent or cannot be resolved: it forbids nothing."""


def check_arguments(
    handler: Callable[..., object],
    job_class: type,
    fields: Collection[str],
    context: type | None,
) -> None:
    """Refuse a handler whose annotations say that it is for other arguments.

    A hint that is absent, or that cannot be resolved here, forbids nothing.

    Args:
        handler: can be called with as many arguments.
        job_class: of the jobs that it would get.
        fields: the names of those jobs' fields.
        context: the class of its second argument; None: it has one argument.

    Raises:
        OptionError: it expects another class, or a job's fields instead of the job.
    """
    parameters = _parameters(handler)
    wanted = _name(job_class)
    if parameters and not _takes(parameters[0].hint, job_class):
        first = parameters[0]
        rule = (
            f"its parameter `{first.name}` is annotated with {_name(first.hint)}, but"
            f" the jobs of this queue are of {wanted}: a handler is a function of"
            " (job) or of (job, ctx), not of a job's fields"
        )
        raise OptionError("handler", handler, rule)
    if context is None or len(parameters) < 2:
        return
    first, second = parameters[:2]
    if not _takes_context(second.hint, context):
        rule = (
            f"its parameter `{second.name}` is annotated with {_name(second.hint)}, but"
            f" a handler of {wanted} gets a {_name(context)} there: write (job, ctx),"
            " and read the fields from the job"
        )
        raise OptionError("handler", handler, rule)
    bare = first.hint is _UNKNOWN and second.hint is _UNKNOWN
    if bare and first.name in fields and second.name in fields:
        rule = (
            f"`{first.name}` and `{second.name}` are fields of {wanted}: a handler gets"
            f" the {wanted} and a {_name(context)}, so write (job, ctx), and read the"
            " fields from the job"
        )
        raise OptionError("handler", handler, rule)


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    hint: object


def _parameters(handler: Callable[..., object]) -> list[_Parameter]:
    """Those that arguments by position go to; `*args` stands for two of them."""
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return []
    names = _names_around(handler)
    found: list[_Parameter] = []
    for each in signature.parameters.values():
        parameter = _Parameter(each.name, _resolved(each, names))
        if each.kind in _POSITIONAL:
            found.append(parameter)
        elif each.kind is inspect.Parameter.VAR_POSITIONAL:
            found += [parameter] * 2
    return found


def _resolved(parameter: inspect.Parameter, names: Mapping[str, object]) -> object:
    """One hint at a time: one that cannot be resolved must not hide the others."""
    if parameter.annotation is inspect.Parameter.empty:
        return _UNKNOWN
    holder = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return typing.get_type_hints(holder, dict(names))["it"]
    except Exception:  # what is imported under TYPE_CHECKING, or no type at all
        return _UNKNOWN


def _names_around(handler: Callable[..., object]) -> Mapping[str, object]:
    """The names that annotations written as text may refer to."""
    function: object = handler
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function).__call__ if callable(function) else function
    function = getattr(function, "__func__", function)
    if callable(function):
        function = inspect.unwrap(function)
    if isinstance(function, types.FunctionType):
        try:
            closure = inspect.getclosurevars(function).nonlocals
        except ValueError:  # a cell that is still empty
            closure = {}
        return {**function.__globals__, **closure}
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return {} if module is None else vars(module)


def _takes_context(hint: object, context: type) -> bool:
    if isinstance(hint, type) and context in hint.__mro__:
        return True
    options = _options(hint)
    if options is not None:
        return any(_takes_context(each, context) for each in options)
    return _takes(hint, context)


def _takes(hint: object, given: type) -> bool:
    """Whether an instance of the class may be passed where the hint stands."""
    options = _options(hint)
    if options is not None:
        return any(_takes(each, given) for each in options)
    origin = typing.get_origin(hint)
    kind = hint if origin is None else origin
    if kind is typing.Any or not isinstance(kind, type):
        return True  # Any, Self, Literal and others that say nothing of a class
    if getattr(kind, "_is_protocol", False):
        return True  # the type checker's part: its members are not compared here
    same = (kind.__module__, kind.__qualname__) == (
        given.__module__,
        given.__qualname__,
    )
    try:
        return same or issubclass(given, kind)  # same: its module was loaded again
    except TypeError:
        return True


def _options(hint: object) -> tuple[object, ...] | None:
    """What a hint stands for, if it is a union, a type variable or another name."""
    if isinstance(hint, typing.TypeVar):
        bound: object = hint.__bound__
        return hint.__constraints__ or ((_UNKNOWN if bound is None else bound),)
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        return typing.get_args(hint)
    if origin is typing.Annotated:
        return typing.get_args(hint)[:1]
    if isinstance(hint, typing.NewType):
        supertype: object = hint.__supertype__
        return (supertype,)
    if type(hint).__name__ == "TypeAliasType":  # Python 3.12's `type X = ...`
        return (getattr(hint, "__value__", _UNKNOWN),)
    return None


def _name(hint: object) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)
