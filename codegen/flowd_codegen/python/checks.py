"""The calls in generated code that check a value: `wire.sized(value, max_len=5)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from flowd_codegen.model.bounds import LENGTHS, Native, ranges
from flowd_codegen.model.kinds import Bounds, Type
from flowd_codegen.model.schema import Encoding
from flowd_codegen.python.source import bracket, text_literal
from flowd_codegen.python.types import TypePrinter, native_expression

__all__ = ["Calls", "Checks", "limited"]

Calls: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Functions that return the value or refuse it, each with its other arguments."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Prints the checks of values.

    Attributes:
        printer: of the module.
        constant: makes a constant of the module, for a name's end and the code of its value;
            returns the name.
    """

    printer: TypePrinter
    constant: Callable[[str, str], str]

    def of(self, kind: Type, bounds: Bounds, encoding: Encoding | None = None) -> Calls:
        """The functions to call, each with its arguments behind the value.

        Args:
            kind: of the value, without `?`.
            bounds: of a field or item.
            encoding: of the field.
        """
        calls = self._calls(kind, bounds, encoding)
        return tuple((self.printer.wire(name), given) for name, given in calls if given)

    def item(self, shape: str, kind: Type, bounds: Bounds) -> str:
        """The shape of an item of a list or dict, with its checks."""
        calls = self.of(kind, bounds)
        if not calls:
            return shape
        judged = f"lambda value: {limited('value', calls)}"
        return bracket(f"{self.printer.wire('checked')}(", (shape, judged))

    def _calls(
        self, kind: Type, bounds: Bounds, encoding: Encoding | None
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        range_ = [*ranges(kind, bounds, encoding)]
        plain = all(isinstance(bound, int | float) for _, bound in range_)
        yield (
            "bounded" if plain else "within",
            tuple(f"{name}={self._bound(name, bound)}" for name, bound in range_),
        )
        if bounds.places is not None:
            yield "placed", (str(bounds.places),)
        lengths = ((name, getattr(bounds, name)) for name in LENGTHS)
        given = tuple(f"{name}={size}" for name, size in lengths if size is not None)
        yield "sized", given
        if bounds.pattern is not None:
            compiler = self.printer.imports.name("", "re.compile")
            compiled = bracket(f"{compiler}(", (text_literal(bounds.pattern),))
            yield "matching", (self.constant("PATTERN", compiled),)

    def _bound(self, name: str, bound: Native) -> str:
        if isinstance(bound, int | float):
            return repr(bound)
        # It is made once, not for each value.
        return self.constant(name.upper(), native_expression(bound, self.printer))


def limited(value: str, calls: Calls) -> str:
    """The code of a value with the calls around it, the first innermost."""
    for function, arguments in calls:
        value = bracket(f"{function}(", (value, *arguments))
    return value
