"""Books: from a decoded message to the window that readers see, and what keeps it true.

`publish` is the hot path's face (`hotpath`, `window`, `book` under it), `sync` what venues' state machines
speak, `manager` the cold path (snapshots, proofs, audits, new slots; its docstring names the parts),
`handover` one connection taking over from another.
"""
