import io
import json
import logging
import sys
import time
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from patchline.ops.errors import OpsError
from patchline.ops.settings.secrets import SecretUrl, secret_values
from patchline.ops.telemetry.logs import (
    MAX_TRACE_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    NOISY,
    Format,
    configure,
    reopen,
    toggle_debug,
)
from patchline.stream.support.redaction import MOST_ENTRIES, Redactor

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


HOSTILE = "line-1\x1b[2J\nline-2 \x9b31m\u202eok"


@pytest.mark.parametrize("style", STYLES)
def test_names_reach_no_terminal_as_controls(style: Format) -> None:
    """In an event, a field, a list, a library's line or a traceback; each event is one line, but for its traceback."""
    out = io.StringIO()
    configure(style=style, stream=out)
    log = structlog.get_logger("test")
    log.info(HOSTILE, camera=HOSTILE, cameras=[HOSTILE], error=ValueError(HOSTILE))
    logging.getLogger("library").warning("camera %s", HOSTILE)
    text = out.getvalue()
    assert len(text.splitlines()) == 2
    assert all(letter == "\n" or letter.isprintable() for letter in text)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("failed")
    assert not {"\x1b", "\x9b", "\u202e"} & set(out.getvalue())
    assert "line-2" in out.getvalue()


@pytest.mark.parametrize("style", STYLES)
def test_a_line_is_bounded_whatever_is_in_it(style: Format) -> None:
    """Records of others take tens of MiB in any field; what was left out is counted."""
    out = io.StringIO()
    configure(style=style, stream=out)
    long = "x" * 50_000
    log = structlog.get_logger("test")
    log.warning(
        long, operator=long, names=[long] * 1000, by={str(n): long for n in range(1000)}, error=ValueError(long)
    )
    logging.getLogger("library").warning("said %s", long)
    one, other = out.getvalue().splitlines()
    assert len(one) < 2 * MOST_ENTRIES * (MAX_VALUE_CHARACTERS + 100) + 3 * (MAX_VALUE_CHARACTERS + 100)
    assert len(other) < MAX_VALUE_CHARACTERS + 500
    assert "characters or more left out" in one
    try:
        raise ValueError(long * 10)
    except ValueError:
        log.exception("failed")
    assert len(out.getvalue().splitlines()[2]) < 2 * MAX_TRACE_CHARACTERS + 1000


def test_a_log_file_is_left_for_a_new_one_where_it_was_rotated(tmp_path: Path) -> None:
    """At the next line, or at once by `reopen`; lines are JSON, as no terminal shows them."""
    file = tmp_path / "log"
    configure(file=file)
    log = structlog.get_logger("test")
    log.info("first", camera=HOSTILE)
    file.rename(tmp_path / "log.1")
    log.info("second")
    file.rename(tmp_path / "log.2")
    reopen()
    assert file.read_text() == ""
    log.info("third")
    configure(stream=io.StringIO())
    log.info("elsewhere")
    events = [
        [json.loads(line)["event"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("log.1", "log.2", "log")
    ]
    assert events == [["first"], ["second"], ["third"]]


def test_a_log_file_that_cannot_be_written_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is not there at the start is an error; one that fails later gives its lines to standard error."""
    with pytest.raises(OpsError, match=r"log\.file: .*nowhere/log cannot be opened to append: No such file"):
        configure(file=tmp_path / "nowhere" / "log")
    folder = tmp_path / "folder"
    folder.mkdir()
    configure(file=folder / "log")
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    (folder / "log").unlink()
    folder.rmdir()
    structlog.get_logger("test").info("still said")
    reopen()
    configure(stream=io.StringIO())
    assert json.loads(screen.getvalue())["event"] == "still said"


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
