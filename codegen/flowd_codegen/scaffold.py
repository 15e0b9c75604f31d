"""The files of `flowd-gen init`: a schema, a handler, a test of it, and who enqueues."""

from __future__ import annotations

from typing import Final

__all__ = ["NEXT", "STARTER"]

_SCHEMA: Final = """\
#:schema flowd.schema.json
# One file here becomes one module of jobs/. Your editor knows the language by line 1.

[job.Email]
doc = "Send one transactional e-mail."

[job.Email.fields]
to      = "str"
subject = { type = "str", max_len = 200 }
body    = "str?"                            # may be left out

[job.Email.queue]
stream      = "emails"
group       = "senders"
timeout     = "1m"
max_retries = 3
"""

_HANDLERS: Final = '''\
"""What is done for each job."""

from __future__ import annotations

from jobs.email import Email


async def send(email: Email) -> None:
    """Send one e-mail. Must be idempotent: jobs are delivered at least once."""
    print(f"sending to {email.to}: {email.subject}")
'''

_WORKERS: Final = '''\
"""The queues that `flowd run workers:queues` runs."""

from __future__ import annotations

from flowd import Queue
from handlers import send
from jobs.email import Email

queues = Queue(Email, send)
'''

_TEST: Final = '''\
"""What the handlers do, without a server."""

from __future__ import annotations

import asyncio

from flowd.testing import MemoryQueue
from handlers import send
from jobs.email import Email


def test_an_email_is_sent() -> None:
    """It is done at the first attempt."""

    async def enqueue_and_run() -> MemoryQueue[Email]:
        queue = MemoryQueue(Email, send)
        await queue.enqueue(Email(to="a@b.c", subject="hi"))
        await queue.drain()
        return queue

    queue = asyncio.run(enqueue_and_run())
    assert [email.to for email in queue.done] == ["a@b.c"]
    assert not queue.dead
'''

_ENQUEUE: Final = '''\
"""Enqueue one e-mail."""

from __future__ import annotations

import asyncio

from flowd import Producer
from jobs.email import Email


async def main() -> None:
    """Enqueue it, and say under which id."""
    async with Producer() as producer:
        print(await producer.enqueue(Email(to="a@b.c", subject="hi")))


if __name__ == "__main__":
    asyncio.run(main())
'''

STARTER: Final = {
    "schemas/email.toml": _SCHEMA,
    "handlers.py": _HANDLERS,
    "test_handlers.py": _TEST,
    "workers.py": _WORKERS,
    "enqueue.py": _ENQUEUE,
}
"""Each file's text by its path."""

NEXT: Final = (
    ("flowd-gen schemas -o jobs", "writes the classes; commit them"),
    ("python -m pytest test_handlers.py", "pip install pytest; needs no server"),
    ("export FLOWD_URL=embedded:data", "a server in the folder data, for development"),
    ("flowd run workers:queues", "runs the jobs, until Ctrl-C"),
    ("python enqueue.py", "from another terminal, with the same FLOWD_URL"),
)
"""The next commands, and what each is for."""
