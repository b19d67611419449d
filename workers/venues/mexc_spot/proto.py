"""MEXC spot v3: its protobuf messages, for protobuf's own runtime. No generated code: a table of fields.

Numbers and names are the venue's (docs, "Websocket Market Streams", 2026-04; mexcdevelop/websocket-proto,
2026-06), for the public messages that a market-data feed may meet. A body that is not in the table is an
unknown field to the runtime, as any newer field is. Prices, quantities and versions are decimal *text*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

PACKAGE = "tickring.mexc_spot"
WRAPPER = "PushDataV3ApiWrapper"


class Field(NamedTuple):
    """`kind`: ``text``, ``int32``, ``int64`` or a message's name. `role`: ``repeated``, ``optional`` (an
    absent field differs from an empty one), or ``body`` (one of the wrapper's bodies)."""

    number: int
    kind: str = "text"
    role: str = ""


MESSAGES: Mapping[str, Mapping[str, Field]] = {
    "Level": {"price": Field(1), "quantity": Field(2)},
    "Deal": {
        "price": Field(1),
        "quantity": Field(2),
        "tradeType": Field(3, "int32"),  # 1: the taker bought, 2: sold
        "time": Field(4, "int64"),
        "tradeId": Field(5),
    },
    "AggreBookTicker": {
        "bidPrice": Field(1),
        "bidQuantity": Field(2),
        "askPrice": Field(3),
        "askQuantity": Field(4),
        "version": Field(5),
        "lastOrderCreateTime": Field(6, "int64"),
    },
    "AggreDepths": {
        "asks": Field(1, "Level", "repeated"),
        "bids": Field(2, "Level", "repeated"),
        "eventType": Field(3),
        "fromVersion": Field(4),
        "toVersion": Field(5),
        "lastOrderCreateTime": Field(6, "int64"),
    },
    "AggreDeals": {"deals": Field(1, "Deal", "repeated"), "eventType": Field(2)},
    "LimitDepths": {
        "asks": Field(1, "Level", "repeated"),
        "bids": Field(2, "Level", "repeated"),
        "eventType": Field(3),
        "version": Field(4),
        "lastOrderCreateTime": Field(5, "int64"),
    },
    "SpotKline": {
        "interval": Field(1),
        "windowStart": Field(2, "int64"),  # seconds
        "openingPrice": Field(3),
        "closingPrice": Field(4),
        "highestPrice": Field(5),
        "lowestPrice": Field(6),
        "volume": Field(7),  # base
        "amount": Field(8),  # quote
        "windowEnd": Field(9, "int64"),
    },
    "MiniTicker": {
        "symbol": Field(1),
        "price": Field(2),
        "rate": Field(3),
        "zonedRate": Field(4),
        "high": Field(5),
        "low": Field(6),
        "volume": Field(7),  # docs: "rolling turnover amount", quote
        "quantity": Field(8),  # docs: "rolling trading volume", base
        "lastCloseRate": Field(9),
        "lastCloseZonedRate": Field(10),
        "lastCloseHigh": Field(11),
        "lastCloseLow": Field(12),
    },
    WRAPPER: {
        "channel": Field(1),
        "symbol": Field(3, role="optional"),
        "symbolId": Field(4, role="optional"),
        "createTime": Field(5, "int64", "optional"),  # ms
        "sendTime": Field(6, "int64", "optional"),  # ms
        "publicLimitDepths": Field(303, "LimitDepths", "body"),
        "publicSpotKline": Field(308, "SpotKline", "body"),
        "publicMiniTicker": Field(309, "MiniTicker", "body"),
        "publicAggreDepths": Field(313, "AggreDepths", "body"),
        "publicAggreDeals": Field(314, "AggreDeals", "body"),
        "publicAggreBookTicker": Field(315, "AggreBookTicker", "body"),
    },
}

_Proto = descriptor_pb2.FieldDescriptorProto
_TYPES: Mapping[str, Any] = {
    "text": _Proto.TYPE_STRING,
    "int32": _Proto.TYPE_INT32,
    "int64": _Proto.TYPE_INT64,
}


def _describe(into: descriptor_pb2.DescriptorProto, fields: Mapping[str, Field]) -> None:
    if any(field.role == "body" for field in fields.values()):
        into.oneof_decl.add(name="body")
    for name, field in fields.items():
        made = into.field.add(name=name, json_name=name, number=field.number)
        made.label = _Proto.LABEL_REPEATED if field.role == "repeated" else _Proto.LABEL_OPTIONAL
        made.type = _TYPES.get(field.kind, _Proto.TYPE_MESSAGE)
        if field.kind not in _TYPES:
            made.type_name = f".{PACKAGE}.{field.kind}"
        if field.role == "body":
            made.oneof_index = 0
        elif field.role == "optional":  # in proto3: a oneof of its own, behind the real ones
            made.proto3_optional = True
            made.oneof_index = len(into.oneof_decl)
            into.oneof_decl.add(name=f"_{name}")


def _classes() -> Mapping[str, type[message.Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="mexc_spot.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        _describe(file.message_type.add(name=name), fields)
    pool = descriptor_pool.DescriptorPool()  # of its own, so that names cannot clash
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


CLASSES = _classes()
Wrapper: Any = CLASSES[WRAPPER]
"""The message that every binary frame is; its fields are the table's."""

DecodeError = message.DecodeError
