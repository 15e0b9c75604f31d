"""The demo ends with what it says that it shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.house.sources import ROOT


def test_demo_accounts_for_the_jobs_of_a_killed_worker(tmp_path: Path) -> None:
    """It names who ran what, who claimed what, and shows the queue that is left."""
    path = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "examples.stdlib_index", "--files", "60"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No job is lost: 63 enqueued = 60 done + 3 dead-lettered" in done.stdout
    assert done.stdout.count("is killed (SIGKILL)") == 1
    assert "$ flowd stats --url embedded:" in done.stdout
    assert "stdlib-index  indexers" in done.stdout
