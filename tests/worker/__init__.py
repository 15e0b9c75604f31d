"""A running queue: reading, execution, settlement, leases and maintenance."""
