"""The handler, and the queue that `flowd run examples.stdlib_index.workers:queues` runs.

The handler is a plain function: it computes, so it runs in a thread.
"""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path

from examples.stdlib_index import results
from flowd import Context, Queue
from jobs.stdlib_index import IndexFile

RESULTS = Path(os.environ.get("STDLIB_INDEX_RESULTS", "build/stdlib_index/results"))


def index(job: IndexFile, ctx: Context) -> None:
    """Parse a file and write down what is in it; a file that is broken fails."""
    began = time.time()
    source = Path(job.path).read_bytes()
    tree = ast.parse(source, filename=job.path)
    nodes = list(ast.walk(tree))
    results.write(
        RESULTS,
        results.Result(
            job_id=ctx.id,
            path=job.path,
            lines=source.count(b"\n"),
            imports=sum(isinstance(n, ast.Import | ast.ImportFrom) for n in nodes),
            definitions=sum(
                isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                for n in nodes
            ),
            attempt=ctx.attempt,
            deliveries=ctx.deliveries,
            worker=os.getpid(),
            began=began,
        ),
    )


queues = Queue(IndexFile, index, concurrency=4)
