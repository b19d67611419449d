"""What every client has by having `request` and `close`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

Answer = TypeVar("Answer")


class Verbs(ABC, Generic[Answer]):
    """A method for each HTTP method, and the async context manager that closes."""

    @abstractmethod
    async def request(self, *args: Any, **options: Any) -> Answer: ...

    @abstractmethod
    async def close(self, grace: float = 1.0) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def get(self, url: str, **options: Any) -> Answer:
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> Answer:
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> Answer:
        return await self.request("PUT", url, **options)

    async def delete(self, url: str, **options: Any) -> Answer:
        return await self.request("DELETE", url, **options)

    async def head(self, url: str, **options: Any) -> Answer:
        return await self.request("HEAD", url, **options)
