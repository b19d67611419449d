"""The engine's own log: one line an event on stderr, as JSON for machines or as text on a terminal.

What a line is about (feed, pid, ...) are fields, given as ``extra={"feed": name}``.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

FIELDS = ("instance", "feed", "pid", "code", "cpu", "restarts", "address", "seconds")


class JsonFormatter(logging.Formatter):
    """``{"time":"2026-11-21T01:30:00.123Z","level":"warning","logger":"engine","message":...,"feed":...}``"""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= dict(_fields(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """``01:30:00.123 warning binance_spot: killed by signal 9 (SIGKILL); restarted``"""

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(_fields(record))
        feed = fields.pop("feed", None)
        about = f"{feed}: " if feed else ""
        rest = "".join(f" {name}={value}" for name, value in fields.items())
        line = f"{_time(record)[11:23]} {record.levelname.lower():<7} {about}{record.getMessage()}{rest}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(level: str, style: str, stream: TextIO | None = None) -> bool:
    """Send the engine's loggers to `stream` (stderr). `style` is ``auto``, ``json`` or ``text``.

    Returns:
        Whether it is JSON now.
    """
    stream = sys.stderr if stream is None else stream
    text = style == "text" or (style == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    return not text


def _fields(record: logging.LogRecord) -> list[tuple[str, object]]:
    return [(name, getattr(record, name)) for name in FIELDS if getattr(record, name, None) is not None]


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
