"""Who may look, who may change something, and what a browser is allowed to do."""

from __future__ import annotations

import base64
import binascii
import hmac
import inspect
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from flowd.errors.option import flag, instance

__all__ = [
    "CSRF_COOKIE",
    "CSRF_FIELD",
    "SECURITY_HEADERS",
    "Authorize",
    "BasicAuth",
    "User",
    "asked",
    "is_forged",
    "is_known_host",
    "token_for",
]

CSRF_COOKIE: Final = "flowd_csrf"
CSRF_FIELD: Final = "csrf"

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it, a browser sends `Origin: null` with the forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""In every answer. No script, style or image comes from elsewhere or stands in a page."""

_TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class User:
    """Who looks at the dashboard."""

    name: str
    """Is written to the log with each change."""

    may_change: bool = True
    """Whether jobs may be redriven, purged, edited and enqueued."""

    def __post_init__(self) -> None:
        instance("name", self.name, str, "must be a str")
        flag("may_change", self.may_change)


Authorize: TypeAlias = Callable[
    [Request], User | Response | Awaitable[User | Response | None] | None
]
"""Says who a request is from. None refuses it; a Response, for example a redirect to a
login, is sent as it is."""


class BasicAuth:
    """HTTP Basic authentication of one user, for `Dashboard(authorize=…)`.

    A browser sends the password with each request: put TLS in front of it.

    Args:
        name: of the user.
        password: of the user.
        may_change: whether the user may change something.

    Raises:
        OptionError: the name or the password is no text, or `may_change` no `bool`.
    """

    def __init__(self, name: str, password: str, *, may_change: bool = True) -> None:
        self._user = User(name, may_change)
        instance("password", password, str, "must be a str", shown=False)
        self._expected = f"{name}:{password}".encode()

    def __call__(self, request: Request) -> User | Response:
        """The user, or the answer that asks for the password."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                found = base64.b64decode(given, validate=True)
            except (binascii.Error, ValueError):
                found = b""
            if hmac.compare_digest(found, self._expected):
                return self._user
        return PlainTextResponse(
            "A name and a password are needed.\n",
            401,
            {"WWW-Authenticate": 'Basic realm="flowd", charset="UTF-8"'},
        )


async def asked(
    authorize: Authorize | None, request: Request
) -> User | Response | None:
    """What the hook says of a request; without a hook, a user who may only look."""
    if authorize is None:
        return User("", may_change=False)
    answer = authorize(request)
    return await answer if inspect.isawaitable(answer) else answer


def token_for(request: Request) -> str:
    """The token that forms of this browser have: that of its cookie, or a new one."""
    token = request.cookies.get(CSRF_COOKIE, "")
    return token if len(token) >= _TOKEN_BYTES else secrets.token_urlsafe(_TOKEN_BYTES)


def is_forged(request: Request, form_token: str) -> bool:
    """Whether a form may come from another site.

    Its token must be that of the cookie, which no other site can read; and the browser
    must not say that the request began elsewhere.
    """
    cookie = request.cookies.get(CSRF_COOKIE, "")
    if len(cookie) < _TOKEN_BYTES:
        return True
    if not hmac.compare_digest(cookie.encode(), form_token.encode()):
        return True
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


def is_known_host(header: str, known: Collection[str]) -> bool:
    """Whether a request is for a name of this machine.

    A page of another site may give its own name this machine's address, and then read
    what is served here; with an address instead of a name it cannot.
    """
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost") or host in known:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
