"""Benchmarks, one file a question; each beside a peer, in the same run. `README.md` has the results.

``python -m bench.NAME [--json] [--quick | --seconds N]`` asks one question, ``python -m bench`` all of them.
Nothing here is a test: a figure is reported, never asserted.
"""
