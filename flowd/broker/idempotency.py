"""Idempotency keys: what was enqueued under a key is stored once while it is remembered."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Final

from flowd.broker.connection import Argument
from flowd.broker.extension import EnqueueCall
from flowd.broker.scripts import Part
from flowd.model.timing import milliseconds

__all__ = ["RECEIPT", "Idempotency"]

RECEIPT: Final = 60.0
"""Seconds that a receipt outlives the tries of its call: a late request may still arrive."""


class Idempotency:
    """Hooks into *enqueue* where a job has a key."""

    def on_enqueue(self, call: EnqueueCall) -> EnqueueCall:
        """Remember the ids of keyed jobs, and those of the call where keys run out first."""
        jobs, names = call.jobs, call.stream.keys
        keys = [names.idempotency(job.key) for job in jobs if job.key is not None]
        if not keys:
            return call
        args: list[Argument] = [
            0 if job.key is None else milliseconds(job.key_ttl) for job in jobs
        ]
        # A key may be remembered for less time than the tries of one call take.
        hold = call.lasts + RECEIPT
        if any(job.key is not None and job.key_ttl < hold for job in jobs):
            keys.append(names.receipt(uuid.uuid4().hex))
            args.append(milliseconds(hold))
        else:
            args.append(0)
        args.append(len(jobs))
        part = Part("enqueue_idempotency", keys, args)
        return replace(
            call,
            parts=(*call.parts, part),
            repeatable=all(job.key is not None for job in jobs),
        )
