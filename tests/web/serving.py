"""`flowd web` as a process, as an operator starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from tests.house.sources import ROOT

__all__ = ["PASSWORD", "serving_dashboard"]

PASSWORD: Final = "a long password"


@contextmanager
def serving_dashboard(url: str, *words: str) -> Generator[str]:
    """Where the dashboard is, as the command prints it; Ctrl-C ends it."""
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    process = subprocess.Popen(
        [sys.executable, "-m", "flowd", "web", "--port", "0", "--url", url, *words],
        env=os.environ | {"FLOWD_WEB_PASSWORD": PASSWORD, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"is at (http://\S+)/ \(", said)
        assert found is not None, said + process.stderr.read()
        yield found[1]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            process.communicate()
    assert code == 130
