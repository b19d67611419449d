"""Opens the socket of a WebSocket connection: the one place where picows is asked to connect."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any, cast

from picows import (
    WSError,
    WSHandshakeError,
    WSInvalidURL,
    WSListener,
    WSParsedURL,
    WSUpgradeRequest,
    WSUpgradeResponse,
    ws_connect,
)

from workers.contract.errors import ConnectionFailed, ConnectTimeout, HandshakeRefused
from workers.contract.headers import retry_after
from workers.contract.protocols import ConnectionContext, Transport
from workers.contract.tls import client_context

READ_BUFFER = 131_072  # bytes: large enough that a burst is one socket read, small enough for the L2 cache
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # seconds, seconds, probes


async def open_connection(
    context: ConnectionContext, listener: WSListener, *, ssl_context: ssl.SSLContext | None = None
) -> Transport:
    """Resolve, connect, TLS, WebSocket handshake: all within `context.connect_timeout`.

    `ssl_context` is used as it is for wss URLs; without it one is made of `context.tls`.

    Raises `ConnectTimeout`, `HandshakeRefused` (with the HTTP status) or `ConnectionFailed`. However it
    ends, no socket is left behind: picows alone would keep the socket of a cancelled handshake.
    """
    opened: list[socket.socket] = []
    if ssl_context is None and context.url[:4].lower() == "wss:":
        ssl_context = client_context(context.tls)

    async def dial(url: WSParsedURL) -> socket.socket:
        opened.append(await _dial(url.host, url.port))
        return opened[-1]

    def made(request: WSUpgradeRequest, response: WSUpgradeResponse) -> WSListener:
        return listener

    try:
        async with asyncio.timeout(context.connect_timeout):
            transport, got = await ws_connect(
                made,
                context.url,
                ssl_context=ssl_context,
                # aiofastnet reads through `add_reader`. libuv reports a reset once and polls no more: when
                # data came with it, that one read gets the data, and the end is not seen before our next
                # ping. It also does the TLS handshake below Python's ssl module, where no pin is checked.
                use_aiofastnet=False,
                disconnect_on_exception=False,  # a fault of ours is counted, no reason to leave
                websocket_handshake_timeout=context.connect_timeout + 1.0,
                enable_auto_ping=False,
                enable_auto_pong=False,  # see workers/websocket/wire.pyx, rule 1
                max_frame_size=context.max_frame,
                extra_headers=dict(context.headers) or None,
                max_redirects=0,
                read_buffer_init_size=READ_BUFFER,
                socket_factory=dial,
            )
        # A server that closes during the handshake makes picows return, without a listener. (One that
        # closes right after it has told the listener why; that is for the manager to see.)
        if got is None:
            raise ConnectionFailed(f"{context.url}: the server closed the connection during the handshake")
        return cast(Transport, transport)
    except BaseException as error:
        _hang_up(opened)
        translated = _translate(context, error)
        if translated is None:
            raise
        raise translated from error


def _translate(context: ConnectionContext, error: BaseException) -> Exception | None:
    url = context.url
    if isinstance(error, TimeoutError):
        return ConnectTimeout(f"{url}: not connected within {context.connect_timeout:g} s")
    if isinstance(error, WSHandshakeError):
        response = error.response
        if response is None:
            return ConnectionFailed(f"{url}: the handshake failed: {error}")
        status = int(response.status)
        return HandshakeRefused(
            f"{url}: the server refused the handshake with HTTP {status}",
            status,
            retry_after(dict(response.headers)),
        )
    if isinstance(error, WSInvalidURL):
        return ConnectionFailed(f"{url}: not a WebSocket URL; ws:// or wss:// and a host are needed")
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", "") or error.reason or error.strerror or error
        return ConnectionFailed(f"{url}: TLS failed: {reason}")
    if isinstance(error, OSError | WSError):
        return ConnectionFailed(f"{url}: cannot connect: {error}")
    return None


async def _dial(host: str, port: int) -> socket.socket:
    """A connected socket with no-delay and keep-alive; every address of the name is tried in turn."""
    loop = asyncio.get_running_loop()
    last: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in KEEPALIVE.items():
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            await loop.sock_connect(sock, cast(Any, address))
            return sock
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
    raise last


def _hang_up(opened: list[socket.socket]) -> None:
    # asyncio's transports own what they were given: shut down, they see the end and close it. uvloop's count
    # themselves as users: closed here, the descriptor goes with the last of them, or now if there is none.
    owned_elsewhere = isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)
    for sock in opened:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        if not owned_elsewhere:
            sock.close()
