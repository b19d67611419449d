"""`python -m workers.http.compliance NAME`: one line a row, exit code 1 when any fails."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from workers.http.compliance import ROWS, NotOffered, run_row
from workers.http.factory import HttpClientFactory


def main(name: str, only: str = "") -> int:
    if ":" in name:
        HttpClientFactory.register_adapter(name, name)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for row in ROWS:
            if only not in row:
                continue
            place = Path(folder) / row
            place.mkdir()
            try:
                asyncio.run(
                    run_row(row, lambda options: HttpClientFactory.create_client(name, options), place)
                )
            except NotOffered as error:
                print(f"-    {row}: {error}")
            except Exception as error:
                failed += 1
                print(f"FAIL {row}: {type(error).__name__}: {error}")
            else:
                print(f"ok   {row}")
    print(f"{name}: {failed} of {len(ROWS)} rows failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if not __debug__:
        sys.exit("python -O switches the suite's assertions off")
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m workers.http.compliance NAME|module:Class [ROW]")
    sys.exit(main(*sys.argv[1:]))
