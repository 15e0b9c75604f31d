"""The same on a Redis Cluster and behind sentinels: nodes fail, and slots move.

`python -m tests.system.chaos.nodes cluster|sentinel` plays a run (`play`): processes with
several queues (`worker`), producers that do not give up (`feeder`), faults of workers as
on one server and, one after the other, faults of nodes (`cluster_faults`,
`sentinel_faults`). The oracle is outside Redis: evidence from every process, put together
(`history`) and judged (`promises`). What each kind of fault costs goes into a table
(`figures`).
"""
