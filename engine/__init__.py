"""The engine: settings, command line, supervisor and the HTTP server.

It starts workers and watches them; market data never passes through it.
"""
