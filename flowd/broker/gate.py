"""What is sent to Redis of the gate of a queue: the parts of its scripts, and admission."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from dataclasses import replace

from flowd.broker import replies, scripts
from flowd.broker.connection import Argument
from flowd.broker.extension import EnqueueCall
from flowd.broker.scripts import Part
from flowd.broker.stream import Stream
from flowd.model.gate import Gate
from flowd.model.timing import milliseconds

__all__ = ["GateAdmission", "GateScripts", "announce", "counting", "redriving"]


async def announce(stream: Stream, gate: Gate | None) -> None:
    """Say that the queue has these policies, until the maintenance of a worker does.

    Raises:
        ServerError: as `Connection.call`.
    """
    if gate is not None:
        policies = stream.keys.policies
        await stream.connection.call("SET", policies, gate.text, "PX", 60_000)


def counting(stream: Stream, gate: Gate | None) -> tuple[Part, ...]:
    """What counts parked jobs among those that are left to do."""
    return () if gate is None else (Part("remaining_parked", (stream.keys.gate[1],)),)


def redriving(stream: Stream, gate: Gate | None, *, waits: bool = False) -> Part:
    """What lets dead letters come to the gate.

    Args:
        stream: of the queue.
        gate: its policies, if they are known.
        waits: whether a job whose key is taken is to wait until it is free.
    """
    names = stream.keys
    rules = "" if gate is None else gate.rules
    return Part("redrive_gate", (*names.gate, names.bodies), (int(waits), rules))


class GateAdmission:
    """Hooks into *enqueue* where the jobs' class has policies."""

    def on_enqueue(self, call: EnqueueCall) -> EnqueueCall:
        """Let the jobs come to the gate."""
        gate = call.jobs[0].gate
        if gate is None:
            return call
        args: list[Argument] = [gate.rules, call.stream.group]
        part = Part("enqueue_gate", call.stream.keys.gate, args)
        return replace(call, parts=(*call.parts, part))


class GateScripts:
    """The scripts of one gate, as a worker runs them.

    Args:
        stream: of the queue.
        gate: its policies.
    """

    def __init__(self, stream: Stream, gate: Gate) -> None:
        self._stream = stream
        names = stream.keys
        rules = gate.rules
        self.settle = Part("settle_gate", names.gate, (rules,))
        """What has ended frees its slots, and the next are admitted."""

        self.maintain = Part(
            "maintain_gate", (*names.gate, names.policies), (gate.text, rules)
        )
        """Due jobs come to the gate; answers how many holders were nowhere."""

        self._keys = (names.stream, names.bodies, *names.gate)
        self._rules = rules

    def admit(
        self, consumer: str, count: int, wait: float
    ) -> Coroutine[object, object, float | None]:
        """Admit what a worker is about to read; the command is under way when this returns.

        Args:
            consumer: its name.
            count: how many jobs it would take.
            wait: how long its read may wait for more, in seconds.

        Returns:
            What awaits the answer: seconds until a job may start that waits for its rate;
            None without one.

        Raises:
            ServerError: as `Connection.call`, when it is awaited. Repeating the call is safe.
        """
        args: list[Argument] = [self._stream.group, consumer, count]
        args += (milliseconds(wait), self._rules)
        asked = scripts.ADMIT.ask(
            self._stream.connection, self._keys, args, replies.number
        )
        return _seconds_until(asked)


async def _seconds_until(due: Awaitable[int]) -> float | None:
    ms = await due
    return None if ms < 0 else ms / 1000
