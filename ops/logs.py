"""Logs of the process: structlog over the standard library, on standard error, without secrets.

Log lines of libraries go the same way, so that they too are JSON where JSON is asked for, and redacted.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from ops.redaction import Redactor

Format = Literal["auto", "console", "json"]
NOISY = ("aiokafka", "aiohttp.access", "matplotlib", "PIL", "libav")


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
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
