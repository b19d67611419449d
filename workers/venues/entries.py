"""A venue's listing as it is answered -> its entries, each read by itself.

One entry that cannot be read is an entry that cannot be read, and not a listing without entries
(`workers/venues/listing.py`, rule 1).

A listing is megabytes, and is read again and again in the loop that receives market data. It is decoded in
turns: first what holds the entries, each of them left as it is, then `TURN` entries at a time, and between
two turns the loop does what is due.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from workers.contract.errors import BadRequest, ParseError

TURN = 200  # entries that are decoded before others have their turn: less than a millisecond

Entry = TypeVar("Entry", bound=msgspec.Struct)


class Unread(NamedTuple):
    """An entry that says no symbol.

    Attributes:
        name: the venue's; the beginning of the entry where it has none.
        reason: what of it cannot be read.
        words: all texts in it, and their parts between ``/ - : _``, by which a symbol may be recognised.
        named: whether `name` is the venue's.
    """

    name: str
    reason: str
    words: frozenset[str]
    named: bool = True


@dataclass(frozen=True)
class Entries(Generic[Entry]):
    """What one answer lists.

    Attributes:
        read: (the venue's name of it, entry).
        unread: those that could not be decoded.
        refused: why parts of the listing are not in it, where it comes in several answers.
    """

    read: list[tuple[str, Entry]]
    unread: list[Unread]
    refused: list[str] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        return [entry for _, entry in self.read]


class EntryReader(Generic[Entry]):
    """Decodes a listing: `ask` in turns; a call all at once, and where that fails each entry by itself.

    Args:
        envelope: the answer's type, generic in that of its entries.
        entry: that type.
        at: the envelope's attribute that holds them, a list or a dict (whose keys are the entries' names);
            "": the answer is the list.
        name: the key of an entry that has the venue's name of it, where they are a list.
        strict: as `msgspec.json.Decoder` has it.
    """

    def __init__(
        self, envelope: Any, entry: type[Entry], *, at: str = "", name: str = "", strict: bool = True
    ) -> None:
        self._whole = msgspec.json.Decoder(envelope[entry], strict=strict).decode
        self._apart = msgspec.json.Decoder(envelope[msgspec.Raw], strict=strict).decode
        self._one: Callable[[msgspec.Raw], Entry] = msgspec.json.Decoder(entry, strict=strict).decode
        self._at = at
        self._key = name
        fields = {each.encode_name: each.name for each in msgspec.structs.fields(entry)}
        self._attribute = fields.get(name, "")

    def __call__(self, body: bytes) -> Entries[Entry]:
        """Raises msgspec.DecodeError: the answer is no JSON, has not the envelope's form, or not one of its
        entries can be read: then their form has changed, which says nothing about any of them."""
        try:
            found = self._held(self._whole(body))
        except (msgspec.DecodeError, UnicodeDecodeError):
            held = self._split(body)
            entries = Entries[Entry]([], [])
            self._add(held.items() if isinstance(held, dict) else (("", raw) for raw in held), entries)
            if not entries.read:
                raise
            return entries
        if isinstance(found, dict):
            return Entries([*found.items()], [])
        return Entries([(getattr(entry, self._attribute), entry) for entry in found], [])

    async def ask(
        self, get: Callable[..., Awaitable[Any]], path: str, params: Mapping[str, Any] | None = None
    ) -> Entries[Entry]:
        """Asks for a listing and decodes it in turns.

        Args:
            get: of a `RestManager`.

        Raises:
            RestError: it did not come. ParseError: as of a call.
        """
        held = await get(path, params, decoder=self._split)
        items = [*held.items()] if isinstance(held, dict) else [("", raw) for raw in held]
        found = Entries[Entry]([], [])
        await asyncio.sleep(0)
        for start in range(0, len(items), TURN):
            self._add(items[start : start + TURN], found)
            await asyncio.sleep(0)
        if items and not found.read:
            raise ParseError(f"{path}: not one of {len(items)} entries can be read: {found.unread[0].reason}")
        return found

    def _split(self, body: bytes) -> dict[str, msgspec.Raw] | list[msgspec.Raw]:
        held: dict[str, msgspec.Raw] | list[msgspec.Raw] = self._held(self._apart(body))
        return held

    def _held(self, answer: Any) -> Any:
        return getattr(answer, self._at) if self._at else answer

    def _add(self, items: Iterable[tuple[str, msgspec.Raw]], found: Entries[Entry]) -> None:
        for key, raw in items:
            try:
                entry = self._one(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                found.unread.append(unread_entry(raw, key, self._key, str(error)))
            else:
                found.read.append((key or getattr(entry, self._attribute), entry))


def words(text: str) -> list[str]:
    """The parts of a name between its separators.

    >>> words("BTC-USD_UM-SWAP"), words("BTC/USDT:USDT-260925")
    (['BTC', 'USD', 'UM', 'SWAP'], ['BTC', 'USDT', 'USDT', '260925'])
    """
    return [part for part in re.split("[/:_-]", text) if part]


def unread_entry(raw: bytes | msgspec.Raw, name: str, key: str, reason: str) -> Unread:
    """An entry that says no symbol; without a `name` that at `key`, if it can be found."""
    text = bytes(raw).decode("utf-8", "replace")
    try:
        facts = msgspec.json.decode(text)
    except msgspec.DecodeError:
        facts = None
    texts = [each for each in facts.values() if isinstance(each, str)] if isinstance(facts, dict) else []
    if not name and isinstance(facts, dict) and isinstance(facts.get(key), str):
        name = facts[key]
    found = {part for each in (*texts, name) for part in (each, *words(each))}
    return Unread(name or text[:60], reason, frozenset(found), bool(name))


async def read_parts(
    parts: Iterable[Callable[[], Awaitable[Entries[Entry]]]], had: Entries[Entry] | None = None
) -> Entries[Entry]:
    """A listing that comes in several answers. One that the venue refuses for good costs its own entries
    alone: what was asked for of them is not listed.

    Args:
        parts: each asks for one answer.
        had: what has come already.

    Raises:
        RestError: an answer did not come, and may come another time; or all were refused.
    """
    refused: list[BadRequest] = []
    found = [] if had is None else [had]
    for part in parts:
        try:
            found.append(await part())
        except BadRequest as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return Entries(
        [each for one in found for each in one.read],
        [each for one in found for each in one.unread],
        [*(each for one in found for each in one.refused), *map(str, refused)],
    )
