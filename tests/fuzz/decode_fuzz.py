"""Coverage-guided fuzzing of every venue's native decoder against its reference (`make fuzz`).

    python tests/fuzz/decode_fuzz.py [VENUE ...]    TICKRING_FUZZ_SECONDS bounds the time of each (60)

The reference is pure Python and is instrumented, so the fuzzer follows its branches; the native decoder's
answer is held to it (`tests.conformance.malformed.Judge` says what is forbidden). A difference, or a crash,
ends the run with the input in `build/<venue>-crash-*`. Each venue is fuzzed in a process of its own. Exit
code 0 with a reason when atheris is not there: it has no wheel for every Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHILD = "--child"


def main() -> int:
    try:
        import atheris  # noqa: F401
    except ImportError as error:
        print(f"skipped: atheris is not installed for this Python ({error}); pip install '.[fuzz]'")
        return 0
    sys.path.insert(0, str(ROOT))
    from workers.venues import venue

    failed = False
    for feed in sys.argv[1:] or venue.names():
        print(f"{feed}:", flush=True)
        failed = (
            subprocess.run([sys.executable, __file__, CHILD, feed], check=False).returncode != 0 or failed
        )
    return 1 if failed else 0


def child(feed: str) -> None:
    """One venue; libFuzzer ends the process."""
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(
        include=[f"workers.venues.{feed}", "workers.venues.binance", "workers.decode"]
    ):
        from tests.conformance.fixture import load
        from tests.conformance.malformed import Judge, seeds
        from tests.conformance.mutations import TOKENS
        from workers.venues import venue

        fixture = load(feed)
        judge = Judge(fixture, venue.load(feed))

    def one(data: bytes) -> None:
        if (problem := judge(data)) is not None:
            raise AssertionError(problem)

    with tempfile.TemporaryDirectory(prefix="tickring-fuzz-") as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, seed in enumerate(seeds(fixture)):
            (corpus / f"{number}").write_bytes(seed)
        tokens = Path(folder, "tokens")
        tokens.write_text(
            "".join('"' + "".join(f"\\x{byte:02x}" for byte in each) + '"\n' for each in TOKENS)
        )
        (ROOT / "build").mkdir(exist_ok=True)
        seconds = os.environ.get("TICKRING_FUZZ_SECONDS", "60")
        atheris.Setup(
            [
                sys.argv[0],
                f"-max_total_time={seconds}",
                "-max_len=2048",
                "-timeout=5",
                f"-dict={tokens}",
                f"-artifact_prefix={ROOT / 'build'}/{feed}-",
                str(corpus),
            ],
            one,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(sys.argv[2])
    else:
        sys.exit(main())
