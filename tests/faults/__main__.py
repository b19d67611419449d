"""The proxy from a shell: ``python -m tests.faults --to 127.0.0.1:9000 latency:seconds=0.05,direction=down``.

Prints its address as one JSON line, then reads one order a line (``cut``, ``half:text=bookTicker,how=fin``;
``clear``; ``state``) and answers each with one JSON line, until its input ends or its time is over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from tests.faults.faults import FaultError, parse
from tests.faults.proxy import FaultProxy


def _state(proxy: FaultProxy) -> dict[str, object]:
    return {
        "accepted": proxy.accepted,
        "open": {ordinal: repr(link) for ordinal, link in proxy.links.items()},
        "used": proxy.used,
    }


def _obey(proxy: FaultProxy, words: str) -> dict[str, object]:
    if words == "clear":
        proxy.clear()
    elif words != "state":
        try:
            return {"order": repr(proxy.order(parse(words)).fault)}
        except FaultError as error:
            return {"error": str(error)}
    return _state(proxy)


async def _run(options: argparse.Namespace) -> int:
    host, _, port = options.to.rpartition(":")
    proxy = FaultProxy(
        (host or "127.0.0.1", int(port)), seed=options.seed, port=options.port, limit=options.seconds
    )
    async with proxy, asyncio.timeout(options.seconds + 5.0):
        print(json.dumps({"host": proxy.host, "port": proxy.port}), flush=True)
        for words in options.order:
            print(json.dumps(_obey(proxy, words)), flush=True)
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while not proxy.overdue:
            try:
                async with asyncio.timeout(0.5):
                    line = await lines.readline()
            except TimeoutError:
                continue
            if not line:
                break
            print(json.dumps(_obey(proxy, line.decode().strip())), flush=True)
        print(json.dumps(_state(proxy)), flush=True)
    return 0


def main() -> int:
    """Exit code 2: an order that makes no sense."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--to", required=True, help="host:port of the server")
    parser.add_argument("--port", type=int, default=0, help="ours; 0 picks one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600.0, help="until it ends by itself")
    parser.add_argument("order", nargs="*", help="kind:key=value,key=value")
    options = parser.parse_args()
    try:
        for words in options.order:
            parse(words)
    except FaultError as error:
        print(error, file=sys.stderr)
        return 2
    return asyncio.run(_run(options))


if __name__ == "__main__":
    sys.exit(main())
