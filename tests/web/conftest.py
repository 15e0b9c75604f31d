"""A dashboard over the session's server, and clients that ask it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import httpx
import pytest
from starlette.requests import Request

from flowd import Job
from flowd.web import Authorize, Dashboard, User
from jobs.email import Email
from tests.support.jobs.report import Report
from tests.support.jobs.vault import Vault

Open: TypeAlias = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
"""Opens a client of a dashboard."""


@pytest.fixture
def dashboard(redis_url: str) -> Open:
    """Opens a client of a dashboard whose user may change something, or not."""

    @asynccontextmanager
    async def opened(
        *,
        user: User | None = None,
        jobs: tuple[type[Job], ...] = (Email, Vault, Report),
        authorize: Authorize | None = None,
        url: str = redis_url,
    ) -> AsyncGenerator[httpx.AsyncClient]:
        def always(_: Request) -> User | None:
            return user

        hook = authorize if user is None else always
        app = Dashboard(url, jobs=jobs, authorize=hook)
        transport = httpx.ASGITransport(app)
        try:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                yield client
        finally:
            await app.aclose()

    return opened
