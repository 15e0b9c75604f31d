"""`python -m flowd.metrics` prints alert rules for Prometheus."""

from __future__ import annotations

import sys

from flowd.metrics.alerts import rules

if __name__ == "__main__":
    sys.stdout.write(rules())
