"""What the pages ask a reader to type can be typed, and says what it needs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from flowd.cli import command_line
from tests.house.sources import ROOT
from tests.readme.quickstart import Folder, files, section

PAGES: Final = [
    *(ROOT / "README.md", ROOT / "schemas/README.md"),
    *sorted((ROOT / "docs").glob("*.md")),
]

_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_COMMAND: Final = re.compile(r"(?:^|ExecStart=\S*/|[|&] )(flowd .*)")
_LIST: Final = re.compile(r'command: \[("flowd".*?)\]', re.DOTALL)

EXTRAS: Final = {
    "--metrics-port": "metrics",
    "flowd exporter": "metrics",
    "flowd web ": "web",
    "flowd top": "cli",
    "flowd completion": "cli",
}
"""What a page shows in a block, and the extra that it then has to name."""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The language and the text of each block."""
    yield from _BLOCK.findall(page.read_text("utf-8"))


def commands() -> Iterator[tuple[str, list[str]]]:
    """The page and the words of each command of `flowd` in a block."""
    for page in PAGES:
        for language, text in blocks(page):
            for words in _LIST.findall(text):
                yield page.name, [each.strip(' "\n') for each in words.split(",")]
            if language in ("sh", "ini", ""):
                for line in text.splitlines():
                    for command in _COMMAND.findall(line):
                        shell = shlex.shlex(command, posix=True, punctuation_chars=True)
                        shell.whitespace_split = True
                        yield page.name, list(_first(shell))


def _first(words: Iterator[str]) -> Iterator[str]:
    """The words of the first command of a line."""
    for word in words:
        if word in ("|", "||", "&", "&&", ">", ";"):
            return
        yield word


def test_commands_have_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    """Every command of the pages is one, with options and words that it takes."""
    found = list(commands())
    assert len(found) > 50
    parser = command_line()
    for page, words in found:
        try:
            parser.parse_args(words[1:])
        except SystemExit:
            pytest.fail(f"{page}: {shlex.join(words)}: {capsys.readouterr().err}")


def test_extras_are_named() -> None:
    """A page whose block needs an extra says which, so that its commands work."""
    for page in PAGES:
        text = page.read_text("utf-8")
        shown = "".join(body for _, body in blocks(page)).replace('", "', " ")
        for use, extra in EXTRAS.items():
            named = f"`{extra}`" in text or f"[{extra}]" in text
            assert use not in shown or named, f"{page.name}: {use} needs {extra}"


def test_a_port_that_is_asked_is_open() -> None:
    """Where a page asks probes under systemd, its units open the port."""
    page = ROOT / "docs/deploy.md"
    assert "curl -f localhost:9000/readyz" in page.read_text("utf-8")
    units = [text for language, text in blocks(page) if language == "ini"]
    assert len(units) == 2
    assert all("--metrics-port 9000" in each for each in units)


def test_examples_import_what_they_use(tmp_path: Path) -> None:
    """A block that imports something imports all that it uses."""
    for page in PAGES:
        for number, (language, text) in enumerate(blocks(page)):
            if language == "python" and re.search(
                "^(from|import) ", text, re.MULTILINE
            ):
                (tmp_path / f"{page.stem}-{number}.py").write_text(text, "utf-8")
    ruff = (sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821")
    done = subprocess.run(
        [*ruff, "--output-format", "concise", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


DASHBOARD: Final = """
from starlette.testclient import TestClient

import shop
from asgi import application

class Session:
    def __init__(self, app, user):
        self.app, self.user = app, user

    async def __call__(self, scope, receive, send):
        await self.app(scope | {"session": self.user}, receive, send)

ops = {"user": {"email": "a@b.c", "is_admin": False}}
for user, code in (({}, 307), (ops, 200)):
    for app in (shop.app, application):
        client = TestClient(Session(app, user), base_url="http://localhost")
        reply = client.get("/flowd/", follow_redirects=False)
        assert reply.status_code == code, reply.text
"""

SETTINGS: Final = """
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "settings"
SECRET_KEY = "test"
urlpatterns = []
"""


def test_the_dashboard_in_an_application(newcomer: Folder, redis_url: str) -> None:
    """Both applications of the page serve the dashboard, to a user who is logged in."""
    page = ROOT / "docs/dashboard.md"
    newcomer = Folder(newcomer.path, Path(sys.executable).parent, redis_url)
    (newcomer.path / "jobs").symlink_to(ROOT / "jobs")
    shown = files(section("In your own application", page))
    assert shown.keys() == {"shop.py", "asgi.py"}
    newcomer.write(shown | {"settings.py": SETTINGS, "program.py": DASHBOARD})
    newcomer.run("python program.py")
