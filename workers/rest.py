"""RestManager: one venue account's requests, from the permit to the typed answer.

Flow: session ensured -> rate-limit permit -> request prepared -> signed if required -> executed, retried
within one deadline -> errors classified -> permit released -> metrics.

Replay classes decide what may be repeated: SAFE and BY_CLIENT_ID follow the retry strategy, NEVER gets
exactly one attempt, and when it is not known what became of it, `OutcomeUnknown`. aiohttp would by itself
resend GET, PUT and DELETE on a stale connection: that is off for all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from workers.errors import (
    BadRequest,
    OutcomeUnknown,
    ParseError,
    RateLimited,
    RequestCancelled,
    RestConnectionError,
    RestError,
    RestTimeout,
    ServerError,
)
from workers.ratelimit import retry_after
from workers.rest_metrics import RestTally
from workers.strategies import (
    AuthenticationData,
    Failure,
    HTTPMethod,
    PreparedRequest,
    ReplayClass,
    RequestMetrics,
    RestStrategySet,
)

POOL = 100  # connections in all
DNS_CACHE = 300  # seconds
RENEW_AFTER = 3  # connection failures in a row until the session is made anew
Observer = Callable[[HTTPMethod, str, int, int], object]


class RestManager:
    """Async context manager; the session is made when it is first needed.

    Args:
        strategy_set: the venue, validated.
        observer: called for each attempt with (method, endpoint, status or 0, ns).
        clock, sleep: monotonic seconds and its sleep; wall: seconds since 1970, for signatures.
    """

    def __init__(
        self,
        strategy_set: RestStrategySet,
        *,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._strategies = strategy_set
        self._context = strategy_set.request_strategy.create_request_context()
        self._observer = observer
        self._clock = clock
        self._sleep = sleep
        self._wall = wall
        self._slots = asyncio.Semaphore(self._context.max_concurrent)
        self._session: aiohttp.ClientSession | None = None
        self._retired: list[aiohttp.ClientSession] = []
        self._failures = 0
        self._in_flight = 0
        self._closing: asyncio.Event = asyncio.Event()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._tally = RestTally(strategy_set.request_strategy.get_performance_targets())

    # -- the face ---------------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def get(self, endpoint: str, params: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return await self.request(HTTPMethod.GET, endpoint, params, **options)

    async def post(
        self, endpoint: str, params: Mapping[str, Any] | None = None, json_data: Any = None, **options: Any
    ) -> Any:
        return await self.request(HTTPMethod.POST, endpoint, params, json_data, **options)

    async def put(
        self, endpoint: str, params: Mapping[str, Any] | None = None, json_data: Any = None, **options: Any
    ) -> Any:
        return await self.request(HTTPMethod.PUT, endpoint, params, json_data, **options)

    async def delete(self, endpoint: str, params: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return await self.request(HTTPMethod.DELETE, endpoint, params, **options)

    async def request(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None = None,
        json_data: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        decoder: Callable[[bytes], Any] | None = None,
        raw: bool = False,
    ) -> Any:
        """The decoded JSON of the answer; `raw=True`: its bytes; `decoder`: what that makes of the bytes.

        Raises a `RestError` whose `action` says what to do next; nothing takes longer than the request
        context's `timeout`, waits for permits included.
        """
        if self._closing.is_set():
            raise RequestCancelled("the manager is closed", method=method.value, endpoint=endpoint)
        self._in_flight += 1
        self._idle.clear()
        call = _Call(method, endpoint, params, json_data, headers, self._clock() + self._context.timeout)
        try:
            body = await self._with_slot(call)
            value = body if raw else self._decode(call, body, decoder)
        except RestError as error:
            self._tally.failed(error, call.busy_ns)
            raise
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()
        self._tally.succeeded(call.busy_ns)
        return value

    def get_metrics(self) -> RequestMetrics:
        return self._tally.metrics()

    def get_performance_summary(self) -> dict[str, Any]:
        """Success rate, compliance (share under 50 ms; compliant from 95 %), targets."""
        return self._tally.summary()

    def reset_metrics(self) -> None:
        self._tally.reset()

    def replace_strategy(self, strategy_set: RestStrategySet) -> None:
        """Use another validated set from the next request on."""
        self._strategies = strategy_set
        self._context = strategy_set.request_strategy.create_request_context()
        self._slots = asyncio.Semaphore(self._context.max_concurrent)
        self._retire()

    async def close(self, grace: float | None = None) -> None:
        """Refuse new requests, end those that wait, let those in flight finish for `grace` seconds (the
        read timeout unless told), close the sessions. Idempotent."""
        self._closing.set()
        try:
            async with asyncio.timeout(self._context.read_timeout if grace is None else grace):
                await self._idle.wait()
        except TimeoutError:
            pass  # closing the session fails what is still in flight
        self._retire()
        retired, self._retired = self._retired, []
        for session in retired:
            await session.close()

    def __repr__(self) -> str:
        return (
            f"RestManager({self._context.base_url}, in_flight={self._in_flight}, "
            f"closed={self._closing.is_set()}, {self._strategies.rate_limit_strategy!r})"
        )

    # -- one request ------------------------------------------------------------------------------------
    async def _with_slot(self, call: _Call) -> bytes:
        slots = self._slots
        try:
            async with asyncio.timeout(max(0.0, call.deadline - self._clock())):
                await slots.acquire()
        except TimeoutError as error:
            raise RequestCancelled(
                f"{self._context.max_concurrent} requests were in flight all the time; nothing was sent",
                method=call.method.value,
                endpoint=call.endpoint,
            ) from error
        try:
            return await self._with_retries(call)
        finally:
            slots.release()

    async def _with_retries(self, call: _Call) -> bytes:
        strategies = self._strategies
        replay = strategies.request_strategy.replay_class(call.method, call.endpoint)
        while True:
            call.attempt += 1
            await self._permit(call)
            try:
                return await self._attempt(call, replay)
            except RestError as error:
                if replay is ReplayClass.NEVER or not strategies.retry_strategy.should_retry(
                    call.attempt, error
                ):
                    raise
                delay = strategies.retry_strategy.calculate_delay(call.attempt, error)
                if self._clock() + delay >= call.deadline:
                    raise  # the wait alone would pass the deadline
                await self._wait(call, delay)
            finally:
                strategies.rate_limit_strategy.release(call.method, call.endpoint, self._clock())

    async def _permit(self, call: _Call) -> None:
        limits = self._strategies.rate_limit_strategy
        while wait := limits.acquire(call.method, call.endpoint, call.params, self._clock()):
            if self._clock() + wait >= call.deadline:
                raise RateLimited(
                    f"no permit within {self._context.timeout:g} s: our own budget or a cooldown asks to "
                    f"wait {wait:.1f} s; nothing was sent",
                    method=call.method.value,
                    endpoint=call.endpoint,
                    attempt=call.attempt,
                    retry_after=wait,
                )
            await self._wait(call, wait)

    async def _wait(self, call: _Call, seconds: float) -> None:
        """Sleep, but no longer than until the manager is closed."""
        timer = asyncio.ensure_future(self._sleep(seconds))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({timer, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            closing.cancel()
        if self._closing.is_set():
            raise RequestCancelled(
                "the manager was closed while the request waited",
                method=call.method.value,
                endpoint=call.endpoint,
                attempt=call.attempt,
            )

    async def _attempt(self, call: _Call, replay: ReplayClass) -> bytes:
        url, headers, data = self._dress(call)
        left = call.deadline - self._clock()
        if left <= 0:
            raise RequestCancelled(
                "no time left to send the request", method=call.method.value, endpoint=call.endpoint
            )
        status = 0
        started = time.perf_counter_ns()
        try:
            session = self._ensure_session()
            async with session.request(
                call.method.value,
                url,
                headers=headers,
                data=data,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=left,
                    sock_connect=self._context.connection_timeout,
                    sock_read=self._context.read_timeout,
                ),
            ) as response:
                status = response.status
                body = await response.read()
                answer_headers = response.headers
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._no_answer(call, replay, error) from error
        finally:
            took = time.perf_counter_ns() - started
            call.busy_ns += took
            self._tally.attempts += 1
            if self._observer is not None:
                self._observer(call.method, call.endpoint, status, took)
        self._failures = 0
        self._strategies.rate_limit_strategy.observe(status, answer_headers, self._clock())
        if 200 <= status < 300:
            return body
        failure = Failure(
            method=call.method,
            endpoint=call.endpoint,
            attempt=call.attempt,
            status=status,
            headers=answer_headers,
            body=body,
            replay=replay,
        )
        handler = self._strategies.exception_handler_strategy
        raise default_error(failure) if handler is None else handler.to_error(failure)

    def _dress(self, call: _Call) -> tuple[URL, dict[str, str], bytes | None]:
        prepared: PreparedRequest = self._strategies.request_strategy.prepare_request(
            call.method, call.endpoint, call.params, call.headers
        )
        params = prepared.params
        headers = {**self._context.default_headers, **prepared.headers}
        data = None if call.json_data is None else msgspec.json.encode(call.json_data)
        auth = self._strategies.auth_strategy
        signed: AuthenticationData | None = None
        if auth is not None and auth.requires_auth(call.endpoint):
            signed = auth.sign_request(
                call.method, call.endpoint, params, call.json_data, int(self._wall() * 1000)
            )
            headers |= signed.headers
            params = params if signed.params is None else signed.params
            data = data if signed.data is None else signed.data
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        # What was signed is what is sent; else encoded here, once.
        query = urlencode(params, quote_via=quote) if signed is None or signed.query is None else signed.query
        url = self._context.base_url.rstrip("/") + prepared.path + ("?" + query if query else "")
        return URL(url, encoded=True), headers, data

    def _no_answer(self, call: _Call, replay: ReplayClass, error: BaseException) -> RestError:
        """aiohttp's failures, by whether the venue may have seen the request."""
        facts: dict[str, Any] = {
            "method": call.method.value,
            "endpoint": call.endpoint,
            "attempt": call.attempt,
        }
        # Anything about getting connected is before the first byte.
        unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        timeout = isinstance(error, TimeoutError)
        if not timeout or unsent:
            self._failures += 1
            if self._failures >= RENEW_AFTER:
                self._retire()
        if not unsent and replay is not ReplayClass.SAFE:
            return OutcomeUnknown(
                f"sent, but no answer: {_describe(error)}; ask the venue what became of it", **facts
            )
        if timeout:
            return RestTimeout(f"{self._context.base_url} did not answer in time", **facts)
        return RestConnectionError(f"{self._context.base_url}: {_describe(error)}", **facts)

    def _decode(self, call: _Call, body: bytes, decoder: Callable[[bytes], Any] | None) -> Any:
        try:
            return msgspec.json.decode(body) if decoder is None else decoder(body)
        except (msgspec.DecodeError, ValueError) as error:
            raise ParseError(
                f"the answer cannot be decoded: {error}",
                method=call.method.value,
                endpoint=call.endpoint,
                status=200,
                attempt=call.attempt,
            ) from error

    # -- sessions ---------------------------------------------------------------------------------------
    def _ensure_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector = aiohttp.TCPConnector(
                limit=POOL,
                limit_per_host=self._context.max_concurrent,
                ttl_dns_cache=DNS_CACHE,
                keepalive_timeout=self._context.keepalive_timeout,
            )
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(self._connected)
            self._session = aiohttp.ClientSession(
                connector=connector, trace_configs=[trace], auto_decompress=True, trust_env=False
            )
            # Its own resending of idempotent methods would be an attempt that nobody decided or counted.
            self._session._retry_connection = False
            self._tally.sessions += 1
        return self._session

    async def _connected(self, session: object, context: object, params: object) -> None:
        self._tally.connections += 1

    def _retire(self) -> None:
        """Use a fresh session from now on; the old one is closed when nothing is in flight any more."""
        self._failures = 0
        if self._session is not None:
            self._retired.append(self._session)
            self._session = None


class _Call:
    """One request on its way through the manager."""

    __slots__ = (
        "attempt",
        "busy_ns",
        "deadline",
        "endpoint",
        "headers",
        "json_data",
        "method",
        "params",
    )

    def __init__(
        self,
        method: HTTPMethod,
        endpoint: str,
        params: Mapping[str, Any] | None,
        json_data: Any,
        headers: Mapping[str, str] | None,
        deadline: float,
    ) -> None:
        self.method = method
        self.endpoint = endpoint
        self.params = params
        self.json_data = json_data
        self.headers = headers
        self.deadline = deadline
        self.attempt = 0
        self.busy_ns = 0


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


def default_error(failure: Failure) -> RestError:
    """HTTP status -> error, for venues without an `ExceptionHandlerStrategy`."""
    facts: dict[str, Any] = {
        "method": failure.method.value,
        "endpoint": failure.endpoint,
        "attempt": failure.attempt,
        "status": failure.status,
        "retry_after": retry_after(failure.headers),
    }
    said = failure.body[:200].decode("utf-8", "replace")
    if failure.status in (418, 429):
        return RateLimited(f"rate limited: {said}", **facts)
    if failure.status >= 500:
        if failure.replay is not ReplayClass.SAFE:
            return OutcomeUnknown(f"server error after sending: {said}", **facts)
        return ServerError(f"server error: {said}", **facts)
    return BadRequest(f"refused: {said}", **facts)
