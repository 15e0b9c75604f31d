"""Imports run one way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.house.sources import ROOT


def test_imports_run_one_way() -> None:
    """import-linter finds no import that its contracts forbid."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_generator_loads_nothing_that_asks_a_server() -> None:
    """It validates without the connection, the queues and the questions of operators."""
    program = (
        "import sys; from flowd_codegen.cli import run;"
        "code = run(['validate', 'schemas']);"
        "asking = {'flowd.ops', 'flowd.broker', 'flowd.queue', 'flowd.cli', 'redis'};"
        "loaded = asking & set(sys.modules);"
        "sys.exit(code or (str(loaded) if loaded else 0))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_worker_loads_nothing_of_the_generator() -> None:
    """Importing flowd and generated jobs loads no library of the generator."""
    program = (
        "import sys, flowd, jobs.email, jobs.crawl;"
        "loaded = {'flowd_codegen', 'jinja2', 'tomli', 'black'} & set(sys.modules);"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
