"""Two processes over iceoryx2's Python binding; run by that peer's own interpreter, prints one JSON object.

``iceoryx2_pair.py latency NEAR FAR N GAP_NS`` | ``iceoryx2_pair.py throughput NEAR FAR N 0``
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from typing import Any

import iceoryx2 as iox2  # type: ignore[import-not-found]


class Record(ctypes.Structure):
    """64 bytes."""

    _fields_ = [("stamp", ctypes.c_int64), ("words", ctypes.c_int64 * 7)]

    @staticmethod
    def type_name() -> str:
        return "BenchRecord"


def service(node: Any, name: str) -> Any:
    """Of 64-byte records, buffered, with a sender that waits rather than drops."""
    builder = node.service_builder(iox2.ServiceName.new(name)).publish_subscribe(Record)
    return builder.subscriber_max_buffer_size(4096).enable_safe_overflow(False).open_or_create()


def send(name: str, core: int, n: int, gap: int) -> None:
    """The sending process."""
    os.sched_setaffinity(0, {core})
    node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
    builder = service(node, name).publisher_builder()
    publisher = builder.backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered).create()
    time.sleep(0.3)
    clock = time.monotonic_ns
    due = clock()
    record = Record()
    for _ in range(n):
        if gap:
            due += gap
            while clock() < due:
                pass
        record.stamp = clock()
        publisher.loan_uninit().write_payload(record).send()
    time.sleep(0.5)
    del publisher, builder, node  # its files go with them


def main() -> None:
    """Both processes."""
    near, far, n, gap = (int(a) for a in sys.argv[2:6])
    iox2.set_log_level(iox2.LogLevel.Error)
    name = f"tickring-bench-{os.getpid()}"
    child = os.fork()
    if child == 0:
        try:
            send(name, far, n, gap)
        finally:
            os._exit(0)
    os.sched_setaffinity(0, {near})
    node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
    subscriber = service(node, name).subscriber_builder().create()
    clock = time.monotonic_ns
    samples, got, first, last = [], 0, 0, 0
    limit = clock() + 20_000_000_000
    while got < n:
        sample = subscriber.receive()
        if sample is None:
            if clock() > limit or (got and clock() - last > 2_000_000_000):
                break
            continue
        last = clock()
        first = first or last
        got += 1
        if gap:
            samples.append(last - sample.payload().contents.stamp)
        sample.delete()
    print(json.dumps({"samples": samples, "got": got, "sent": n, "seconds": (last - first) * 1e-9}))
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()
