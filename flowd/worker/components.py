"""What one running queue is made of. Each component is built once, with those that it needs.

Nothing runs yet: `runner` says what they do with a job, `lifetime` begins and ends them.
"""

from __future__ import annotations

import os
import socket
from typing import Generic, TypeVar

from flowd.broker.server_time import server_time
from flowd.broker.session import Session
from flowd.broker.stream import Stream
from flowd.model.event import EventBus
from flowd.model.job import Job
from flowd.worker.ahead import ReadAhead
from flowd.worker.callbacks import JobCallbacks
from flowd.worker.capabilities import Capabilities
from flowd.worker.executor import Executor
from flowd.worker.expiry import Expiry
from flowd.worker.fetcher import Fetcher
from flowd.worker.in_flight import InFlight
from flowd.worker.left_running import LeftRunning
from flowd.worker.maintenance import Maintenance
from flowd.worker.options import QueueOptions
from flowd.worker.outages import LoopOutages
from flowd.worker.settlement import Settlement
from flowd.worker.settlement_report import SettlementReport
from flowd.worker.shared import WorkerSession
from flowd.worker.shutdown import Shutdown

__all__ = ["QueueComponents"]

J = TypeVar("J", bound=Job)


class QueueComponents(Generic[J]):
    """The components of one run of a queue, in the order in which they need each other.

    Args:
        session: towards its server.
        options: of the queue.
    """

    def __init__(self, session: Session, options: QueueOptions[J]) -> None:
        policy = options.policy
        self.options = options
        self.session = session
        self.outage = session.outage
        self.shared = WorkerSession.of(session)
        # Unique for each run: the fence identifies a delivery by consumer and count.
        prefix = options.consumer or f"{socket.gethostname()}-{os.getpid()}"
        reads = self.shared.idle_reads.of(policy.stream, policy.group, prefix)
        self.consumer = reads.consumer
        self.stream = Stream(session.connection, policy.stream, policy.group)
        self.in_flight = InFlight(options.concurrency)
        self.left_running = LeftRunning(self.stream, self.consumer)
        self.shutdown = Shutdown()
        self.events = EventBus.to(policy.stream, policy.group, options.chain.listeners)
        self.callbacks = JobCallbacks(options, self.consumer, self.events)
        self.capabilities = Capabilities(
            options,
            self.stream,
            self.consumer,
            self.in_flight,
            events=self.events,
            shutdown=self.shutdown,
        )
        gate = self.capabilities.gate
        self.fetcher = Fetcher(
            self.stream,
            session.reader_to(policy.stream),
            self.consumer,
            concurrency=options.concurrency,
            block=options.block,
            idle=reads.place(self.stream, options.block, admits=gate.admit),
            admit=gate.admit,
        )
        self.maintenance = Maintenance(
            self.stream,
            self.fetcher,
            self.in_flight,
            self.capabilities.on_maintain,
            self.events,
            lease=options.lease,
            block=options.block,
            claimer=options.claimer,
            gate=gate,
        )
        self.outages = LoopOutages(
            self.stream,
            self.outage,
            self.events,
            self.maintenance,
            renew_soon=self.shared.leases.renew_soon,
            is_set_up=session.is_set_up(self.stream),
        )
        self.executor = Executor(
            options,
            self.in_flight,
            self.events,
            Expiry(lambda: server_time(self.stream.connection)),
            self.capabilities.progress.report,
            consumer=self.consumer,
        )
        endings = self.executor.endings
        self.ahead = ReadAhead(options, self.in_flight)
        self.settlement = Settlement(
            self.stream,
            self.consumer,
            self.in_flight,
            self.outage,
            self.events,
            extensions=self.capabilities.on_settle,
            most=gate.settles,
            together=self.fetcher.together,
            ahead=self.ahead,
            quarantine=self.shared.quarantine,
            report=SettlementReport(
                self.events, self.maintenance, self.callbacks, endings.job
            ),
            endings=endings,
        )
