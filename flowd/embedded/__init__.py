"""A real Redis-compatible server of one's own, for development and tests.

`embedded:` is a throw-away server, one per process. `embedded:PATH` is a folder whose
jobs are kept: the first process that opens it serves it, the others connect, and when
that process dies its server dies with it and the next one that asks takes over. A server that
dies alone is started again by its owner, whether that asks for it or not. Both
are for development, tests and programs on one machine; run a server of its own in
production.

    binary -> probe -> scratch -> words -> process -> folder -> embedded
"""

from __future__ import annotations

from flowd.embedded.embedded import is_embedded, open_embedded
from flowd.embedded.process import Server

__all__ = ["Server", "is_embedded", "open_embedded"]
