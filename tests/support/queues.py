"""Queues of `Email` on the stream of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypedDict, Unpack

from flowd import Claimer, Letter, Middleware, Policy, Queue
from flowd.worker.handler import Handler
from jobs.email import Email
from tests.support.email_job import RecordingHandler, policy

__all__ = ["MakeQueue"]


class _Options(TypedDict, total=False):
    """The arguments of `Queue` that a test may choose."""

    block: float
    claimer: Claimer | None
    concurrency: int
    connect_timeout: float
    consumer: str
    middleware: Iterable[Middleware]
    on_dead_letter: Callable[[Letter[Email]], object]
    starting_id: str


class MakeQueue:
    """Makes queues on one stream of the session's server; the fixture `make_queue`.

    Args:
        url: of the server.
        stream: of the test.
    """

    def __init__(self, url: str, stream: str) -> None:
        self._url = url
        self._stream = stream

    def __call__(
        self,
        handler: Handler[Email] | None = None,
        *,
        rules: Policy | None = None,
        lease: float = 1.0,
        max_retries: int = 3,
        timeout: float | None = None,
        backoff: float = 0.001,
        **options: Unpack[_Options],
    ) -> Queue[Email]:
        """A queue with `rules`, or with those of `policy` and these times.

        Args:
            handler: None: a `RecordingHandler`.
            rules: instead of the four arguments behind it.
            lease: as for `policy`, and so are the next three.
            max_retries: failures before a job is dead-lettered.
            timeout: seconds for an attempt.
            backoff: seconds before a retry.
            options: as for `Queue`.
        """
        return Queue(
            Email,
            RecordingHandler() if handler is None else handler,
            url=self._url,
            policy=rules
            or policy(
                self._stream,
                lease=lease,
                max_retries=max_retries,
                timeout=timeout,
                backoff=backoff,
            ),
            **options,
        )
