"""A venue in one program, without the engine: its listing, a depth snapshot, then what its stream says.

python examples/public_exchange.py binance_spot BTC/USDT --channels top,trades --messages 20
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tickring import NotOffered, TransportFactory
from workers.contract.errors import WorkerError


async def follow(options: argparse.Namespace) -> None:
    urls = {"ws_url": options.ws_url, "rest_url": options.rest_url}
    exchange = TransportFactory.create_public_exchange(
        options.exchange, [options.symbol], **{key: url for key, url in urls.items() if url}
    )
    async with exchange:
        [instrument] = await exchange.instruments()
        print(
            f"{instrument.symbol}: decimals {instrument.price_exp} of prices, {instrument.size_exp} of sizes"
        )
        try:
            book = await exchange.order_book(options.symbol, limit=5)
            print(f"bid {book.bids[0][0]}, ask {book.asks[0][0]}, update {book.update_id}")
        except NotOffered as error:
            print(error)
        left = options.messages
        async for message in exchange.stream(options.channels.split(",")):
            print(message)  # a Top, BookUpdate, Trade ...; an Interruption where some may be missing
            left -= 1
            if not left:
                return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exchange")
    parser.add_argument("symbol")
    parser.add_argument("--channels", default="top,trades")
    parser.add_argument("--messages", type=int, default=20, help="then it ends; 0: never")
    parser.add_argument("--ws-url", help="instead of the venue's own")
    parser.add_argument("--rest-url", help="instead of the venue's own")
    try:
        asyncio.run(follow(parser.parse_args()))
    except (WorkerError, ValueError) as error:
        print(f"public_exchange: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
