"""The command `flowd web`."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from flowd.cli import main
from tests.ops.many import GROUP, STREAM, fill
from tests.support.raw import Raw
from tests.web.serving import PASSWORD, serving_dashboard


def test_command_serves_what_it_names(redis_url: str, raw: Raw) -> None:
    """At the address it prints, read-only, with the types of the classes."""
    fill(raw, 30, running=10)
    with serving_dashboard(redis_url, "jobs") as base:
        assert "read-only" in httpx.get(base).text
        page = httpx.get(f"{base}/queue?stream={STREAM}&group={GROUP}").text
        assert "class" in page
        assert "Email" in page
        answer = httpx.get(base, headers={"host": "evil.example.com"})
        assert answer.status_code == 421
        assert "server" not in httpx.get(base).headers


def test_command_asks_for_the_user(redis_url: str) -> None:
    """With the password of the environment."""
    with serving_dashboard(redis_url, "--user", "ops") as base:
        assert httpx.get(base).status_code == 401
        answer = httpx.get(base, auth=("ops", PASSWORD))
        assert answer.status_code == 200
        assert "read-only" not in answer.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--user", "a:b"], "--user must be a name without a colon"),
        (["--user", ""], "--user must be a name without a colon"),
        (["no_such_package"], "there is no module 'no_such_package'"),
        (["--host", "not-an-address.invalid"], "--host not-an-address.invalid"),
    ],
)
def test_wrong_usage_is_explained(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a line, with the exit code of wrong usage."""
    assert main(["web", "--url", "redis://127.0.0.1:1", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["starlette", "jinja2", "uvicorn"])
def test_missing_extra_is_named(missing: str) -> None:
    """By the module, and by the command."""
    hide = f"import sys; sys.modules[{missing!r}] = None; "
    command = (
        "from flowd.cli import main; sys.exit(main(['web', '--url', 'redis://x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide + command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "needs the extra `web`: pip install" in done.stderr
    if missing == "uvicorn":
        return  # an application is served by the user's own server
    done = subprocess.run(
        [sys.executable, "-c", f"{hide} import flowd.web"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "flowd.web needs the extra `web`: pip install" in done.stderr
