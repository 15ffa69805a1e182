import io
import json
import logging

import structlog
from pydantic import SecretStr

from patchline.ops.settings.secrets import SecretUrl, secret_values
from patchline.ops.telemetry.logs import NOISY, Format, configure, toggle_debug
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


def test_the_log_says_everything_and_then_as_little_as_before() -> None:
    """Each time a line says so, whatever the level; noisy libraries have to have something to warn of all the while."""
    out = io.StringIO()
    configure(level="warning", style="json", stream=out)
    log = structlog.get_logger("test")
    for expected in ("debug", "warning", "debug"):
        toggle_debug("warning")
        line = json.loads(out.getvalue().splitlines()[-1])
        assert (line["event"], line["now"]) == ("log level changed", expected)
        for level in ("debug", "info", "warning"):
            getattr(log, level)(f"said at {expected}", mine=level)
        logging.getLogger(NOISY[0]).info("much")
    said = [
        (line["event"], line["mine"]) for text in out.getvalue().splitlines() if (line := json.loads(text)).get("mine")
    ]
    all_of_it = [("said at debug", level) for level in ("debug", "info", "warning")]
    assert said == [*all_of_it, ("said at warning", "warning"), *all_of_it]
    assert "much" not in out.getvalue()
    configure(level="info", style="json", stream=io.StringIO())
