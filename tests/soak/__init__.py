"""A long run under faults: does anything grow, does anything stay down, is any published number wrong?

`soak` is the program (``make soak``), `catalogue` the faults it draws from, `child` the worker process that
reports on itself, `watch` the reader that checks what is published, `verdict` the judgement over the samples.
"""
