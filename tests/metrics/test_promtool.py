"""Prometheus's own tool takes the rules and what is shown, where it is installed."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from typing import Final

import pytest
from prometheus_client import CollectorRegistry

from flowd import Queue
from flowd.metrics import Metrics, exposition
from tests.house.sources import ROOT
from tests.support.jobs.export import Export, Region

PROMTOOL: Final = shutil.which("promtool")

pytestmark = pytest.mark.skipif(
    PROMTOOL is None, reason="there is no promtool (Debian's package prometheus)"
)


def promtool(*words: str, text: bytes = b"") -> tuple[int, str]:
    """Its exit code, and all that it prints."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *words],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode()


def test_promtool_takes_the_alert_rules() -> None:
    """Their expressions, durations and templates."""
    code, said = promtool("check", "rules", str(ROOT / "docs/alerts.yml"))
    assert code == 0, said
    assert re.search(r"SUCCESS: \d+ rules found", said)


async def test_promtool_takes_what_is_shown(redis_url: str, stream: str) -> None:
    """Names, units and help texts; a job with labels of its own among the others."""
    metrics = Metrics(CollectorRegistry())
    rules = dataclasses.replace(Export.SPEC.policy, stream=stream)

    async def handle(job: Export) -> None:
        pass

    async with Queue(
        Export, handle, url=redis_url, policy=rules, middleware=[metrics]
    ) as queue:
        await queue.enqueue_bulk(Export(to="a", region=each) for each in Region)
        queue.run()
        await queue.drain()
        place = queue.address, stream, rules.group
        text = await exposition(metrics.registry, [place])
    assert b'region="us"' in text
    code, said = promtool("check", "metrics", text=text)
    assert (code, said) == (0, "")
