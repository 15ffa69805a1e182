"""Logs of the process: structlog over the standard library, on standard error or in a file, without secrets.

Log lines of libraries go the same way, so that they too are JSON where JSON is asked for, and redacted. What others
named is bounded in length, and holds nothing that a terminal obeys.
"""

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor

from patchline.ops.errors import OpsError
from patchline.stream.support.line_file import LineFile
from patchline.stream.support.printable import one_line, several_lines
from patchline.stream.support.redaction import Redactor

Format = Literal["auto", "console", "json"]
_TRACES = ("exception", "stack")
NOISY = ("aiokafka", "uvicorn", "httpx", "httpcore", "matplotlib", "PIL", "libav", "py.warnings", "watchfiles")
MAX_VALUE_CHARACTERS = 2_000
MAX_TRACE_CHARACTERS = 20_000
"""The longest text in a field of a line, and the longest traceback."""
QUIET_S = 10.0
"""What a noisy library says again within this time is left out: a broker that is away is a hundred lines a second."""


def configure(
    *,
    level: str = "info",
    style: Format = "auto",
    redactor: Redactor | None = None,
    stream: TextIO | None = None,
    file: Path | None = None,
) -> None:
    """Set logging up for the whole process.

    Args:
        level: the least that is written.
        style: `auto` writes for people on a terminal and JSON elsewhere.
        redactor: masks the secrets that it knows.
        stream: where lines go; None: standard error.
        file: where they go instead.

    Raises:
        OpsError: the file cannot be written.
    """
    target = stream or sys.stderr
    masks = redactor or Redactor()
    on_terminal = file is None and target.isatty()
    as_json = style == "json" or (style == "auto" and not on_terminal)

    def redact(_: Any, __: str, event: EventDict) -> EventDict:
        """Masked and bounded, whatever is in the line: records of others take tens of MiB in any field."""
        return {
            key: masks.value(value, MAX_TRACE_CHARACTERS if key in _TRACES else MAX_VALUE_CHARACTERS)
            for key, value in event.items()
        }

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
        else structlog.dev.ConsoleRenderer(colors=on_terminal, pad_event_to=32)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target) if file is None else _FileHandler(file)
    handler.addFilter(_Repeats())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(() if as_json else (_as_text,)),
                render,
            ],
        )
    )
    root = logging.getLogger()
    for former in root.handlers:
        if isinstance(former, _FileHandler):
            former.close()
    root.handlers[:] = [handler]
    set_level(level)
    logging.captureWarnings(True)  # a damaged image is not worth lines that are no JSON


def set_level(level: str) -> None:
    """Write lines of this level and above from now on; libraries that say much have to have something to warn of."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def reopen() -> None:
    """Go on in a new log file at once where the old one was renamed or removed; each line looks for it, too."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _FileHandler):
            handler.follow()


def _as_text(_: Any, __: str, event: EventDict) -> EventDict:
    """Text for people: nothing in it moves the cursor, colours, or begins a line of its own; tracebacks keep theirs."""
    return {
        key: several_lines(value) if key in _TRACES and isinstance(value, str) else _shown(value)
        for key, value in event.items()
    }


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else str(value)
    seen = one_line(text)
    return value if seen == text else seen


class _FileHandler(logging.Handler):
    """Appends lines to a file that may be rotated; where it cannot be written they go to standard error."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = LineFile(path)
        try:
            self._file.open()
        except OSError as error:
            raise OpsError(f"log.file: {path} cannot be opened to append: {error.strerror or error}") from error

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            line = self.format(record) + "\n"
        except Exception:  # as every handler of the library: a line that cannot be made ends nothing
            self.handleError(record)
            return
        try:
            self._file.append(line.encode("utf-8", "backslashreplace"))
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                sys.stderr.write(line)

    def follow(self) -> None:
        """Go on in a new file where the old one no longer has its name."""
        with self.lock or nullcontext(), suppress(OSError):
            self._file.follow()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def toggle_debug(level: str) -> None:
    """Let the log say everything, or as little as `level` again; a line says which, at any level."""
    chosen = level if logging.getLogger().level == logging.DEBUG else "debug"
    set_level("info")
    structlog.get_logger("patchline").info("log level changed", now=chosen)
    set_level(chosen)


class _Repeats(logging.Filter):
    """Lets the same message of a noisy library through once in `QUIET_S`; the same by its text before arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if not record.name.startswith(NOISY):
            return True
        key, now = (record.name, str(record.msg)[:200]), time.monotonic()
        if now - self._last.get(key, -QUIET_S) < QUIET_S:
            return False
        if len(self._last) > 1000:  # a library that puts arguments into its text must not fill the memory
            self._last.clear()
        self._last[key] = now
        return True
