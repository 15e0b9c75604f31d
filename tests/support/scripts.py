"""The scripts with the parts that workers and producers run them with."""

from __future__ import annotations

from typing import Final

from flowd.broker import scripts
from flowd.broker.scripts import Part, Script

__all__ = ["KEYED_ENQUEUE", "MAINTAIN", "RENEW"]

KEYED_ENQUEUE: Final[Script] = scripts.ENQUEUE.with_parts([Part("enqueue_idempotency")])
"""What stores jobs with idempotency keys."""

MAINTAIN: Final[Script] = scripts.MAINTAIN.with_parts(
    [Part("maintain_event_feed"), Part("maintain_heartbeat"), Part("maintain_control")]
)
"""What every worker runs every few seconds."""

RENEW: Final[Script] = scripts.RENEW.with_parts(
    [Part("renew_heartbeat"), Part("renew_control")]
)
"""What renews the leases of a worker."""
