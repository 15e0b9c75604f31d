"""For the tests of programs that use flowd: no server, no waiting.

    producer = RecordingProducer()
    await sign_up("a@b.c", producer)
    producer.assert_enqueued(Email, to="a@b.c")

    queue = MemoryQueue(Email, send, memory=producer.memory)
    await queue.drain()
    assert queue.done == [Email(to="a@b.c", subject="welcome")]

Every job goes through its own `to_fields` and `from_fields`, and a handler is run by the
same code as in production, so what raises there raises here. `flowd.testing.plugin` has
fixtures for pytest.
"""

from __future__ import annotations

from flowd.testing.clock import FakeClock
from flowd.testing.memory import Memory
from flowd.testing.producer import RecordingProducer, RecordingSyncProducer
from flowd.testing.queue import MemoryQueue
from flowd.testing.text import debug_map, from_text, round_trip

__all__ = [
    "FakeClock",
    "Memory",
    "MemoryQueue",
    "RecordingProducer",
    "RecordingSyncProducer",
    "debug_map",
    "from_text",
    "round_trip",
]
