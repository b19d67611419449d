"""The native listener: frame by frame without a socket, and over loopback against a byte-exact server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picows.picows import WSMsgType, _make_test_ws_frame

from workers.contract.errors import ConnectionFailed, ConnectTimeout, HandshakeRefused
from workers.contract.protocols import ConnectionContext, Transport
from workers.decode.sink import FrameSink
from workers.websocket.connect import open_connection
from workers.websocket.wire import CallbackSink, WireListener, percentile


def frame(payload: bytes, kind: WSMsgType = WSMsgType.TEXT, fin: bool = True) -> Any:
    return _make_test_ws_frame(kind, payload, fin, False)


def taking(got: list[tuple[bytes, int]], batch_end: Callable[[], object] | None = None) -> CallbackSink:
    def take(data: bytes, ns: int) -> bool:
        got.append((data, ns))
        return True

    return CallbackSink(take, batch_end)


# -- without a socket -----------------------------------------------------------------------------------
def test_a_consumed_frame_goes_no_further() -> None:
    got: list[tuple[bytes, int]] = []
    listener = WireListener(taking(got))
    listener.on_ws_frame(None, frame(b"x"))
    assert got[0][0] == b"x"
    assert got[0][1] == listener.last_recv_ns > 0
    assert (listener.messages, listener.consumed, listener.bytes, listener.pending) == (1, 1, 1, 0)


def test_what_the_sink_leaves_is_queued_and_the_wake_up_comes_once() -> None:
    woken: list[int] = []
    listener = WireListener(FrameSink(), on_pending=lambda: woken.append(1))
    for text in (b"a", b"b"):
        listener.on_ws_frame(None, frame(text))
    assert woken == [1]
    assert [data for data, _ in listener.drain(10)] == [b"a", b"b"]
    listener.on_ws_frame(None, frame(b"c"))
    assert woken == [1, 1]


def test_binary_and_text_are_both_messages() -> None:
    listener = WireListener()
    listener.on_ws_frame(None, frame(b"\xff\x00", WSMsgType.BINARY))
    listener.on_ws_frame(None, frame(b"t"))
    assert [data for data, _ in listener.drain(5)] == [b"\xff\x00", b"t"]


def test_the_queue_drops_beyond_its_bound_and_counts() -> None:
    listener = WireListener(max_pending=3)
    for n in range(10):
        listener.on_ws_frame(None, frame(b"%d" % n))
    assert (listener.pending, listener.dropped, listener.messages) == (3, 7, 10)


def test_control_sees_cold_messages_first() -> None:
    listener = WireListener(control=lambda data, ns: data == b"ack")
    listener.on_ws_frame(None, frame(b"ack"))
    listener.on_ws_frame(None, frame(b"other"))
    assert [data for data, _ in listener.drain(5)] == [b"other"]


def test_no_exception_leaves_the_listener_and_each_is_counted() -> None:
    def broken(*args: object) -> bool:
        raise RuntimeError("bug")

    listener = WireListener(
        CallbackSink(broken, broken), control=broken, on_pending=broken, on_closed=broken, on_pong=broken
    )
    listener.on_ws_frame(None, frame(b"x"))
    assert (listener.sink_errors, listener.consumed) == (1, 0)
    cold = WireListener(control=broken, on_pending=broken, on_closed=broken)
    cold.on_ws_frame(None, frame(b"x"))
    cold.on_ws_disconnected(None)
    assert cold.callback_errors == 3
    assert cold.pending == 1  # not lost through the fault of control


def test_the_batch_ends_once_even_if_its_last_frame_is_a_ping() -> None:
    """picows would swallow the ping, and with it `last_in_buffer`, if it answered by itself."""
    ends: list[int] = []
    listener = WireListener(CallbackSink(lambda data, ns: True, lambda: ends.append(1)))
    listener.on_ws_frame(None, frame(b"", WSMsgType.PING))
    assert ends == [1]
    assert (listener.pings, listener.messages) == (1, 0)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_fragments_are_put_together(parts: list[bytes]) -> None:
    listener = WireListener()
    for index, part in enumerate(parts):
        kind = WSMsgType.TEXT if index == 0 else WSMsgType.CONTINUATION
        listener.on_ws_frame(None, frame(part, kind, index == len(parts) - 1))
    assert [data for data, _ in listener.drain(5)] == [b"".join(parts)]


def test_a_ping_between_fragments_does_not_disturb_them() -> None:
    listener = WireListener()
    listener.on_ws_frame(None, frame(b"a", WSMsgType.TEXT, False))
    listener.on_ws_frame(None, frame(b"", WSMsgType.PING))
    listener.on_ws_frame(None, frame(b"b", WSMsgType.CONTINUATION))
    assert [data for data, _ in listener.drain(5)] == [b"ab"]


def test_fragments_beyond_the_bound_close_with_1009_and_are_counted() -> None:
    listener = WireListener(max_message=10)
    for index in range(4):
        listener.on_ws_frame(None, frame(b"xxxx", WSMsgType.CONTINUATION if index else WSMsgType.TEXT, False))
    assert (listener.oversized, listener.close_code, listener.pending) == (1, 1009, 0)


@pytest.mark.parametrize(
    "frames",
    [
        [(b"a", WSMsgType.CONTINUATION, True)],
        [(b"a", WSMsgType.TEXT, False), (b"b", WSMsgType.TEXT, True)],
    ],
)
def test_fragments_out_of_order_close_with_1002(frames: list[tuple[bytes, WSMsgType, bool]]) -> None:
    listener = WireListener()
    for payload, kind, fin in frames:
        listener.on_ws_frame(None, frame(payload, kind, fin))
    assert listener.close_code == 1002
    assert listener.pending == 0


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (b"\x03\xe9bye", 1001, "bye"), (struct.pack(">H", 4001) + b"\xff", 4001, "\ufffd")],
)
def test_the_close_code_is_recorded(payload: bytes, code: int, reason: str) -> None:
    closed: list[int] = []
    listener = WireListener(on_closed=lambda: closed.append(1))
    listener.on_ws_frame(None, frame(payload, WSMsgType.CLOSE))
    listener.on_ws_frame(None, frame(b"after the close"))
    listener.on_ws_disconnected(None)
    listener.on_ws_disconnected(None)
    assert (listener.close_code, listener.close_reason) == (code, reason)
    assert closed == [1]
    assert listener.pending == 0


def test_a_connection_lost_without_a_close_is_1006() -> None:
    listener = WireListener()
    listener.on_ws_disconnected(None)
    assert listener.close_code == 1006
    assert listener.is_closed


def test_a_detached_listener_takes_nothing() -> None:
    listener = WireListener()
    listener.detach()
    listener.on_ws_frame(None, frame(b"x"))
    assert listener.messages == 0


def test_another_sink_takes_over_from_the_next_frame_on() -> None:
    ends: list[str] = []
    old: list[bytes] = []
    new: list[tuple[bytes, int]] = []

    def take(data: bytes, ns: int) -> bool:
        old.append(data)
        if data == b"2":  # in the middle of a read
            listener.switch_sink(taking(new, lambda: ends.append("new")))
        return True

    listener = WireListener(CallbackSink(take, lambda: ends.append("old")))
    for data in (b"1", b"2", b"3"):
        listener.on_ws_frame(None, frame(data))
    assert (old, [data for data, _ in new]) == ([b"1", b"2"], [b"3"])
    assert ends == ["old", "old", "new", "new"]  # each is told of the end of its part
    listener.switch_sink(None)
    listener.on_ws_frame(None, frame(b"4"))
    assert [data for data, _ in listener.drain(5)] == [b"4"]


class Pinged:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send_ping(self, message: bytes) -> None:
        self.sent.append(message)


def test_only_the_answer_to_our_last_ping_measures() -> None:
    rtts: list[int] = []
    listener, peer = WireListener(on_pong=rtts.append), Pinged()
    listener.on_ws_frame(None, frame(b"unsolicited", WSMsgType.PONG))
    listener.ping(peer)
    listener.on_ws_frame(None, frame(b"another", WSMsgType.PONG))
    assert listener.awaiting_pong
    assert rtts == []
    listener.on_ws_frame(None, frame(peer.sent[0], WSMsgType.PONG))
    assert not listener.awaiting_pong
    assert 0 < rtts[0] < 10**9
    listener.on_ws_frame(None, frame(peer.sent[0], WSMsgType.PONG))
    assert len(rtts) == 1


@given(st.dictionaries(st.integers(0, 2**40), st.integers(1, 50), min_size=1), st.floats(0.01, 1.0))
def test_percentile_agrees_with_sorting(histogram: dict[int, int], share: float) -> None:
    values = sorted(value for value, count in histogram.items() for _ in range(count))
    got = percentile(histogram, share)
    assert sum(value <= got for value in values) >= share * len(values)
    assert sum(value < got for value in values) < share * len(values)


def test_times_are_measured_per_message_and_can_be_switched_off() -> None:
    timed, plain = WireListener(), WireListener(timed=False)
    for listener in (timed, plain):
        for _ in range(5):
            listener.on_ws_frame(None, frame(b"x"))
    assert sum(timed.histogram().values()) == 5
    assert timed.busy_ns > 0
    assert timed.percentile(1.0) >= timed.max_batch_ns
    assert plain.histogram() == {}


# -- over loopback --------------------------------------------------------------------------------------
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


def upgrade(request: bytes) -> bytes:
    key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    digest = base64.b64encode(hashlib.sha1(key.split(b":")[1].strip() + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
    )


def wire(payload: bytes, opcode: int = 1, fin: bool = True) -> bytes:
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + b"\x7e" + struct.pack(">H", len(payload)) + payload
    return head + b"\x7f" + struct.pack(">Q", len(payload)) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(second & 0x7F)
    return first & 0xF, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


class Server:
    """A server that does exactly what its script says with each connection."""

    def __init__(self, script: Script, *, handshake: bool = True) -> None:
        self._script = script
        self._handshake = handshake
        self.faults: list[BaseException] = []

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/stream"
        return self

    async def __aexit__(self, *details: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        assert not self.faults

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if self._handshake:
                writer.write(upgrade(request))
            await self._script(reader, writer, request)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except AssertionError as error:
            self.faults.append(error)
        finally:
            writer.close()


def run(coroutine: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await coroutine()

    asyncio.run(main())


async def gone(transport: Transport) -> None:
    with suppress(Exception):
        await transport.wait_disconnected()


def test_every_frame_of_one_write_comes_in_order_with_one_receive_time_per_read() -> None:
    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(b"".join(wire(b"%d" % n) for n in range(1000)))
            await writer.drain()

        got: list[tuple[bytes, int]] = []
        ends: list[int] = []
        sink = taking(got, lambda: ends.append(len(got)))
        listener = WireListener(sink)
        async with Server(script) as server:
            await gone(await open_connection(ConnectionContext(url=server.url), listener))
        assert [data for data, _ in got] == [b"%d" % n for n in range(1000)]
        assert len({ns for _, ns in got}) <= len(ends) == listener.batches
        assert ends[-1] == 1000
        assert listener.close_code == 1006

    run(main)


def test_server_ping_is_answered_with_the_same_payload_and_close_is_echoed() -> None:
    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(wire(b"1499827319559", 9))
            assert await read_frame(reader) == (10, b"1499827319559")
            writer.write(wire(struct.pack(">H", 1001) + b"maintenance", 8) + wire(b"after"))
            assert await read_frame(reader) == (8, struct.pack(">H", 1001))

        listener = WireListener()
        async with Server(script) as server:
            await gone(await open_connection(ConnectionContext(url=server.url), listener))
        assert (listener.close_code, listener.close_reason) == (1001, "maintenance")
        assert listener.pending == 0
        assert listener.pings == 1

    run(main)


@pytest.mark.parametrize("fragmented", [False, True])
def test_an_oversized_message_is_counted_and_closed_with_1009(fragmented: bool) -> None:
    async def main() -> None:
        close_code: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(wire(b"ok"))
            if fragmented:
                writer.write(wire(b"x" * 900, 1, False) + wire(b"x" * 900, 0))
            else:
                writer.write(wire(b"x" * 1001))
            opcode, payload = await read_frame(reader)
            assert opcode == 8
            close_code.set_result(payload[:2])
            await reader.read()

        listener = WireListener(max_message=1000)
        async with Server(script) as server:
            await gone(await open_connection(ConnectionContext(url=server.url, max_frame=1000), listener))
            assert await close_code == struct.pack(">H", 1009)
        assert listener.oversized == 1
        assert listener.close_code == 1009
        assert [data for data, _ in listener.drain(5)] == [b"ok"]

    run(main)


def test_the_connection_cut_at_every_byte_of_the_handshake_is_a_clear_error() -> None:
    """picows alone returns without a listener then, as if connected."""

    async def main() -> None:
        cuts = list(range(0, 120, 7))

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
            writer.write(upgrade(request)[: cuts.pop()])
            await writer.drain()

        async with Server(script, handshake=False) as server:
            context = ConnectionContext(url=server.url)
            while cuts:
                with pytest.raises(ConnectionFailed, match=r"handshake|connect"):
                    await open_connection(context, WireListener())

    run(main)


def test_a_refused_handshake_carries_its_status_and_retry_after() -> None:
    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")

        async with Server(script, handshake=False) as server:
            with pytest.raises(HandshakeRefused, match="HTTP 429") as caught:
                await open_connection(ConnectionContext(url=server.url), WireListener())
        assert (caught.value.status, caught.value.retry_after) == (429, 7.0)

    run(main)


def test_a_handshake_that_never_ends_times_out_and_leaves_no_socket() -> None:
    async def main() -> None:
        left = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
            await reader.read()  # ends when the client lets go
            left.set()

        async with Server(script, handshake=False) as server:
            with pytest.raises(ConnectTimeout, match=r"not connected within 0.1 s"):
                await open_connection(ConnectionContext(url=server.url, connect_timeout=0.1), WireListener())
            async with asyncio.timeout(0.5):  # picows' own limit would come a second later
                await left.wait()

    run(main)


def test_a_cancelled_handshake_leaves_no_socket_either() -> None:
    async def main() -> None:
        came, left = asyncio.Event(), asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
            came.set()
            await reader.read()
            left.set()

        async with Server(script, handshake=False) as server:
            task = asyncio.ensure_future(open_connection(ConnectionContext(url=server.url), WireListener()))
            await came.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(0.5):  # picows' own limit would come a second later
                await left.wait()

    run(main)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "nonsense"])
def test_a_url_that_is_none_is_named(url: str) -> None:
    async def main() -> None:
        with pytest.raises(ConnectionFailed, match="not a WebSocket URL"):
            await open_connection(ConnectionContext(url=url), WireListener())

    run(main)


def test_a_closed_port_is_refused_in_words() -> None:
    async def main() -> None:
        async with Server(lambda *_: asyncio.sleep(0)) as server:
            url = server.url
        with pytest.raises(ConnectionFailed, match="cannot connect"):
            await open_connection(ConnectionContext(url=url), WireListener())

    run(main)


def test_the_socket_has_no_delay_and_keep_alive() -> None:
    import socket

    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
            await reader.read()

        async with Server(script) as server:
            transport: Any = await open_connection(ConnectionContext(url=server.url), WireListener())
            sock = transport.underlying_transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            transport.disconnect()
            await gone(transport)

    run(main)
