"""Real worker processes that are killed, frozen, cut off and terminated.

`make chaos` plays one long run (`__main__`): a plan of jobs and faults from a seed
(`plan`), a producer that does not give up (`feeder`), worker processes (`worker_pool`,
`worker`) that the `fault_injector` hurts, and an oracle outside Redis: evidence from every process,
put together (`history`) and judged (`invariants`). `make soak` is a long calm run
(`soak`). The tests here are small ones of the same kind.
"""
