"""One request: whose it is, which queue it is about, and the page that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from flowd.broker.connection import Connection
from flowd.broker.server_time import server_time
from flowd.model.job import Job
from flowd.ops.queries import Queries
from flowd.web.access import CSRF_COOKIE, CSRF_FIELD, User, is_forged, token_for
from flowd.web.desk import Desk
from flowd.web.render import link, render

__all__ = ["MAX_FORM_BYTES", "Refusal", "Target", "Visit"]

MAX_FORM_BYTES: Final = 1 << 20
_MAX_FORM_FIELDS: Final = 3_000


class Refusal(Exception):
    """A request that is not answered as asked; the page says why."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(status, title, text)
        self.status = status
        self.title = title
        self.text = text


@dataclass(frozen=True, slots=True)
class Target:
    """The queue that a page is about."""

    queries: Queries
    job_class: type[Job] | None
    lease: float

    @property
    def stream(self) -> str:
        """Its stream."""
        return self.queries.keys.stream

    @property
    def group(self) -> str:
        """Its group."""
        return self.queries.group

    def link(self, path: str, /, **parameters: object) -> str:
        """The address of a page about this queue, below the dashboard's root."""
        return link(path, stream=self.stream, group=self.group, **parameters)


class Visit:
    """A request of a user, and the answers to it.

    Args:
        desk: what all pages share.
        request: what was asked.
        user: who asks.
    """

    def __init__(self, desk: Desk, request: Request, user: User) -> None:
        self.desk = desk
        self.request = request
        self.user = user
        self.root: str = request.scope.get("root_path", "")
        self.token = token_for(request)

    @property
    def connection(self) -> Connection:
        """To the server."""
        return self.desk.connection

    async def now(self, target: Target) -> float:
        """The time at the server that has a queue."""
        return await server_time(target.queries.connection)

    def asked(self, name: str) -> str:
        """A parameter of the address; empty if it is not there."""
        found: str | None = self.request.query_params.get(name)
        return found or ""

    async def target(self, form: Mapping[str, str] | None = None) -> Target:
        """The queue that the address or a form names.

        Raises:
            Refusal: no such queue was set up on this server, or a field is searched whose
                values are not shown.
            ServerError: the server cannot be asked.
        """
        named = self.request.query_params if form is None else form
        stream, group = named.get("stream", ""), named.get("group", "")
        if named.get("quoted"):
            stream, group = unquote(stream), unquote(group)
        for each in await self.desk.queues():
            if each.keys.stream == stream and group in ("", each.group):
                found = Target(
                    Queries(self.connection, each.keys.stream, each.group),
                    self.desk.job_class(each.keys.stream, each.group),
                    self.desk.lease_of(each.keys.stream, each.group),
                )
                self._check_search(found, named.get("field") or "")
                return found
        text = f"No queue on the stream {stream!r} was set up on this server."
        raise Refusal(404, "No such queue", text)

    def _check_search(self, target: Target, field: str) -> None:
        """Refuse a search by a value that is not shown: its answer would say what it is."""
        name = field.partition("=")[0].strip()
        if not name:
            return
        if target.job_class is not None and name in target.job_class.SPEC.secrets:
            text = f"The values of {name} are not shown, and cannot be searched for."
            raise Refusal(403, "This field is secret", text)
        if target.job_class is None and not self.user.may_change:
            text = (
                "No class of this queue is loaded, and one of its fields may be secret."
            )
            raise Refusal(403, "Its fields are not shown", text)

    def must_be_allowed(self) -> None:
        """Refuse who may only look.

        Raises:
            Refusal: the user may change nothing.
        """
        if not self.user.may_change:
            raise Refusal(
                403,
                "Read-only",
                "This dashboard is read-only here. Start it with --user, or mount it"
                " with `authorize`, to allow changes.",
            )

    async def form(self) -> ImmutableMultiDict[str, str]:
        """The form that was sent, by a user who may change something.

        Raises:
            Refusal: the user may not, the form is of another site, or it is too large.
        """
        self.must_be_allowed()
        body = bytearray()
        async for chunk in self.request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                text = f"A form has {MAX_FORM_BYTES:,} bytes at most."
                raise Refusal(413, "Too large", text)
        try:
            pairs = parse_qsl(
                body.decode(),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MAX_FORM_FIELDS,
            )
        except ValueError:
            raise Refusal(400, "Not a form", "It cannot be read.") from None
        form = ImmutableMultiDict(pairs)
        if is_forged(self.request, form.get(CSRF_FIELD, "")):
            raise Refusal(
                403,
                "This form has expired",
                "It was not sent from a page of this dashboard, or the page is old:"
                " go back, reload the page, and send it again. Nothing was changed.",
            )
        return form

    def page(self, name: str, status: int = 200, /, **values: object) -> Response:
        """The answer of a template."""
        shared = {
            "root": self.root,
            "user": self.user,
            "csrf": self.token,
            "server": f"{self.desk.address}",
            "may_change": self.user.may_change,
            "running_operations": self.desk.operations.running,
        }
        answer = HTMLResponse(render(f"{name}.html", {**shared, **values}), status)
        self._remember_token(answer)
        return answer

    def go(self, address: str) -> Response:
        """Send the browser to a page, below the dashboard's root, after a change."""
        self.desk.changed()
        return RedirectResponse(f"{self.root}{address}", 303)

    def _remember_token(self, answer: Response) -> None:
        if self.request.cookies.get(CSRF_COOKIE) != self.token:
            answer.set_cookie(
                CSRF_COOKIE,
                self.token,
                path=self.root or "/",
                secure=self.request.url.scheme == "https",
                httponly=True,
                # Not `strict`: a link from a chat would come without it, and the new
                # cookie would end the forms of all other tabs.
                samesite="lax",
            )
