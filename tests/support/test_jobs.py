"""The job classes of these tests are what the generator writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_the_generated_classes_are_current() -> None:
    """`flowd-gen --check` finds nothing to write in `jobs`."""
    command = (sys.executable, "-m", "flowd_codegen", "schemas", "-o", "jobs")
    checked = subprocess.run(
        (*command, "--check"), cwd=HERE, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
