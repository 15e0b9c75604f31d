"""A dashboard over the queues of a server, as an ASGI application.

    from flowd.web import Dashboard
    app.mount("/flowd", Dashboard("redis://localhost", jobs=[Email]))

`flowd web` serves it by itself. It is read-only unless `authorize` says who may change
something; docs/dashboard.md shows how to mount it, and what to put in front of it.
"""

from __future__ import annotations

try:
    from flowd.web.access import Authorize, BasicAuth, User
    from flowd.web.app import Dashboard
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in (
        "jinja2",
        "markupsafe",
        "starlette",
    ):
        raise
    raise ModuleNotFoundError(
        "flowd.web needs the extra `web`: pip install starlette jinja2",
        name=error.name,
    ) from None

__all__ = ["Authorize", "BasicAuth", "Dashboard", "User"]
