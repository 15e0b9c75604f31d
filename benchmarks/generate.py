"""What flowd-gen takes for schemas of ten fields: all new, and nothing changed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

__all__ = ["SCHEMAS", "generate"]

SCHEMAS: Final = 200
"""So many are measured."""

_FIELDS: Final = (
    *("a = 'str'", "b = 'u32'", "c = 'str?'", "d = 'bool'", "e = 'float'"),
    *("f = 'datetime'", "g = 'bytes'", "h = 'list[str]'", "i = 'i64?'", "j = 'uuid'"),
)


def generate(schemas: int) -> tuple[float, float]:
    """Seconds to write so many modules, and to find nothing to do the next time.

    Raises:
        CalledProcessError: the generator failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "schemas")
        source.mkdir()
        for number in range(schemas):
            lines = (f"[job.Job{number}.fields]", *_FIELDS)
            queue = (f"[job.Job{number}.queue]", f"stream = 'jobs-{number}'")
            (source / f"job{number}.toml").write_text("\n".join((*lines, *queue)))
        return _run(folder), _run(folder)


def _run(folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        (sys.executable, "-m", "flowd_codegen", "schemas", "-o", "jobs"),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began
