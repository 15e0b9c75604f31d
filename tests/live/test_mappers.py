"""`flowd-gen live` imports and runs the mappers that a schema names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.live.queue import add, live, table, write
from tests.raw import Raw

TAGS = """[mapper.tags]
serialize = "{module}:ser"
deserialize = "{module}:de"
[job.Email.fields]
to = "str"
subject = {{ type = "list[str]", mapper = "tags" }}
[job.Email.queue]
stream = "emails"
group = "senders"
"""


def mappers(name: str, body: str, folder: str = ".") -> None:
    """Write a module with mappers and a schema that uses them."""
    Path(folder).mkdir(exist_ok=True)
    Path(folder, f"{name}.py").write_text(
        "import sys\n"
        "def ser(value: list[str]) -> str: return ','.join(value)\n"
        f"def de(text: str) -> list[str]: {body}\n"
    )
    write(text=TAGS.format(module=name))


def test_mappers_are_imported_and_run(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the current folder; what they raise is the reason."""
    mappers("live_mappers", "return text.split(',') if text else 1 / 0")
    add(raw, "to", "x", "subject", "a,b")
    add(raw, "to", "x", "subject", "")
    path, modules = list(sys.path), {*sys.modules}
    assert live(redis_url) == 1
    out = capsys.readouterr().out
    assert "Email.subject: 1 job cannot be read: ZeroDivisionError: division" in out
    assert table(out) == {"stream": (2, 1, 0, 1, 0)}
    assert sys.path == path
    assert {*sys.modules} - modules == {"live_mappers"}


def test_a_mapper_that_ends_the_program_does_not_end_this_one(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exit code of its own would answer the question."""
    mappers("live_exit", "sys.exit(0)")
    add(raw, "to", "x", "subject", "a")
    assert live(redis_url) == 1
    out = capsys.readouterr().out
    assert "Email: 1 job cannot be read: a mapper ended the program: SystemExit" in out


def test_mappers_may_be_in_another_folder(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--app-dir` says in which; without it the answer is how to give it."""
    mappers("live_elsewhere", "return [text]", "src")
    add(raw, "to", "x", "subject", "a")
    assert live(redis_url) == 2
    assert capsys.readouterr().err == (
        "error: what email.toml names in your code cannot be imported:"
        " ModuleNotFoundError: No module named 'live_elsewhere'\n"
        "error: --app-dir says which folder your modules are in"
        f" (now {Path.cwd()})\n"
    )
    assert live(redis_url, "--app-dir", "src") == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('no \\x1b[2J')", "ValueError: no \\x1b[2J ({}:1)"),
        ("def ser(:", "SyntaxError: invalid syntax (live_broken.py, line 1)"),
        ("raise SystemExit(0)", "SystemExit: 0 ({}:1)"),
        ("ser = str", "ImportError: cannot import name 'de' from 'live_broken' ({})"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(
    redis_url: str, capsys: pytest.CaptureFixture[str], code: str, said: str
) -> None:
    """Exit 2: nothing was asked of the server."""
    write(text=TAGS.format(module="live_broken"))
    Path("live_broken.py").write_text(code)
    try:
        assert live(redis_url) == 2
    finally:
        sys.modules.pop("live_broken", None)
    where = Path("live_broken.py").resolve()
    assert said.format(where) in capsys.readouterr().err.splitlines()[0]
