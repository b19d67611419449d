"""Order books: from a decoded message to the published window, and how it is kept right.

`publish` is the hot path (with `hotpath`, `window`, `book`), `sync` the types of the venues' state machines,
`manager` the cold path (snapshots, proofs, audits, new slots; its docstring names the parts).
"""
