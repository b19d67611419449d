"""Coverage-guided fuzzing of the native decoder against the reference (`make fuzz`).

    python tests/fuzz/decode_fuzz.py        TICKRING_FUZZ_SECONDS bounds the time (default 60)

The reference is pure Python and is instrumented, so the fuzzer follows its branches; the native decoder's
answer is held to it. A difference, or a crash, ends the run with the input in `build/crash-*`. Exit code 0
with a reason when atheris is not there: it has no wheel for every Python.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEEDS = [
    b'{"u":4,"s":"NKNUSDT","b":"0.35210000","B":"672.00000000","a":"0.35260000","A":"3199.00000000"}',
    b'{"e":"depthUpdate","E":1633998512068,"s":"NKNUSDT","U":4,"u":5,"b":[["0.35130000","6195.00000000"]],"a":[]}',
    b'{"e":"trade","E":1633998512068,"s":"BTCUSDT","t":1,"p":"57211.15000000","q":"0.03412000",'
    b'"T":1633998512068,"m":true,"M":true}',
    b'{"e":"aggTrade","E":1633998512068,"s":"NKNUSDT","a":1,"p":"0.35280000","q":"58.00000000","f":1,"l":2,'
    b'"T":1633998512068,"m":false,"M":true}',
    b'{"e":"24hrTicker","E":1633998512068,"s":"BTCUSDT","p":"-0.1","P":"-2.100","w":"1.0","x":"1.0","c":"1.00000000",'
    b'"Q":"1.0","b":"1.0","B":"1.0","a":"1.0","A":"1.0","o":"1.00000000","h":"1.00000000","l":"1.00000000",'
    b'"v":"1.00000000","q":"1.00000000","O":1633912112068,"C":1633998512068,"F":-1,"L":-1,"n":0}',
]
# Pieces that a blind mutation seldom makes.
TOKENS = [
    '"b":[["',
    '"],["',
    '"]],"a":[',
    '","A":"',
    "00000000",
    "9223372036854775807",
    ".99999999",
    "\\\\u0055",
]


def main() -> int:
    try:
        import atheris
    except ImportError as error:
        print(f"skipped: atheris is not installed for this Python ({error}); pip install '.[fuzz]'")
        return 0
    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=["workers.venues.binance_spot.parser", "workers.decode"]):
        from workers.decode.normal import Scale, disagreement
        from workers.venues.binance_spot._decode import Decoder
        from workers.venues.binance_spot.parser import BinanceSpotParser, normalise

    scales = {"NKNUSDT": Scale(0, 4, 0), "BTCUSDT": Scale(7, 2, 5)}
    decoder = Decoder()
    for symbol, scale in scales.items():
        decoder.add_symbol(symbol, *scale)
    parser = BinanceSpotParser({})

    def one(data: bytes) -> None:
        problem = disagreement(decoder.decode_messages(data), [normalise(parser.parse(data).data, scales)])
        if problem:
            raise AssertionError(problem)

    with tempfile.TemporaryDirectory(prefix="tickring-fuzz-") as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(SEEDS):
            (corpus / f"raw-{number}").write_bytes(seed)
            (corpus / f"combined-{number}").write_bytes(b'{"stream":"x@y","data":' + seed + b"}")
        tokens = Path(folder, "tokens")
        tokens.write_text("".join('"' + token.replace('"', "\\x22") + '"\n' for token in TOKENS))
        (ROOT / "build").mkdir(exist_ok=True)
        seconds = os.environ.get("TICKRING_FUZZ_SECONDS", "60")
        atheris.Setup(
            [
                sys.argv[0],
                f"-max_total_time={seconds}",
                "-max_len=2048",
                "-timeout=5",
                f"-dict={tokens}",
                f"-artifact_prefix={ROOT / 'build'}/",
                *sys.argv[1:],
                str(corpus),
            ],
            one,
        )
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
