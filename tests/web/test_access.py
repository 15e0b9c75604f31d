"""Who may look, and what an answer allows a browser."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Final

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import Message

from flowd.web import BasicAuth, Dashboard, User
from flowd.web.access import is_known_host
from jobs.email import Email
from tests.ops.many import GROUP, STREAM, fill
from tests.support.raw import Raw
from tests.web.conftest import Open

QUEUE = {"stream": STREAM, "group": GROUP}
_DJANGO: Final = """
import asyncio, sys
import httpx
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x")
import django
django.setup()
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from starlette.applications import Starlette
from starlette.routing import Mount
from flowd.web import Dashboard

urlpatterns = []
handler404 = lambda request, exception: HttpResponse("404 of Django", status=404)
dashboard = Dashboard(sys.argv[1])
application = Starlette(
    routes=[Mount("/flowd", dashboard), Mount("/", get_asgi_application())]
)

async def main():
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        print((await client.get("/flowd/")).text)
        print((await client.get("/elsewhere")).text)
    await dashboard.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize("path", ["/", "/nowhere", "/static/app.css", "/queue"])
async def test_every_answer_has_a_strict_policy(
    raw: Raw, dashboard: Open, path: str
) -> None:
    """No inline script or style, nothing from elsewhere, no frame, no cache."""
    async with dashboard() as client:
        headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


async def test_cookie_is_not_sent_by_other_sites(raw: Raw, dashboard: Open) -> None:
    """It is for this site, and no script reads it; over TLS it is sent there only."""
    async with dashboard() as client:
        plain = (await client.get("/")).headers["set-cookie"]
        client.cookies.clear()
        safe = (await client.get("https://localhost/")).headers["set-cookie"]
        again = await client.get("/")
    assert "HttpOnly" in plain
    assert "SameSite=lax" in plain
    assert "Secure" not in plain
    assert "Secure" in safe
    assert "set-cookie" in again.headers  # the one for TLS was not sent


async def test_hook_decides_who_looks(raw: Raw, dashboard: Open) -> None:
    """A user, a refusal, or an answer of its own; it may be a coroutine."""

    async def by_header(request: Request) -> User | Response | None:
        await asyncio.sleep(0)
        match request.headers.get("x-user"):
            case None:
                return None
            case "new":
                return RedirectResponse("/login")
            case name:
                return User(name, may_change=name == "admin")

    async with dashboard(authorize=by_header) as client:
        assert (await client.get("/")).status_code == 403
        assert (await client.get("/static/app.css")).status_code == 200
        answer = await client.get("/", headers={"x-user": "new"})
        assert answer.headers["location"] == "/login"
        assert "read-only" in (await client.get("/", headers={"x-user": "x"})).text
        page = (await client.get("/", headers={"x-user": "admin"})).text
        assert "read-only" not in page
        assert "admin" in page


async def test_basic_auth_takes_one_name_and_password(
    raw: Raw, dashboard: Open
) -> None:
    """Anything else is asked for them again."""
    hook = BasicAuth("ops", "pässword:with colon")
    async with dashboard(authorize=hook) as client:
        asked = await client.get("/")
        assert asked.status_code == 401
        assert asked.headers["www-authenticate"].startswith("Basic ")
        assert "content-security-policy" in asked.headers
        for pair in (("ops", "wrong"), ("other", "pässword:with colon"), ("", "")):
            given = httpx.BasicAuth(*pair)
            assert (await client.get("/", auth=given)).status_code == 401
        for header in ("Basic", "Basic ???", "Bearer x", "Basic b3Bz"):
            answer = await client.get("/", headers={"authorization": header})
            assert answer.status_code == 401
        given = httpx.BasicAuth("ops", "pässword:with colon")
        assert (await client.get("/", auth=given)).status_code == 200


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_mounted_dashboard_stays_below_its_path(
    redis_url: str, raw: Raw, kind: type[Starlette]
) -> None:
    """Every link, form, redirect, the style and the cookie are below the mount's path."""
    fill(raw, 30, running=10)

    def who(_: Request) -> User:
        return User("ops")

    app = Dashboard(redis_url, jobs=[Email], authorize=who)
    outer = kind()
    outer.mount("/admin/flowd", app)
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(outer), base_url="http://localhost"
        ) as client:
            answer = await client.get("/admin/flowd/")
            assert answer.status_code == 200
            assert "path=/admin/flowd;" in answer.headers["set-cookie"].lower() + ";"
            more = {"state": "delayed", "scope": "all"}
            for path in (
                *("/", "/queue", "/letters", "/jobs", "/limits", "/queue/clear"),
                *("/enqueue", "/jobs/confirm?verb=run", "/letters/confirm?verb=purge"),
            ):
                address = httpx.URL(f"/admin/flowd{path}")
                query = address.params.merge({**QUEUE, **more})
                page = await client.get(address, params=query)
                assert page.status_code == 200, path
                links = [
                    each.split('"')[0]
                    for name in ("href=", "src=", "action=")
                    for each in page.text.split(f' {name}"')[1:]
                ]
                assert len(links) > 3
                strays = [each for each in links if each[0] == "/"]
                assert all(each.startswith("/admin/flowd/") for each in strays)
            assert (await client.get("/admin/flowd/static/app.js")).status_code == 200
            form = {**QUEUE, "csrf": client.cookies["flowd_csrf"], "do": "pause"}
            sent = await client.post("/admin/flowd/queue", data=form)
            assert sent.headers["location"].startswith("/admin/flowd/queue?")
    finally:
        await app.aclose()


def test_django_serves_it_next_to_itself(redis_url: str, raw: Raw) -> None:
    """As the page on the dashboard shows, with the links below its path."""
    fill(raw, 3, running=10)
    done = subprocess.run(
        [sys.executable, "-c", _DJANGO, redis_url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'href="/flowd/queue?stream=emails' in done.stdout
    assert "404 of Django" in done.stdout


async def test_fastapi_mounts_it(redis_url: str, raw: Raw) -> None:
    """With `authorize` on what its middleware has put into the request."""
    fill(raw, 3, running=10)

    def who(request: Request) -> User | None:
        name = request.headers.get("x-user")
        return None if name is None else User(name)

    dashboard = Dashboard(redis_url, authorize=who)
    app = FastAPI()
    app.mount("/flowd", dashboard)
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as client:
            assert (await client.get("/flowd/")).status_code == 403
            page = await client.get("/flowd/", headers={"x-user": "ada"})
            assert ">ada<" in page.text
            assert 'href="/flowd/queue?stream=emails' in page.text
    finally:
        await dashboard.aclose()


async def test_unknown_host_is_refused(redis_url: str) -> None:
    """A page whose name was given this machine's address cannot read what is served."""
    app = Dashboard(redis_url, hosts={"queues.example.org"})
    transport = httpx.ASGITransport(app)
    try:
        async with httpx.AsyncClient(transport=transport) as client:
            for host, status in (
                ("localhost:8321", 200),
                ("127.0.0.1", 200),
                ("[::1]:8321", 200),
                ("queues.example.org", 200),
                ("evil.example.com", 421),
                ("localhost.example.com", 421),
            ):
                answer = await client.get("http://x/", headers={"host": host})
                assert answer.status_code == status, host
                assert "content-security-policy" in answer.headers
    finally:
        await app.aclose()


@pytest.mark.parametrize("host", ["", "[", "a b", "evil.com@localhost.com", "::1:80"])
def test_host_that_is_none_is_not_known(host: str) -> None:
    """What cannot be read is refused."""
    assert not is_known_host(host, set())


async def test_dashboard_lives_next_to_other_routes(redis_url: str, raw: Raw) -> None:
    """The lifespan protocol is answered, so that a server can run it by itself."""
    app = Dashboard(redis_url)
    sent: list[str] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(messages)}

    async def send(message: Message) -> None:
        sent.append(f"{message['type']}")

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_answer_of_a_hook_is_guarded_too(redis_url: str, dashboard: Open) -> None:
    """What the application answers itself gets the same headers."""

    def wait(_: Request) -> Response:
        return PlainTextResponse("wait", 429)

    async with dashboard(authorize=wait) as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.text) == (429, "wait")
    assert answer.headers["x-frame-options"] == "DENY"
