"""Every error survives the way to another process, and a copy."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import pickle
import threading
import typing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import TypeAlias

import pytest

from flowd import (
    BulkError,
    DecodeError,
    OptionError,
    Reject,
    Retry,
    Unreachable,
)
from flowd.errors.portable import Portable
from flowd_codegen.diagnostics.location import Source, SourceLocation
from flowd_codegen.diagnostics.report import Code, Fault
from tests.house.sources import GENERATOR, RUNTIME, modules

Road: TypeAlias = Callable[[BaseException], BaseException]


class Awkward(Exception):
    """A user's error that Python itself cannot make again."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("awkward")
        self.both = (first, second)


_FAULT = Fault(
    Code("E101"), SourceLocation(Source("a.toml", "a.toml", "x = 1\n"), ()), "m"
)

_GIVEN: dict[object, object] = {
    str: "text",
    str | None: "text",
    int: 3,
    float: 1.5,
    float | None: 1.5,
    float | timedelta: 1.5,
    float | timedelta | None: 1.5,
    object: math.nan,
    Sequence[str]: ["1-0", "2-0"],
    list[str]: ["one", "two"],
    Exception: Awkward(1, 2),
    Iterable[Fault]: [_FAULT],
    SourceLocation: _FAULT.location,
}
"""An argument for each annotation; a new error may need one more."""


def classes() -> list[type[BaseException]]:
    """Every exception class of flowd and of flowd-gen."""
    found: dict[str, type[BaseException]] = {}
    for package in (RUNTIME, GENERATOR):
        for path in modules(package):
            words = path.relative_to(package.parent).with_suffix("").parts
            if words[-1] == "__main__":
                continue
            module = importlib.import_module(".".join(words).removesuffix(".__init__"))
            for name, value in vars(module).items():
                if (
                    inspect.isclass(value)
                    and issubclass(value, BaseException)
                    and value.__module__.startswith("flowd")
                    and not name.startswith("_")
                ):
                    found[f"{value.__module__}.{name}"] = value
    return [found[name] for name in sorted(found)]


def made(kind: type[BaseException]) -> BaseException:
    """One of that class, with an argument for each parameter of its `__init__`."""
    init: object = kind.__init__
    if not inspect.isfunction(init):
        return kind("text")
    hints = typing.get_type_hints(init)
    names = [name for name in inspect.signature(init).parameters if name != "self"]
    given = {name: _GIVEN[hints[name]] for name in names}
    return kind(**given)


def pickled(protocol: int) -> Road:
    """The way of that protocol."""

    def road(error: BaseException) -> BaseException:
        again: object = pickle.loads(pickle.dumps(error, protocol))
        assert isinstance(again, BaseException)
        return again

    return road


ROADS: dict[str, Road] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle-{each}": pickled(each) for each in range(pickle.HIGHEST_PROTOCOL + 1)},
}
"""The ways in which an exception is made again."""


def same(one: BaseException, other: BaseException) -> bool:
    """Whether all that is known of two is the same."""
    if type(one) is not type(other) or str(one) != str(other):
        return False
    if isinstance(one, Portable) and (one != other or hash(one) != hash(other)):
        return False
    known = [(repr(each.args), repr(vars(each))) for each in (one, other)]
    return known[0] == known[1]


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_an_error_is_made_again(kind: type[BaseException], road: str) -> None:
    """Class, text, arguments, attributes and notes are the same after it."""
    error = made(kind)
    error.add_note("a note")
    again = ROADS[road](error)
    assert again is not error
    assert same(again, error), (error, again)
    assert again.__notes__ == ["a note"]


class Keyword(DecodeError):
    """A user's own, with other arguments."""

    def __init__(self, *, row: int) -> None:
        super().__init__("Email", "to", "empty")
        self.row = row


class Slotted(Reject):
    """A user's own, with a slot."""

    __slots__ = ("row",)

    def __init__(self, row: int) -> None:
        super().__init__("no such row")
        self.row = row


class First(ConnectionError, OptionError):
    """A user's own, whose builtin base comes first."""

    def __init__(self, place: str) -> None:
        OptionError.__init__(self, "place", place, "must be there")
        self.errno = 111


class Own(Retry):
    """A user's own, with a way of its own."""

    def __init__(self, row: int) -> None:
        super().__init__("later")
        self.row = row

    def __reduce__(self) -> tuple[type[Own], tuple[int]]:
        return Own, (self.row,)


class Forgetful(Reject):
    """A user's own that does not call its base."""

    def __init__(self, *, row: int) -> None:
        self.row = row


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(
    "error",
    [
        Keyword(row=7),
        Slotted(7),
        First("x"),
        Own(7),
        Forgetful(row=7),
        Unreachable(111, "refused"),
        BulkError(["1-0"], 0, BulkError([], 1, Awkward(1, 2))),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_a_user_is_made_again(error: Portable, road: str) -> None:
    """A subclass has nothing to do, whatever its `__init__` takes."""
    again = ROADS[road](error)
    assert same(again, error)
    for name in ("row", "errno", "strerror"):
        assert getattr(again, name, None) == getattr(error, name, None)


def test_unpicklable_argument_is_described() -> None:
    """A lock or an error of a local class arrives as its description."""

    class Local(Exception):
        pass

    lock = OptionError("handler", threading.Lock(), "must be a function")
    again = pickle.loads(pickle.dumps(lock))
    assert (str(again), again.value) == (str(lock), "<lock>")
    bulk = pickle.loads(pickle.dumps(BulkError(["1-0"], 2, Local("no row"))))
    assert (bulk.ids, bulk.unknown) == (("1-0",), 2)
    assert str(bulk.cause).endswith("Local: no row")
    assert copy.deepcopy(lock) == lock


def test_errors_are_equal_by_what_they_know() -> None:
    """Another class, argument or attribute makes another error."""
    error = Retry("later", after=3)
    assert error == Retry("later", after=3)
    assert error != Retry("later", after=4)
    assert error != Retry("sooner", after=3)
    assert Unreachable("x") != OptionError("x", "y", "z")
    assert error != "later"
    assert len({error, Retry("later", after=3)}) == 1


def failing(number: int) -> None:
    """Raise another one of the errors for each number."""
    raise made(PUBLIC[number])


# Sorted: the process that is spawned has imported them in another order.
PUBLIC = sorted(
    (each for each in classes() if issubclass(each, Portable) and each is not Portable),
    key=lambda each: (each.__module__, each.__qualname__),
)


def test_a_process_pool_outlives_errors() -> None:
    """An error of one job reaches who waits for it, and breaks no neighbour's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(failing, number) for number in range(len(PUBLIC))]
        errors = [future.exception() for future in futures]
    assert [type(error) for error in errors] == PUBLIC
