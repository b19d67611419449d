"""What the peers' programs share: a job from a file, whether it can be done, then a rate for each line.

``<peer>_frames.py JOB``; JOB is the JSON that `bench/venues.py` writes. The first line out is ``{}`` or
``{"absent": why}``; each line in is a number of passes, each line out the frames a second over them. Plain
Python of the standard library, for the peer's own interpreter. In a folder of their own, because a program's
folder comes first in its path, and `bench/` has an `http.py`.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any


def read() -> dict[str, Any]:
    """The job; frames and snapshots as bytes or [symbol, id, bids, asks]."""
    with open(sys.argv[1]) as file:
        job: dict[str, Any] = json.load(file)
    job["frames"] = [base64.b64decode(each) for each in job["frames"]]
    job["begin"] = [base64.b64decode(each) if isinstance(each, str) else each for each in job["begin"]]
    return job


def say(word: object) -> None:
    """One line out."""
    print(json.dumps(word), flush=True)


def absent(why: str) -> int:
    """It cannot be done."""
    say({"absent": why})
    return 0


async def serve(
    job: dict[str, Any], begin: Callable[[], Awaitable[None]], each: Callable[[bytes], Awaitable[object]]
) -> None:
    """`begin` makes all books anew; `each` takes a frame."""
    await begin()
    for frame in job["frames"]:
        await each(frame)
    say({})
    for line in sys.stdin:
        spent = 0.0
        for _ in range(int(line)):
            await begin()
            began = time.perf_counter()
            for frame in job["frames"]:
                await each(frame)
            spent += time.perf_counter() - began
        say(int(line) * len(job["frames"]) / spent)
