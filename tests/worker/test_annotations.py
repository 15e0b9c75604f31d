"""Handlers that are annotated with other arguments than those that they would get."""

# pyright: reportInvalidTypeVarUse=false
# Such annotations are what is tested.

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import pytest

from flowd import Context, Job, OptionError, Queue
from flowd.testing import MemoryQueue
from flowd.worker.handler import Handler
from jobs.crawl import Crawl
from jobs.email import Email

if TYPE_CHECKING:
    from jobs.crawl import Crawl as Missing

J = TypeVar("J", bound=Job)
Any_ = TypeVar("Any_")
C = TypeVar("C", bound=Crawl)


class HasTo(Protocol):
    """What a handler may ask of its job instead of a class."""

    to: str


class OwnContext(Context):
    """A subclass of the context."""


def same(function: Callable[..., object]) -> Callable[..., object]:
    """A decorator that keeps the signature."""

    @functools.wraps(function)
    def inner(*args: object, **options: object) -> object:
        return function(*args, **options)

    return inner


async def of_crawl(job: Crawl) -> None: ...
async def of_crawl_with_context(job: Crawl, ctx: Context) -> None: ...
async def of_fields(to: str, subject: str) -> None: ...
def of_bare_fields(to, subject): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as many write it
async def of_job_and_field(job: Email, subject: str) -> None: ...
async def of_one_field(to: str) -> None: ...
async def of_field_and_default(to: str, subject: str = "") -> None: ...
async def of_many(*jobs: Crawl) -> None: ...
async def of_bound_variable(
    job: C,
) -> None: ...
async def of_union(job: Crawl | None) -> None: ...
async def of_list(job: list[Email]) -> None: ...
async def of_crawl_returning_missing(job: Crawl) -> Missing:
    raise LookupError(job.url)


def of_crawl_after_word(word: str, job: Crawl) -> None: ...


class Wrong:
    """An object and a method that are for another class."""

    def __call__(self, job: Crawl) -> None:
        """For the wrong class."""

    def method(self, job: Crawl, ctx: Context) -> None:
        """Likewise."""


REFUSED: list[tuple[Callable[..., object], str]] = [
    (of_crawl, "Crawl"),
    (of_crawl_with_context, "Crawl"),
    (of_fields, "str"),
    (of_bare_fields, "Context"),
    (of_job_and_field, "Context"),
    (of_one_field, "str"),
    (of_field_and_default, "str"),
    (of_many, "Crawl"),
    (of_bound_variable, "~C"),
    (of_union, "Crawl"),
    (of_list, "list"),
    (of_crawl_returning_missing, "Crawl"),
    (functools.partial(of_crawl_after_word, "word"), "Crawl"),
    (same(of_crawl), "Crawl"),
    (same(of_fields), "str"),
    (Wrong(), "Crawl"),
    (Wrong().method, "Crawl"),
]


async def of_email(job: Email) -> None: ...
async def of_email_and_own_context(job: Email, ctx: OwnContext) -> None: ...
async def of_optional_context(job: Email, ctx: Context | None) -> None: ...
async def of_anything(job: Any, ctx: Any) -> None: ...
async def of_object(job: object, ctx: object) -> None: ...
async def of_base(job: Job) -> None: ...
async def of_protocol(job: HasTo) -> None: ...
async def of_either(job: Email | Crawl) -> None: ...
async def of_variable(job: J) -> None: ...
async def of_free_variable(
    job: Any_,
) -> None: ...
def of_bare_job(job, ctx): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as many write it
def of_bare_name(to): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - as many write it
async def of_missing(job: Missing, ctx: Missing) -> None: ...
def of_email_after_word(word: str, job: Email) -> None: ...


class Right:
    """An object and a method that are for this class."""

    def __call__(self, job: Email) -> None:
        """For this class."""

    def method(self, job: Email, ctx: Context) -> None:
        """Likewise."""


ACCEPTED: list[Callable[..., object]] = [
    of_email,
    of_email_and_own_context,
    of_optional_context,
    of_anything,
    of_object,
    of_base,
    of_protocol,
    of_either,
    of_variable,
    of_free_variable,
    of_missing,
    of_bare_job,
    of_bare_name,
    functools.partial(of_email_after_word, "word"),
    same(of_email),
    Right(),
    Right().method,
]


@pytest.mark.parametrize(("handler", "named"), REFUSED)
def test_handlers_of_other_arguments_are_refused(
    handler: Callable[..., object], named: str
) -> None:
    """The Queue is not built, and the error names what was expected and what comes."""
    wrong = cast("Handler[Email]", handler)
    with pytest.raises(OptionError, match="Email") as raised:
        Queue(Email, wrong, url="redis://localhost")
    assert named in str(raised.value)
    with pytest.raises(OptionError, match="Email"):
        MemoryQueue(Email, wrong)


@pytest.mark.parametrize("handler", ACCEPTED)
def test_handlers_that_may_get_the_job_are_accepted(
    handler: Callable[..., object],
) -> None:
    """A base, a union, a variable, nothing, or a name that is not there at run time."""
    right = cast("Handler[Email]", handler)
    Queue(Email, right, url="redis://localhost")
    MemoryQueue(Email, right)


def test_handlers_of_local_classes_are_compared() -> None:
    """An annotation may name what only the function around it knows."""

    class Local:
        """Known in here only."""

    def handler(job: Local) -> type[Local]:
        return Local if job else type(job)

    with pytest.raises(OptionError, match="Local"):
        Queue(Email, cast("Handler[Email]", handler), url="redis://localhost")
