import io
import json
import logging
import time

import structlog
from pydantic import SecretStr

from patchline.ops.settings.secrets import SecretUrl, secret_values
from patchline.ops.telemetry.logs import Format, configure
from patchline.stream.support.redaction import Redactor

STYLES: tuple[Format, ...] = ("json", "console")


def test_logs_show_no_secret() -> None:
    """A secret in an event, a field, a nested value, an exception or a library's line is masked in every format."""
    redactor = Redactor()
    for secret in (SecretStr("hunter2-hunter2"), SecretUrl("rtsp://admin:p%40ss-w0rd@cam/1")):
        redactor.know(secret_values(secret))
    for style in STYLES:
        out = io.StringIO()
        configure(style=style, redactor=redactor, stream=out)
        log = structlog.get_logger("test")
        log.info("password hunter2-hunter2", url="rtsp://admin:p%40ss-w0rd@cam/1", deep={"a": ["p@ss-w0rd"]})
        logging.getLogger("library").warning("login %s failed", "hunter2-hunter2")
        try:
            raise ValueError("cannot open rtsp://x:secret9@cam")
        except ValueError:
            log.exception("failed")
        text = out.getvalue()
        assert "cam/1" in text
        assert "failed" in text
        for hidden in ("hunter2-hunter2", "p%40ss-w0rd", "p@ss-w0rd", "secret9"):
            assert hidden not in text, (style, hidden, text)
        if style == "json":
            assert all(json.loads(line)["level"] for line in text.splitlines())


def test_a_line_is_short_and_written_at_once_however_long_what_it_says() -> None:
    """Megabytes from outside are a few thousand characters in the log, in thousandths of a second."""
    redactor = Redactor()
    redactor.know(["hunter2-hunter2"])
    for style in STYLES:
        out = io.StringIO()
        configure(style=style, redactor=redactor, stream=out)
        began_s = time.thread_time()
        for text in ("x" * 10**6, "http://" * 10**5, "hunter2-hunter2" * 10**5, "password=" * 10**5):
            structlog.get_logger("test").warning("alarm acknowledged", operator=text, more=[text] * 3)
        assert time.thread_time() - began_s < 2
        assert max(map(len, out.getvalue().splitlines())) < 40_000
        assert "hunter2" not in out.getvalue()
