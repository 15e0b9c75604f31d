"""`flowd run --processes N`: a parent that keeps N workers running, each a process of its own.

The parent has no connection to Redis and never imports the user's code: it starts `flowd
run` anew for each child, so a replaced child has the code that is on the disk then. One
socket pair joins the two. On it a child tells when it is ready and answers for the probes,
the parent tells it to stop, and its end tells a child that the parent is gone.

    cpus   embedded   messages -> link -> limits   (in a child)
                      messages -> child -> supervisor -> pages   (in the parent)
"""
