"""Index the Python standard library: `make demo`.

An ordinary program that uses flowd. `schemas/stdlib_index.toml` declares the job,
`flowd-gen` writes its class, and here are

    files      which files there are: the producer's side
    workers    the handler, and the queue that `flowd run` runs
    results    what the workers found, one small file for each job
    __main__   the demo: enqueue, run two workers, kill one, add up
"""
