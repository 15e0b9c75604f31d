"""The ASGI application: addresses, who may see them, and what becomes of errors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias, cast

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowd.broker.settings import Client
from flowd.errors import (
    AccessDenied,
    FlowdError,
    KeyTaken,
    LetterNotFound,
    NotReady,
    OptionError,
    OutcomeUnknown,
    ServerError,
    Unreachable,
)
from flowd.errors.option import function, iterable
from flowd.model.job import Job
from flowd.web import (
    control,
    edit,
    job_bulk,
    letter_bulk,
    letters,
    limits,
    live,
    operation_pages,
    overview,
    queue,
    schedules,
)
from flowd.web import jobs as job_pages
from flowd.web.access import SECURITY_HEADERS, Authorize, asked, is_known_host
from flowd.web.desk import Desk
from flowd.web.visit import Refusal, Visit

__all__ = ["PAGES", "Dashboard"]

Page: TypeAlias = Callable[[Visit], Awaitable[Response]]

_STATIC: Final = Path(__file__).parent / "static"
PAGES: Final[tuple[tuple[str, str, Page], ...]] = (
    ("GET", "/", overview.show),
    ("GET", "/queue", queue.show),
    ("POST", "/queue", control.pause_or_resume),
    ("GET", "/jobs", job_pages.show_list),
    ("GET", "/job", job_pages.show),
    ("POST", "/job", control.act_on_job),
    ("GET", "/jobs/confirm", job_bulk.ask),
    ("POST", "/jobs/confirm", job_bulk.start),
    ("GET", "/queue/clear", job_bulk.ask_to_clear),
    ("POST", "/queue/clear", job_bulk.clear),
    ("GET", "/limits", limits.show),
    ("POST", "/limits", limits.change),
    ("GET", "/letters", letters.show_list),
    ("GET", "/letters/confirm", letter_bulk.ask),
    ("POST", "/letters/confirm", letter_bulk.start),
    ("GET", "/letter", edit.show_letter),
    ("POST", "/letter", edit.redrive),
    ("GET", "/enqueue", edit.ask),
    ("POST", "/enqueue", edit.enqueue),
    ("GET", "/events", live.show),
    ("GET", "/schedules", schedules.show),
    ("POST", "/schedules", schedules.act),
    ("GET", "/operations", operation_pages.show_list),
    ("GET", "/operation", operation_pages.show),
    ("POST", "/operation", operation_pages.stop),
)
"""Every page: its method, its path, and what answers."""


class Dashboard:
    """An ASGI application that shows the queues of a server.

    Without `authorize`, every user who reaches it may look and none may change
    anything. It connects with the first request. Mounted in another application, whose
    end it does not hear of, its connection is closed by `aclose`.

    Args:
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://HOST,HOST/NAME`,
            `redis+cluster://HOST,HOST`, `embedded:` or `embedded:PATH`; the
            default is the environment variable `FLOWD_URL`.
        redis: a redis-py client, instead of `url`. Only its settings are used.
        jobs: generated classes. They give fields their types, hide secret fields, and
            check what is typed; without them only the sizes of fields are shown.
        authorize: says who a request is from, and whether that user may change
            something.
        hosts: the names under which it is served, next to localhost and addresses; other
            requests are refused. None: those of the application it is mounted in.

    Raises:
        OptionError: no server is named, two classes read one queue, or an argument is
            invalid.
        FormatError: a class was not written by `flowd-gen`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        redis: Client | None = None,
        jobs: Iterable[type[Job]] = (),
        authorize: Authorize | None = None,
        hosts: Collection[str] | None = None,
    ) -> None:
        iterable("jobs", jobs, "must be a list of generated classes")
        rule = "must be a function of (request), as BasicAuth(name, password)"
        function("authorize", authorize, rule)
        if hosts is not None:
            _check_hosts(hosts)
        self._desk = Desk(url, redis, jobs)
        self._authorize = authorize
        self._hosts = hosts
        self._app: ASGIApp = Starlette(
            routes=[*self._routes()], lifespan=self._lifespan
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI servers and applications call it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        host = Request(scope).headers.get("host", "")
        if self._hosts is not None and not is_known_host(host, self._hosts):
            text = "This name is not served here; `flowd web --allow-host` adds one.\n"
            await PlainTextResponse(text, 421)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    @property
    def address(self) -> str:
        """The server, without a password."""
        return f"{self._desk.address}"

    async def aclose(self) -> None:
        """Stop what is under way, and close the connection; a request opens another."""
        await self._desk.aclose()

    def _routes(self) -> Iterable[BaseRoute]:
        for method, path, page in PAGES:
            yield Route(
                path, self._endpoint(page), methods=[method], name=f"{method} {path}"
            )
        yield Mount("/static", StaticFiles(directory=_STATIC))
        # What is not there is a page too.
        yield Route("/{path:path}", self._endpoint(_not_there), name="missing")

    def _endpoint(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            user = await asked(self._authorize, request)
            if isinstance(user, Response):
                return user
            if user is None:
                return PlainTextResponse("You may not look at this dashboard.\n", 403)
            visit = Visit(self._desk, request, user)
            try:
                return await page(visit)
            except Refusal as refusal:
                title, text, status = refusal.title, refusal.text, refusal.status
            except FlowdError as error:
                title, text, status = _explained(error)
            return visit.page("message", status, title=title, text=text)

        return endpoint

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.aclose()


async def _not_there(_: Visit) -> Response:
    raise Refusal(404, "No such page", "There is nothing at this address.")


def _explained(error: FlowdError) -> tuple[str, str, int]:
    """What a person reads of an error: title, text and status."""
    match error:
        case LetterNotFound():
            text = f"{error}. It was redriven or purged meanwhile, or was never there."
            return "No such letter", text, 404
        case KeyTaken():
            return "Another job has its key", f"{error}", 409
        case Unreachable():
            return "Redis cannot be reached", f"{error}", 503
        case OutcomeUnknown():
            return "An answer was lost", f"{error}", 503
        case NotReady():
            return "Redis cannot do it now", f"{error}", 503
        case AccessDenied():
            return "Redis refuses it", f"{error}", 502
        case ServerError():
            return "Redis refused", f"{error}", 502
        case _:
            return "It was refused", f"{error}", 400


def _check_hosts(hosts: object) -> None:
    rule = 'must be a list of names, as ["flowd.example.org"]'
    iterable("hosts", hosts, rule)
    names = [*cast("Iterable[object]", hosts)]
    if isinstance(hosts, str | bytes) or not all(isinstance(n, str) for n in names):
        raise OptionError("hosts", hosts, rule)
