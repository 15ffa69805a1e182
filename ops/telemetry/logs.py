"""Logs of the process: structlog over the standard library, on standard error, without secrets.

Log lines of libraries go the same way, so that they too are JSON where JSON is asked for, and redacted.
"""

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from patchline.stream.support.redaction import Redactor

Format = Literal["auto", "console", "json"]
NOISY = ("aiokafka", "uvicorn", "httpx", "httpcore", "matplotlib", "PIL", "libav", "py.warnings")
QUIET_S = 10.0
"""What a noisy library says again within this time is left out: a broker that is away is a hundred lines a second."""


def configure(
    *, level: str = "info", style: Format = "auto", redactor: Redactor | None = None, stream: TextIO | None = None
) -> None:
    """Set logging up for the whole process; `auto` writes for people on a terminal and JSON elsewhere."""
    target = stream or sys.stderr
    masks = redactor or Redactor()
    as_json = style == "json" or (style == "auto" and not target.isatty())

    def redact(_: Any, __: str, event: EventDict) -> EventDict:
        return {key: masks.value(value) for key, value in event.items()}

    shared: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    )
    render: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=32)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.addFilter(_Repeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)  # a damaged image is not worth lines that are no JSON
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class _Repeats(logging.Filter):
    """Lets the same message of a noisy library through once in `QUIET_S`; the same by its text before arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if not record.name.startswith(NOISY):
            return True
        key, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._last.get(key, -QUIET_S) < QUIET_S:
            return False
        if len(self._last) > 1000:  # a library that puts arguments into its text must not fill the memory
            self._last.clear()
        self._last[key] = now
        return True
