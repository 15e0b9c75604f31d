"""`flowd preflight` imports and runs the mappers that generated classes use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.preflight.queue import add, line_of, preflight, table, write
from tests.support.raw import Raw

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
    mappers("preflight_mappers", "return text.split(',') if text else 1 / 0")
    add(raw, "to", "x", "subject", "a,b")
    add(raw, "to", "x", "subject", "")
    assert preflight(redis_url) == 1
    out = capsys.readouterr().out
    assert "Email.subject: 1 job cannot be read: ZeroDivisionError: division" in out
    assert table(out) == {"stream": (2, 1, 0, 1, 0)}


def test_a_mapper_that_ends_the_program_does_not_end_this_one(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exit code of its own would answer the question; its words may be a secret."""
    mappers("preflight_exit", "sys.exit(text)")
    add(raw, "to", "x", "subject", "hunter2")
    assert preflight(redis_url) == 1
    out = capsys.readouterr().out
    assert "Email: 1 job cannot be read: a mapper ended the program" in out
    assert "hunter2" not in out


def test_mappers_may_be_in_another_folder(
    redis_url: str, raw: Raw, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--app-dir` says in which; without it the answer is how to give it."""
    mappers("preflight_elsewhere", "return [text]", "src")
    add(raw, "to", "x", "subject", "a")
    assert preflight(redis_url) == 2
    assert capsys.readouterr().err == (
        "flowd: error: shop cannot be imported: ModuleNotFoundError: No module named"
        f" 'preflight_elsewhere' ({Path.cwd()}/shop/email.py:{line_of('from preflight_')});"
        f" --app-dir names the folder of your modules (now {Path.cwd()})\n"
    )
    Path("shop").rename("src/shop")
    assert preflight(redis_url, "--app-dir", "src") == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('no \\x1b[2J')", "ValueError: no \\x1b[2J ({}:1)"),
        ("def ser(:", "SyntaxError: invalid syntax (preflight_broken.py, line 1)"),
        ("raise SystemExit(0)", "SystemExit: 0 ({}:1)"),
        (
            "ser = str",
            "ImportError: cannot import name 'de' from 'preflight_broken' ({})",
        ),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(
    redis_url: str, capsys: pytest.CaptureFixture[str], code: str, said: str
) -> None:
    """Exit 2: nothing was asked of the server."""
    write(text=TAGS.format(module="preflight_broken"))
    Path("preflight_broken.py").write_text(code)
    assert preflight(redis_url) == 2
    where = Path("preflight_broken.py").resolve()
    assert said.format(where) in capsys.readouterr().err.splitlines()[0]
