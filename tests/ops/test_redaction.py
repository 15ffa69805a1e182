"""Credentials stay out of everything that is written."""

import io
import json
import logging

import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from patchline.ops.redaction import Redactor, SecretUrl, redact_text, redact_url
from patchline.ops.telemetry.logs import configure

word = st.text(st.characters(min_codepoint=48, max_codepoint=122, exclude_characters=":;<=>?@[\\]^_`"), min_size=4)


@given(word, word, word)
def test_urls_lose_their_login(user: str, password: str, rest: str) -> None:
    """User and password of any URL are gone from it and from text around it; host and path stay."""
    url = f"rtsp://{user}-u:{password}-p@camera.example/{rest}"
    for shown in (
        redact_url(url),
        redact_text(f"cannot open {url}, trying again"),
        str(SecretUrl(url)),
        repr(SecretUrl(url)),
    ):
        assert f"{user}-u" not in shown
        assert f"{password}-p" not in shown
        assert f"camera.example/{rest}" in shown


def test_logins_in_paths_and_queries_are_masked() -> None:
    """Some cameras take the login as fields of the address."""
    for url in ("rtsp://h/user=admin&password=1234&channel=1", "rtsp://h/1?user=admin&pwd=1234"):
        assert "1234" not in redact_text(url)
        assert "admin" not in redact_text(url)


def test_logs_show_no_secret() -> None:
    """A secret in an event, a field, a nested value, an exception or a library's line is masked in every format."""
    redactor = Redactor()
    redactor.know([SecretStr("hunter2-hunter2"), SecretUrl("rtsp://admin:p%40ss-w0rd@cam/1")])
    for style in ("json", "console"):
        out = io.StringIO()
        configure(style=style, redactor=redactor, stream=out)  # type: ignore[arg-type]
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
        for secret in ("hunter2-hunter2", "p%40ss-w0rd", "p@ss-w0rd", "secret9"):
            assert secret not in text, (style, secret, text)
        if style == "json":
            assert all(json.loads(line)["level"] for line in text.splitlines())
