"""What does it cost to decode one message?"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from bench.harness import Budget, Result, cores, in_turn, main, pinned, result
from bench.traffic import Traffic, load
from workers.venues.binance_spot._decode import Decoder

METHOD = """Question: ns per captured message (combined streams, as on the wire), decoded into numbers, one
core. Native: Decoder.bench_loop (C loop, int64 mantissas, symbol looked up, bounds checked). Peers, called
from a Python loop as a user would: msgspec into typed structs with floats (strict=False), the type known in
advance, which spares it the dispatch; json.loads and float() of every number. For `mix` the frames of all
kinds in the capture's order. Rounds in turn; the capture's path is in the detail; the binary adds no Python
call a message, and with one (decode_message makes tuples) it is for tests only."""


class _Top(msgspec.Struct):
    u: int
    s: str
    b: float
    B: float
    a: float
    A: float


class _Depth(msgspec.Struct):
    E: int
    s: str
    U: int
    u: int
    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class _Trade(msgspec.Struct):
    E: int
    s: str
    p: float
    q: float
    T: int
    m: bool
    a: int = 0


class _Frame(msgspec.Struct):
    stream: str


class _TopFrame(_Frame):
    data: _Top


class _DepthFrame(_Frame):
    data: _Depth


class _TradeFrame(_Frame):
    data: _Trade


TYPED: dict[str, Callable[[bytes], Any]] = {
    "bookTicker": msgspec.json.Decoder(_TopFrame, strict=False).decode,
    "depth": msgspec.json.Decoder(_DepthFrame, strict=False).decode,
    "aggTrade": msgspec.json.Decoder(_TradeFrame, strict=False).decode,
}


def plain(frame: bytes) -> tuple[float, ...] | tuple[list[tuple[float, float]], ...]:
    """json.loads and floats."""
    data = json.loads(frame)["data"]
    if "U" in data:
        return [(float(p), float(q)) for p, q in data["b"]], [(float(p), float(q)) for p, q in data["a"]]
    if "p" in data:
        return float(data["p"]), float(data["q"])
    return float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"])


def _decoder(traffic: Traffic) -> Decoder:
    decoder = Decoder()
    for i, one in enumerate(traffic.instruments):
        decoder.add_symbol(one.venue_symbol, i, one.price_exp, one.size_exp)
    return decoder


def _loop(calls: list[tuple[Callable[[bytes], Any], bytes]], repeat: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(repeat):
        for call, frame in calls:
            call(frame)
    return (time.perf_counter_ns() - began) / (repeat * len(calls))


def _native(decoder: Decoder, frames: list[bytes], n: int) -> float:
    return decoder.bench_loop(frames, n)[0] / n


def measure(budget: Budget) -> list[Result]:
    """Each kind, then the mix."""
    traffic = load()
    found = []
    kinds = [kind for kind in TYPED if traffic.of(kind)]
    for kind in (*kinds, "mix"):
        pairs = [
            (frame, name)
            for frame, name in zip(traffic.frames, traffic.kinds, strict=True)
            if name in TYPED and kind in (name, "mix")
        ]
        frames = [frame for frame, _ in pairs]
        decoder = _decoder(traffic)
        _, ok = decoder.bench_loop(frames, len(frames))
        calls = budget.scale(1_000_000, 5_000)
        typed = [(TYPED[name], frame) for frame, name in pairs]
        untyped: list[tuple[Callable[[bytes], Any], bytes]] = [(plain, frame) for frame, _ in pairs]
        repeat = max(1, calls // 10 // len(frames))
        contenders: dict[str, Callable[[], float]] = {
            "ours": partial(_native, decoder, frames, calls),
            "msgspec typed structs, floats": partial(_loop, typed, repeat),
            "json.loads + float()": partial(_loop, untyped, repeat),
        }
        with pinned(cores()[0]):
            rounds = in_turn(contenders, budget.rounds)
        mine = rounds.pop("ours")
        size = sum(map(len, frames)) / len(frames)
        for peer, theirs in rounds.items():
            found.append(
                result(
                    f"decode {kind}", "ns/msg", mine, peer, theirs,
                    frames=len(frames), bytes=round(size), taken_natively=ok / len(frames),
                    capture=traffic.path.name,
                )
            )  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(main("decode", METHOD, measure))
