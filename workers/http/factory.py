"""Clients by name; a library is only loaded when it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar, cast

from workers.http.client import HttpClient, HttpClientOptions

Adapter = Callable[[HttpClientOptions], HttpClient]
DEFAULT = "aiohttp"
log = logging.getLogger(__name__)


class AdapterMissing(ImportError):
    """The library of an adapter is not installed."""


class HttpClientFactory:
    """Knows the adapters: ours, and what users register."""

    _adapters: ClassVar[dict[str, str | Adapter]] = {
        "aiohttp": "workers.http.aiohttp_adapter:AiohttpClient",
        "httpx": "workers.http.httpx_adapter:HttpxClient",
        "curl_cffi": "workers.http.curl_cffi_adapter:CurlClient",
    }

    @classmethod
    def register_adapter(cls, name: str, adapter: str | Adapter) -> None:
        """Make `name` mean `adapter`: a callable of the options, or "module:name" of one, loaded when it is
        first used."""
        if isinstance(adapter, str) and ":" not in adapter:
            raise ValueError(f"adapter {name!r}: 'module:class' expected, not {adapter!r}")
        cls._adapters[name] = adapter

    @classmethod
    def adapters(cls) -> tuple[str, ...]:
        return tuple(cls._adapters)

    @classmethod
    def create_client(
        cls, type: str = DEFAULT, options: HttpClientOptions | None = None, *, fallback: bool = False
    ) -> HttpClient:
        """A client made of the library `type`.

        Args:
            fallback: when that library is not installed, say so once and use the default instead.

        Raises `ValueError` for a name that nobody registered or options that the adapter cannot fulfil,
        `AdapterMissing` when the library is not installed.
        """
        try:
            adapter = cls._load(type)
        except AdapterMissing as error:
            if not fallback or type == DEFAULT:
                raise
            log.warning("%s; %s is used instead", error, DEFAULT)
            adapter = cls._load(DEFAULT)
        return adapter(HttpClientOptions() if options is None else options)

    @classmethod
    def _load(cls, name: str) -> Adapter:
        adapter = cls._adapters.get(name)
        if adapter is None:
            raise ValueError(f"no HTTP client {name!r}; there are: {', '.join(cls._adapters)}")
        if not isinstance(adapter, str):
            return adapter
        module, _, attribute = adapter.partition(":")
        try:
            found: Any = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            library = (error.name or module).partition(".")[0]
            if library in ("workers", module.partition(".")[0]):
                raise  # a fault of the adapter itself
            ours = name in ("httpx", "curl_cffi")
            hint, library = ("tickring[http]", name) if ours else (library, library)
            raise AdapterMissing(f"{library} is not installed: pip install '{hint}'") from error
        return cast(Adapter, found)
