"""Sockets and proxies, the same for every adapter that lets us make them."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any
from urllib.parse import unquote, urlsplit

from workers.http.message import basic

# Seconds until the first probe, seconds between probes, probes: a dead peer is known after half a minute.
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}

OPTIONS: tuple[tuple[int, int, int], ...] = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in KEEPALIVE.items()),
)


def make(address: tuple[Any, ...]) -> socket.socket:
    """A socket with no-delay and keep-alive for one entry of `getaddrinfo`."""
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    try:
        for option in OPTIONS:
            sock.setsockopt(*option)
    except BaseException:
        sock.close()
        raise
    return sock


def proxy_of(url: str | None) -> tuple[str | None, str | None]:
    """(the proxy's URL without credentials, its Proxy-Authorization). Raises `ValueError`."""
    if url is None:
        return None, None
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("proxy: http://[user:password@]host:port is what is understood")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    plain = f"http://{host}:{parts.port or 80}"
    if parts.username is None:
        return plain, None
    return plain, basic((unquote(parts.username), unquote(parts.password or "")))


class Names:
    """Addresses of hosts, remembered for `keep` seconds; for libraries that remember none."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._known: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}

    async def resolve(self, host: str, port: int) -> tuple[str, ...]:
        """Raises `OSError`."""
        now = time.monotonic()
        until, addresses = self._known.get((host, port), (0.0, ()))
        if now < until:
            return addresses
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        if self._keep > 0 and len(self._known) < 1000:
            self._known[host, port] = now + self._keep, addresses
        return addresses

    def forget(self, host: str, port: int) -> None:
        """None of its addresses works: ask again next time."""
        self._known.pop((host, port), None)
