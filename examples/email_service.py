"""A service that sends e-mails: `flowd run examples.email_service:queues`.

flowd-gen schemas/ -o jobs/
FLOWD_URL=redis://localhost:6379 flowd run examples.email_service:queues
"""

from __future__ import annotations

import logging

from flowd import Context, Queue, Reject, Retry
from jobs.email import Email

log = logging.getLogger("email_service")


class Busy(Exception):
    """The mail server asks to come back later."""


async def send(email: Email, ctx: Context) -> None:
    """Send one e-mail; a job may run twice, so its id makes the call idempotent."""
    if "@" not in email.to:
        raise Reject(f"{email.to!r} is no address")
    try:
        await deliver(email, message_id=ctx.id)
    except Busy as error:
        raise Retry("the mail server is busy", after=60.0) from error


async def deliver(email: Email, message_id: str) -> None:
    """Stands for the call of a mail provider."""
    log.info("message %s to %s: %s", message_id, email.to, email.subject)


queues = Queue(Email, send, concurrency=20)
