"""The source files of the running interpreter's standard library, as jobs."""

from __future__ import annotations

import sysconfig
import tokenize
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from jobs.stdlib_index import IndexFile

BROKEN = {
    "half_a_function.py": b"def f(:\n",
    "not_text.py": b"x = 1\x00\n",
    "wrong_encoding.py": "name = 'Zoë'\n".encode("latin-1"),
}


def library() -> Iterator[Path]:
    """Every `.py` file of the standard library, without installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if "site-packages" not in path.parts and "dist-packages" not in path.parts:
            yield path


def broken(folder: Path) -> Iterator[Path]:
    """Write three files that no parser accepts, so that something fails."""
    folder.mkdir(parents=True)
    for name, content in BROKEN.items():
        path = folder / name
        path.write_bytes(content)
        yield path


def job_for(path: Path, tags: list[str]) -> IndexFile:
    """The job that indexes one file."""
    status = path.stat()
    return IndexFile(
        path=str(path),
        size=status.st_size,
        modified=datetime.fromtimestamp(status.st_mtime, UTC),
        encoding=_declared_encoding(path),
        tags=tags,
    )


def _declared_encoding(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            encoding, _ = tokenize.detect_encoding(file.readline)
    except SyntaxError:
        return None
    return None if encoding in ("utf-8", "utf-8-sig") else encoding
