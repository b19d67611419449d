"""The answer of a venue's listing endpoint -> its entries, each decoded by itself, so that one entry that
cannot be decoded costs no other (`workers/venues/listing.py`, rule 1).

A listing is megabytes of JSON, and is read repeatedly in the event loop that receives market data. It is
therefore decoded in steps: first the envelope, with each entry as raw JSON, then `TURN` entries at a time;
between two steps the event loop runs what else is ready.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from workers.contract.errors import BadRequest, ParseError

TURN = 200  # entries that are decoded in one step: less than a millisecond

Entry = TypeVar("Entry", bound=msgspec.Struct)


class Unread(NamedTuple):
    """An entry that could not be decoded, or whose symbol could not be determined.

    Attributes:
        name: the venue's name of it; where it has none, the beginning of the entry's JSON.
        reason: what could not be decoded.
        words: all texts in it, and their parts between ``/ - : _``, by which a symbol may be recognised.
        named: whether `name` is the venue's.
    """

    name: str
    reason: str
    words: frozenset[str]
    named: bool = True


@dataclass(frozen=True)
class Entries(Generic[Entry]):
    """The entries of one listing.

    Attributes:
        read: (the venue's name of the entry, entry), in the order of the listing.
        unread: those that could not be decoded.
        refused: where the listing comes in several answers: why some of them are missing.
    """

    read: list[tuple[str, Entry]]
    unread: list[Unread]
    refused: list[str] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        """The decoded entries, without their names."""
        return [entry for _, entry in self.read]


class EntryReader(Generic[Entry]):
    """Decodes a listing: `ask` requests one and decodes it in steps; a call decodes a body at once, and where
    that fails each entry by itself.

    Args:
        envelope: the answer's type, generic in the type of its entries.
        entry: the type of an entry.
        at: the envelope's attribute with the entries, a list or a dict (whose keys are the entries' names);
            "": the answer itself is the list.
        name: the key of an entry under which its name is, where the entries are a list.
        strict: as in `msgspec.json.Decoder`.
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
        """The entries of an answer's body.

        Raises:
            msgspec.DecodeError: the body is not JSON, does not have the envelope's form, or none of its
                entries can be decoded (the venue has changed their form).
        """
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
        """Request a listing and decode it in steps.

        Args:
            get: `RestManager.get`.

        Raises:
            RestError: the request failed.
            ParseError: none of the entries can be decoded.
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
    """The `Unread` of an entry's JSON. Without a `name`, the text under `key` is its name, if there is
    one."""
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
    """The entries of a listing that comes in several answers. An answer that the venue refuses (`BadRequest`)
    costs only its own entries; the reason is in `Entries.refused`.

    Args:
        parts: each requests one answer.
        had: entries that have been read before.

    Raises:
        RestError: a request failed otherwise, and may succeed later; or all were refused.
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
