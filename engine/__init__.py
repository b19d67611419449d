"""The engine: settings, command line, supervisor and the HTTP face.

It starts workers and watches them; market data never passes through it.
"""
