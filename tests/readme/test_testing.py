"""The page on testing is true."""

from __future__ import annotations

from tests.house.sources import ROOT
from tests.readme.quickstart import Folder, commands, files

PAGE = (ROOT / "docs/testing.md").read_text("utf-8")


def test_the_examples_pass(newcomer: Folder) -> None:
    """The tests on the page pass in an empty folder, word for word."""
    newcomer.run("flowd-gen init")
    newcomer.write(files(PAGE))
    generate, run = commands(PAGE)
    newcomer.run(generate)
    # Those of the page, and the one that `flowd-gen init` wrote.
    assert newcomer.run(run).splitlines()[-1].startswith("5 passed")


def test_the_message_is_the_one_on_the_page(newcomer: Folder) -> None:
    """A failing assertion says, at the test's own line, what the page shows."""
    wrong = 'assert_enqueued(Email(to="b@b.c", subject="welcome"))'
    right = 'assert_enqueued(Email(to="a@b.c", subject="welcome"))'
    newcomer.run("flowd-gen init")
    written = files(PAGE)
    written["test_sign_up.py"] = written["test_sign_up.py"].replace(right, wrong)
    newcomer.write(written)
    newcomer.run("flowd-gen schemas/ -o jobs/")
    said = newcomer.run("python -m pytest -q test_sign_up.py || true")
    (shown,) = [b for b in PAGE.split("```")[1::2] if "the nearest first" in b]
    for line in shown.strip().splitlines():
        assert line in said
    assert "recorded.py" not in said


def test_each_test_has_an_empty_server(newcomer: Folder) -> None:
    """What one test left in any database is gone in the next; the clock is the memory's."""
    program = """
import os
import redis
import pytest

@pytest.mark.parametrize("turn", [1, 2])
def test_it(flowd_url, turn):
    assert os.environ["FLOWD_URL"] == flowd_url
    for db in (0, 5):
        with redis.Redis.from_url(flowd_url, db=db) as client:
            assert client.dbsize() == 0
            client.set("left", "over")

def test_the_clock(flowd_memory, flowd_clock, flowd_producer, flowd_sync_producer):
    assert flowd_memory.clock is flowd_clock
    assert flowd_producer.memory is flowd_sync_producer.memory is flowd_memory
"""
    newcomer.write(files(PAGE) | {"test_it.py": program})
    newcomer.run("python -m pytest -q test_it.py")


def test_pytest_loads_no_flowd_without_the_plugin(newcomer: Folder) -> None:
    """Without the line in `conftest.py` pytest loads no flowd in any project."""
    newcomer.write(
        {"test_it.py": "import sys\ndef test_it():\n assert 'flowd' not in sys.modules"}
    )
    newcomer.run("python -m pytest -q")
