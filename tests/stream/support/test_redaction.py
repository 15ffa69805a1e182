"""Credentials stay out of everything that is written."""

from hypothesis import given
from hypothesis import strategies as st

from patchline.stream.support.redaction import MASK, Redactor, redact_text, redact_url

word = st.text(st.characters(min_codepoint=48, max_codepoint=122, exclude_characters=":;<=>?@[\\]^_`"), min_size=4)


@given(word, word, word)
def test_urls_lose_their_login(user: str, password: str, rest: str) -> None:
    """User and password of any URL are gone from it and from text around it; host and path stay."""
    url = f"rtsp://{user}-u:{password}-p@camera.example/{rest}"
    for shown in (redact_url(url), redact_text(f"cannot open {url}, trying again")):
        assert f"{user}-u" not in shown
        assert f"{password}-p" not in shown
        assert f"camera.example/{rest}" in shown


def test_a_url_loses_its_whole_query() -> None:
    """What stands behind the question mark is masked as one, whatever it says; without one nothing is added."""
    assert redact_url("rtsp://admin:1234@cam/1?key=x&more=y") == "rtsp://***@cam/1?***"
    assert redact_url("s3://bucket/frame.png?") == "s3://bucket/frame.png?***"
    assert redact_url("s3://bucket/frame.png") == "s3://bucket/frame.png"
    assert redact_text("see https://host/a?page=2") == "see https://host/a?page=2"


def test_a_password_with_an_at_sign_is_masked_to_its_end() -> None:
    """The login ends at the last @ of the address; what is quoted beside it stays."""
    assert redact_text("cannot open 'redis://u:p@ss@host/0' and 'x@y'") == "cannot open 'redis://***@host/0' and 'x@y'"


def test_logins_in_paths_and_queries_are_masked() -> None:
    """Some cameras take the login as fields of the address."""
    for url in ("rtsp://h/user=admin&password=1234&channel=1", "rtsp://h/1?user=admin&pwd=1234"):
        assert "1234" not in redact_text(url)
        assert "admin" not in redact_text(url)
    assert redact_text("rtsp://h/USER=a&Api_Key=b&channel=1") == "rtsp://h/USER=***&Api_Key=***&channel=1"


def test_known_secrets_are_masked_by_value() -> None:
    """Wherever a known secret stands it is masked, the longer one first; what is shorter than 4 characters stays."""
    redactor = Redactor()
    redactor.know(["pass", "passphrase"])
    redactor.know(["abc", "hunter22"])
    assert redactor.text("passphrase, pass, hunter22, abc") == f"{MASK}, {MASK}, {MASK}, abc"
    assert redactor.text("redis://u:p@host") == "redis://***@host"


def test_values_of_a_log_are_masked_inside_their_containers() -> None:
    """Strings, keys and items are masked; numbers, None and objects that hide nothing are handed on as they are."""
    redactor = Redactor()
    redactor.know(["hunter22"])
    harmless, telling = object(), ValueError("hunter22")
    assert redactor.value({"hunter22": ["hunter22", 1, None], "t": ("hunter22",)}) == {
        MASK: [MASK, 1, None],
        "t": [MASK],
    }
    assert redactor.value({"hunter22"}) == [MASK]
    assert redactor.value(frozenset({"hunter22"})) == [MASK]
    for plain in (None, True, 2, 2.5, harmless):
        assert redactor.value(plain) is plain
    assert redactor.value(telling) == MASK
