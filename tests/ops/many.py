"""Fill a queue with many jobs in every state: `python -m tests.ops.many URL NUMBER`.

So a person sees for themselves that commands answer at once where there are a million.
"""

from __future__ import annotations

import sys
from typing import Final

from tests.support.raw import Raw

__all__ = ["GROUP", "STREAM", "fill"]

STREAM: Final = "emails"
GROUP: Final = "senders"

_AT_ONCE: Final = 5_000

# KEYS stream, delayed, delayed jobs, dead letters; ARGV how many, number of the first
_FILL: Final = """
local names = { '_dlq_id', '_dlq_reason', '_dlq_error', '_dlq_traceback',
  '_dlq_attempts', '_dlq_deliveries', '_dlq_enqueued', '_dlq_consumer' }
for i = ARGV[2], ARGV[2] + ARGV[1] - 1 do
  local fields = { 'to', 'user' .. i .. '@example.org', 'subject', 'hi' }
  redis.call('XADD', KEYS[1], '*', unpack(fields))
  redis.call('ZADD', KEYS[2], 4e12 + i, 'job' .. i)
  redis.call('HSET', KEYS[3], 'job' .. i, cmsgpack.pack(fields))
  local values = { '1-' .. i, 'failed', 'ValueError: ' .. i, '', '1', '1', '1', 'me' }
  for n = 1, 8 do
    fields[#fields + 1] = names[n]
    fields[#fields + 1] = values[n]
  end
  redis.call('XADD', KEYS[4], '*', unpack(fields))
end
"""


def fill(raw: Raw, number: int, *, running: int) -> None:
    """So many jobs that wait, are delayed and dead, and some that ten consumers hold."""
    raw("SADD", "flowd:queues", f"{STREAM}\n{GROUP}")
    raw("XGROUP", "CREATE", STREAM, GROUP, 0, "MKSTREAM")
    tag = f"{{{STREAM}}}"
    keys = (STREAM, f"{tag}:delayed", f"{tag}:delayed:jobs", f"{tag}:{GROUP}:dlq")
    for first in range(0, number, _AT_ONCE):
        some = min(_AT_ONCE, number - first)
        raw("EVAL", _FILL, len(keys), *keys, some, first)
    for consumer in range(10):
        reading = ("GROUP", GROUP, f"host-{consumer}-0123abcd", "COUNT", running // 10)
        raw("XREADGROUP", *reading, "STREAMS", STREAM, ">")


if __name__ == "__main__":
    with Raw(sys.argv[1], timeout=60.0) as server:
        fill(server, int(sys.argv[2]), running=int(sys.argv[2]) // 10)
