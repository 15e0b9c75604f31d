"""`flowd run --processes N`: a parent that keeps N workers running, each a process of its own.

The parent has no connection to Redis and never imports the user's code: it starts `flowd
run` anew for each child, so a replaced child has the code that is on the disk then. One
socket pair connects the two. A child reports when it is ready and answers for the probes;
the parent asks it to stop; when the pair is closed, a child knows that the parent is gone.

    in the parent   command -> pages -> supervisor -> child -> messages;   cpus
    in a child      command -> supervised -> limits, sums, messages
"""
